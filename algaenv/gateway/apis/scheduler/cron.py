"""The fields of a schedule: cron expression, time zone, payload, name; and its next run.

Only this module uses CronSim. Where clocks are put forward, a time of day that is left out fires
when it would have been; where they are put back, it fires once, as cron on Debian does it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from typing import Any

from algaenv.gateway.apis.api_endpoint import dump_json, utf16_length

UTC_NAME = "UTC"


class CronError(Exception):
    """The expression or the time zone means nothing; the text gives the reason."""


def find_zone(name: str) -> tzinfo:
    """The zone of this name, in upper or lower case. Raises CronError."""
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
    raise CronError(f"There is no time zone {name!r}")


def next_run(cron: str, timezone: str, after: datetime) -> datetime | None:
    """The first time after this one, in UTC; None if it never comes. Raises CronError."""
    from cronsim import CronSim, CronSimError

    local = after.astimezone(find_zone(timezone))
    try:
        return next(CronSim(cron, local)).astimezone(UTC)
    except CronSimError as error:
        raise CronError(str(error)) from None
    except StopIteration:
        return None


MAX_SCHEDULES = 50
"""Of one install."""

_FIELD = re.compile(r"[0-9*/,-]+")
_FIELDS = 5
_TOO_OFTEN = frozenset(("*", "*/1", "*/2", "*/3", "*/4"))
_MAX_CRON = 128
_MAX_NAME = 128
_MAX_ZONE = 64
_MAX_PAYLOAD = 100_000


class InvalidField(Exception):
    """One field cannot be taken; the text is for the author of the extension."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def check_cron(text: str) -> str:
    """Check a cron expression: five plain fields, one kind of day, at most every five minutes.

    The last is checked in the minute alone, so that `0,1 * * * *` passes. Raises InvalidField.
    """
    value = text.strip()
    fields = value.split()
    if len(value) > _MAX_CRON:
        raise InvalidField("cron", f"A cron expression has at most {_MAX_CRON} characters")
    if len(fields) != _FIELDS:
        raise InvalidField("cron", "A cron expression has five fields: m h dom mon dow")
    if not all(map(_FIELD.fullmatch, fields)):
        raise InvalidField("cron", "A cron expression is made of digits and * / , - only")
    if fields[2] != "*" and fields[4] != "*":
        raise InvalidField("cron", "A cron expression cannot set both kinds of day")
    if fields[0] in _TOO_OFTEN and fields[1:] == ["*"] * 4:
        raise InvalidField("cron", "A schedule may fire every 5 minutes, not more often")
    try:
        next_run(value, UTC_NAME, datetime.now(UTC))
    except CronError as error:
        raise InvalidField("cron", f"The cron expression means nothing: {error}") from None
    return value


def check_timezone(name: str | None) -> str:
    """A name of the time zone database; UTC without one. Raises InvalidField."""
    value = (name or UTC_NAME).strip() or UTC_NAME
    if len(value) > _MAX_ZONE:
        raise InvalidField("timezone", f"A time zone has at most {_MAX_ZONE} characters")
    try:
        find_zone(value)
    except CronError as error:
        raise InvalidField("timezone", str(error)) from None
    return value


def check_payload(value: Any) -> Any:
    """An object or an array, or nothing. Raises InvalidField."""
    if value is None:
        return None
    if not isinstance(value, dict | list):
        raise InvalidField("payload", "The payload must be an object or an array")
    if utf16_length(dump_json(value).decode()) > _MAX_PAYLOAD:
        raise InvalidField("payload", f"The payload has at most {_MAX_PAYLOAD} characters")
    return value


def check_name(value: str | None) -> str | None:
    """Trimmed; None without one. Raises InvalidField."""
    trimmed = (value or "").strip()
    if utf16_length(trimmed) > _MAX_NAME:
        raise InvalidField("name", f"A name has at most {_MAX_NAME} characters")
    return trimmed or None
