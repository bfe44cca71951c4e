"""Where the debug stream goes, as the environment of the process says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

DEFAULT_PREFIX = "ext-debug:"
DEFAULT_MAXLEN = 2000
DEFAULT_EVENT_BYTES = 8192

_MOST = 2**63 - 1
_LONGEST_NUMBER = 20


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """The Redis of the debug stream, how its keys begin, and how long streams and events get."""

    url: str | None = field(default=None, repr=False)
    """With the password in it; None when there is no stream."""
    prefix: str = DEFAULT_PREFIX
    maxlen: int = DEFAULT_MAXLEN
    """Entries kept of each stream, about."""
    event_bytes: int = DEFAULT_EVENT_BYTES
    """The longest message, in bytes of UTF-8."""

    @classmethod
    def read(cls, env: Mapping[str, str]) -> StreamSettings:
        """Read the variables of Alga's runner, `RUNNER_DEBUG_…`.

        `RUNNER_DEBUG_REDIS_PASSWORD` becomes part of the URL unless that has a login already. A
        number that is none, or not above zero, counts as unset; the prefix may be empty.
        """
        url = env.get("RUNNER_DEBUG_REDIS_URL", "").strip()
        return cls(
            url=_with_password(url, env.get("RUNNER_DEBUG_REDIS_PASSWORD", "")) if url else None,
            prefix=env.get("RUNNER_DEBUG_REDIS_STREAM_PREFIX", DEFAULT_PREFIX),
            maxlen=_number(env.get("RUNNER_DEBUG_REDIS_MAXLEN")) or DEFAULT_MAXLEN,
            event_bytes=_number(env.get("RUNNER_DEBUG_MAX_EVENT_BYTES")) or DEFAULT_EVENT_BYTES,
        )


def _with_password(url: str, password: str) -> str:
    scheme, mark, rest = url.partition("://")
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0]
    if not (password and mark and scheme in {"redis", "rediss"}) or "@" in authority:
        return url
    return f"{scheme}://:{quote(password, safe='')}@{rest}"


def _number(text: str | None) -> int:
    if text is None or len(text) > _LONGEST_NUMBER or not (text.isascii() and text.isdigit()):
        return 0
    value = int(text)
    return value if value <= _MOST else 0
