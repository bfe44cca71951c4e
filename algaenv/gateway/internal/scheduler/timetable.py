"""When a schedule fires: five fields of cron, in a time zone. The only place that knows CronSim.

Where clocks are put forward, a time of day that is left out fires when it would have been; where
they are put back, it fires once, as cron on Debian does it.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

UTC_NAME = "UTC"


class BadTimetable(Exception):
    """Nobody can tell when that is; the text says why."""


def zone(name: str) -> tzinfo:
    """The zone of this name, in upper or lower case. Raises BadTimetable."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

    if name.upper() == UTC_NAME:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    for known in available_timezones():
        if known.lower() == name.lower():
            return ZoneInfo(known)
    raise BadTimetable(f"There is no time zone {name!r}")


def following(cron: str, timezone: str, after: datetime) -> datetime | None:
    """The first time after this one, in UTC; None if it never comes. Raises BadTimetable."""
    from cronsim import CronSim, CronSimError

    local = after.astimezone(zone(timezone))
    try:
        return next(CronSim(cron, local)).astimezone(UTC)
    except CronSimError as error:
        raise BadTimetable(str(error)) from None
    except StopIteration:
        return None
