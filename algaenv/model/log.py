"""Lines of the logs of services, and what they say."""

from __future__ import annotations

from collections.abc import Mapping

from algaenv.bundle.value import dataclass, field
from algaenv.model.resource import Json

MAX_LINE_BYTES = 64 * 1024
"""What is kept of one line; the rest is cut."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the output of a service, or a gap.

    `at` is Unix time in seconds: when the engine took the line, or None where the runtime keeps
    no time. `gap` says what is missing before the next line; such a line has no text.
    """

    text: str
    at: float | None = None
    gap: str = ""
    cut: bool = False
    """Whether it was longer than MAX_LINE_BYTES."""
    approximate: bool = False
    """Whether `at` is only a moment before the line was written."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A line that has been read: where it comes from, and what it says.

    `kind` is `guest` (a message of a handler), `request`, `gap`, or `line` for all else. `level`
    is `error`, `warning`, `info`, `debug`, or empty where the line has none.
    """

    at: float
    service: str
    kind: str
    message: str
    level: str = ""
    extension: str = ""
    """The name in the spec, else the registry id; empty where it is about none."""
    request_id: str = ""
    stream: str = ""
    """Of a guest: `log`, `stdout` or `stderr`."""
    fields: Mapping[str, Json] = field(default_factory=dict)
    """What else a line of JSON has."""

    @property
    def source(self) -> str:
        """The extension of a guest's message, else the service."""
        return self.extension if self.kind == "guest" and self.extension else self.service


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which entries are wanted. `names` are services and extensions; none means all."""

    names: tuple[str, ...] = ()
    since: float | None = None
    """Unix time in seconds."""
    last: int | None = None
    """So many of the entries that are there already; None means all."""
    pattern: str = ""
    """A regular expression that is found in the text of an entry."""
    request_id: str = ""
    """The id of a request, or how it begins."""
    follow: bool = False
