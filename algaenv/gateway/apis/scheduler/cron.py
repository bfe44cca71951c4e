"""The fields of a schedule: cron expression, time zone, payload, name; and its next run.

Only this module uses CronSim. Where clocks are put forward, a time of day that is left out fires
when it would have been; where they are put back, it fires once, as cron on Debian does it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Any

from algaenv.gateway.javascript import WHITE, dump_json, trim, utf16_length

UTC_NAME = "UTC"


class CronError(Exception):
    """The expression or the time zone means nothing; the text gives the reason."""


def find_zone(name: str) -> tzinfo:
    """The zone of this name, in upper or lower case. Raises CronError.

    Only names of the database count: its directory holds other files as well, which the product's
    library does not know.
    """
    from zoneinfo import ZoneInfo

    if name.upper() == UTC_NAME:
        return UTC
    known = _zones().get(name.lower())
    if known is None:
        raise CronError("Invalid timezone")
    return ZoneInfo(known)


@cache
def _zones() -> Mapping[str, str]:
    from zoneinfo import available_timezones

    return {it.lower(): it for it in available_timezones() - _NO_ZONES}


_NO_ZONES = frozenset(("Factory", "localtime", "posixrules"))


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
_WHITE = re.compile(f"[{WHITE}]+")
_FIELDS = 5
_TOO_OFTEN = frozenset(("*", "*/1", "*/2", "*/3", "*/4"))
_MAX_CRON = 128
_MAX_NAME = 128
_MAX_ZONE = 64
_MAX_PAYLOAD = 100_000


class InvalidField(Exception):
    """One field cannot be taken; the text is the product's, for the author of the extension."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def check_cron(text: str) -> str:
    """Check a cron expression: five plain fields, one kind of day, at most every five minutes.

    The last is checked in the minute alone, so that `0,1 * * * *` passes; whether the fields mean
    anything is not checked here. Raises InvalidField.
    """
    value = trim(text)
    fields = [it for it in _WHITE.split(value) if it]
    if utf16_length(value) > _MAX_CRON:
        raise InvalidField("cron", "Cron expression too long")
    if len(fields) != _FIELDS:
        raise InvalidField("cron", "Invalid cron expression (expected 5 fields: m h dom mon dow)")
    if not all(map(_FIELD.fullmatch, fields)):
        raise InvalidField("cron", "Invalid cron expression (unsupported characters)")
    if fields[2] != "*" and fields[4] != "*":
        raise InvalidField("cron", "Cron cannot set both day-of-month and day-of-week")
    if fields[0] in _TOO_OFTEN and fields[1:] == ["*"] * 4:
        raise InvalidField("cron", "Cron too frequent (minimum interval is 5 minutes)")
    return value


def check_fires(cron: str, timezone: str) -> None:
    """Refuse what means nothing, as the product's job queue does. Raises InvalidField."""
    try:
        next_run(cron, timezone, datetime.now(UTC))
    except CronError as error:
        raise InvalidField("cron", f"Invalid cron expression ({error})") from None


def check_timezone(name: str) -> str:
    """A name of the time zone database; UTC without one. Raises InvalidField."""
    value = trim(name) or UTC_NAME
    if utf16_length(value) > _MAX_ZONE:
        raise InvalidField("timezone", "Timezone too long")
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
        raise InvalidField("payload", "Payload must be a JSON object or array")
    if utf16_length(dump_json(value).decode()) > _MAX_PAYLOAD:
        raise InvalidField("payload", "Payload too large")
    return value


def check_name(value: str | None) -> str | None:
    """Trimmed; None without one. Raises InvalidField."""
    trimmed = trim(value or "")
    if utf16_length(trimmed) > _MAX_NAME:
        raise InvalidField("name", "Name too long")
    return trimmed or None
