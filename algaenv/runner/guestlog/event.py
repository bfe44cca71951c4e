"""An entry of the debug stream: under which key it goes, and the fields it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from algaenv.runner.invocation import Invocation, Level, Stream

_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class Origin(NamedTuple):
    """The call that an event comes from, as the body of its request names it."""

    tenant: str | None
    extension: str | None
    install: str | None = None
    request: str | None = None
    version: str | None = None

    @classmethod
    def of(cls, call: Invocation) -> Origin:
        """The origin of what the guest of a call says."""
        return cls(call.tenant, call.extension, call.install, call.request_id, call.version)


class Event(NamedTuple):
    """What was said, when (Unix time in milliseconds) and by whom."""

    ts: int
    level: Level
    stream: Stream
    origin: Origin
    message: bytes
    truncated: bool

    def key(self, prefix: str) -> str:
        """The key of its stream: tenant and extension in ASCII lower case after the prefix."""
        tenant, extension = self.origin[:2]
        names = [name for name in (tenant, extension) if name is not None]
        return prefix + (":".join(names).translate(_LOWER) if names else "unknown")

    def fields(self) -> dict[str, str | bytes]:
        """Names and values in the order in which Alga's runner writes them."""
        fields: dict[str, str | bytes] = {
            "ts": str(self.ts),
            "level": self.level,
            "stream": self.stream,
        }
        for name, value in zip(Origin._fields, self.origin, strict=True):
            if value is not None:
                fields[name] = value.encode(errors="replace")
        fields["message"] = self.message
        fields["truncated"] = "1" if self.truncated else "0"
        return fields


def cut(text: str, most: int) -> tuple[bytes, bool]:
    """The UTF-8 of as many whole characters as fit into so many bytes; whether any did not."""
    content = text[:most].encode(errors="replace")
    if len(content) <= most:
        return content, len(text) > most
    return content[:most].decode(errors="ignore").encode(), True
