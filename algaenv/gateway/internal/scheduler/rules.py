"""What the product demands of a schedule beyond the shape of the call, field by field."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from algaenv.gateway.internal import jsontext
from algaenv.gateway.internal.scheduler.timetable import UTC_NAME, BadTimetable, following, zone

MOST_SCHEDULES = 50
"""Of one install."""

_FIELD = re.compile(r"[0-9*/,-]+")
_FIELDS = 5
_TOO_OFTEN = frozenset(("*", "*/1", "*/2", "*/3", "*/4"))
_LONGEST_CRON = 128
_LONGEST_NAME = 128
_LONGEST_ZONE = 64
_LONGEST_PAYLOAD = 100_000


class BadField(Exception):
    """One field cannot be taken; the text is for the author of the extension."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def check_cron(text: str) -> str:
    """Five plain fields, not both kinds of day, not every four minutes or less. Raises BadField.

    The last is looked for in the minute alone, so that `0,1 * * * *` passes.
    """
    value = text.strip()
    fields = value.split()
    if len(value) > _LONGEST_CRON:
        raise BadField("cron", f"A cron expression has at most {_LONGEST_CRON} characters")
    if len(fields) != _FIELDS:
        raise BadField("cron", "A cron expression has five fields: m h dom mon dow")
    if not all(map(_FIELD.fullmatch, fields)):
        raise BadField("cron", "A cron expression is made of digits and * / , - only")
    if fields[2] != "*" and fields[4] != "*":
        raise BadField("cron", "A cron expression cannot set both kinds of day")
    if fields[0] in _TOO_OFTEN and fields[1:] == ["*"] * 4:
        raise BadField("cron", "A schedule may fire every 5 minutes, not more often")
    try:
        following(value, UTC_NAME, datetime.now(UTC))
    except BadTimetable as error:
        raise BadField("cron", f"The cron expression means nothing: {error}") from None
    return value


def check_timezone(name: str | None) -> str:
    """A name of the time zone database; UTC without one. Raises BadField."""
    value = (name or UTC_NAME).strip() or UTC_NAME
    if len(value) > _LONGEST_ZONE:
        raise BadField("timezone", f"A time zone has at most {_LONGEST_ZONE} characters")
    try:
        zone(value)
    except BadTimetable as error:
        raise BadField("timezone", str(error)) from None
    return value


def check_payload(value: Any) -> Any:
    """An object or an array, or nothing. Raises BadField."""
    if value is None:
        return None
    if not isinstance(value, dict | list):
        raise BadField("payload", "The payload must be an object or an array")
    if jsontext.units(jsontext.write(value).decode()) > _LONGEST_PAYLOAD:
        raise BadField("payload", f"The payload has at most {_LONGEST_PAYLOAD} characters")
    return value


def check_name(value: str | None) -> str | None:
    """Trimmed; None without one. Raises BadField."""
    trimmed = (value or "").strip()
    if jsontext.units(trimmed) > _LONGEST_NAME:
        raise BadField("name", f"A name has at most {_LONGEST_NAME} characters")
    return trimmed or None
