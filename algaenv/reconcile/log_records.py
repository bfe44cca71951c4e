"""Reads lines of logs: what runner and gateway write as JSON, and the times of the other services.

A line that has no time of its own keeps its place after the line before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from algaenv.model.log import LogEntry, LogLine
from algaenv.model.resource import Json

CUT: Final = " … (cut)"
_ISO: Final = re.compile(
    r"(\[algaenv\] )?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,6})?)"
    r"(Z| UTC| ?[+-]\d\d:?\d\d)?(?=[\s\]]|$)"
)
_REDIS: Final = re.compile(
    r"(\d+:[A-Z]) (\d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3}) ([.\-*#]) ",
)
_POSTGRES_LEVEL: Final = re.compile(
    r"\b(?:LOG|ERROR|FATAL|PANIC|WARNING|NOTICE|INFO|DEBUG\d?|DETAIL|HINT|STATEMENT|CONTEXT): "
)
_LEVELS: Final[Mapping[str, str]] = {
    "ERROR": "error",
    "FATAL": "error",
    "PANIC": "error",
    "WARNING": "warning",
    "#": "warning",
    "warn": "warning",
}
_KNOWN: Final = ("time", "level", "event", "request_id")
_OF_GUEST: Final = ("logger", "stream", "message", "tenant", "extension")


class LineParser:
    """Turns the lines of one service into entries, in order. `name_of` knows extensions by id."""

    def __init__(self, service: str, name_of: Callable[[str], str]) -> None:
        self._service = service
        self._name_of = name_of
        self._at = 0.0

    def parse(self, line: LogLine) -> LogEntry:
        """The entry of a line; never raises, whatever a service writes."""
        if line.gap:
            self._at = max(self._at, line.at or 0.0)
            return LogEntry(self._at, self._service, "gap", line.gap)
        document = _document(line.text)
        if document is not None:
            return self._of_document(document, line.at)
        time, level, text = _time_and_level(line.text)
        text += CUT if line.cut else ""
        # The clock of a container may be set to another zone, which its services do not name.
        exact = line.at if line.at is not None and not line.approximate else time
        self._advance(exact, line.at)
        return LogEntry(self._at, self._service, "line", text, level)

    def _advance(self, own: float | None, engine: float | None) -> None:
        # Never back: the lines of a service stay in the order in which it wrote them.
        self._at = max(self._at, own if own is not None else engine or 0.0)

    def _of_document(self, document: Mapping[str, Any], engine: float | None) -> LogEntry:
        self._advance(_iso(str(document.get("time", ""))), engine)
        level, event = str(document.get("level", "")), str(document.get("event", ""))
        level = _LEVELS.get(level, level)
        request = document.get("request_id")
        common = {
            "level": level,
            "request_id": request if isinstance(request, str) else "",
            "extension": self._extension(document),
        }
        if event == "guest" and "message" in document:
            rest = _rest(document, (*_KNOWN, *_OF_GUEST))
            stream, message = str(document.get("stream", "")), str(document["message"])
            return LogEntry(
                self._at, self._service, "guest", message, stream=stream, fields=rest, **common
            )
        if event == "lines lost":
            lost = f"the service could not write {document.get('lines', 'some')} lines"
            return LogEntry(self._at, self._service, "gap", lost, level)
        kind = "request" if event == "request" else "line"
        fields = _rest(document, _KNOWN)
        return LogEntry(self._at, self._service, kind, event, fields=fields, **common)

    def _extension(self, document: Mapping[str, Any]) -> str:
        for key in ("extension_id", "extension"):
            value = document.get(key)
            if isinstance(value, str) and value:
                return self._name_of(value)
        return ""


def entry_text(entry: LogEntry) -> str:
    """What an entry says, in one line: what a pattern is looked for in."""
    if entry.kind == "request":
        return _request_text(entry.fields)
    more = " ".join(f"{key}={_value(value)}" for key, value in entry.fields.items())
    return f"{entry.message}  {more}" if more else entry.message


def _request_text(fields: Mapping[str, Json]) -> str:
    """`POST /v1/execute 200 34.6 ms  outcome=trap …`"""
    ms = fields.get("ms", fields.get("duration_ms"))
    parts = [str(fields.get(key, "?")) for key in ("method", "path", "status")]
    shown = ("method", "path", "status", "ms", "duration_ms", "tenant", "extension", "hash")
    head = " ".join(parts) + (f" {ms} ms" if ms is not None else "")
    more = " ".join(
        f"{key}={_value(value)}"
        for key, value in fields.items()
        if key not in (*shown, "extension_id", "host_calls")
    )
    return f"{head}  {more}" if more else head


def _value(value: Json) -> str:
    if isinstance(value, str):
        return value if value and not re.search(r'[\s="]', value) else json.dumps(value)
    return json.dumps(value, ensure_ascii=False)


def _rest(document: Mapping[str, Any], known: tuple[str, ...]) -> Mapping[str, Json]:
    return {key: value for key, value in document.items() if key not in known}


def _document(text: str) -> Mapping[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "event" in found and "time" in found else None


def _time_and_level(text: str) -> tuple[float | None, str, str]:
    """The time of a line, its level, and the line without the time."""
    if match := _ISO.match(text):
        level = _POSTGRES_LEVEL.search(text, match.end())
        word = level[0].rstrip(": ") if level else ""
        rest = f"{match[1] or ''}{text[match.end() :].lstrip()}"
        return _iso(match[2], (match[3] or "").strip()), _LEVELS.get(word, ""), rest
    if match := _REDIS.match(text):
        try:
            at = datetime.strptime(match[2], "%d %b %Y %H:%M:%S.%f").astimezone()
        except ValueError:
            return None, "", text
        rest = f"{match[1]} {text[match.end() - 2 :]}"
        return at.timestamp(), _LEVELS.get(match[3], ""), rest
    return None, "", text


def _iso(text: str, zone: str = "") -> float | None:
    try:
        found = datetime.fromisoformat(text.replace(",", ".") + ("" if zone == "UTC" else zone))
    except ValueError:
        return None
    # A service says what zone it means, or means that of this machine.
    if zone == "UTC":
        found = found.replace(tzinfo=UTC)
    return found.timestamp()
