"""Values that differ from one call to the next and say nothing: documented for `compare`.

Texts are compared with such values replaced, so that the words around them still count.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from algaenv.bundle.value import dataclass

_UUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_ULID = r"[0-7][0-9A-HJKMNP-TV-Z]{25}"
_TIME = (
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?))?"
)
_HTTP_DATE = (
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d "
    r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT"
)
_DURATION = r"\d+(?:\.\d+)? ?(?:ms|µs|us|ns)"
_VOLATILE = re.compile(
    rf"(?<![0-9A-Za-z])(?:(?P<id>{_UUID}|{_ULID})|(?P<time>{_TIME}|{_HTTP_DATE})"
    rf"|(?P<duration>{_DURATION}))(?![0-9A-Za-z])"
)

_IDS = frozenset(("requestid", "correlationid", "traceid", "spanid"))
_DURATIONS = frozenset(
    {
        "ms", "duration", "durationms", "elapsed", "elapsedms", "took", "tookms", "latency",
        "latencyms", "uptime",
    }
)  # fmt: skip
VOLATILE_KEYS = _IDS | _DURATIONS
"""Keys of JSON in lower case, without hyphens and underscores, whose values may differ."""
_DAY = 86_400.0

VOLATILE_HEADERS = frozenset(
    {
        "age", "connection", "content-length", "date", "expires", "keep-alive", "last-modified",
        "server", "traceparent", "tracestate", "transfer-encoding", "via", "x-correlation-id",
        "x-powered-by", "x-request-id", "x-trace-id",
    }
)  # fmt: skip
"""Of a connection, a server or a moment. `content-length` follows from the body."""
OUR_HEADERS = "x-algaenv-"
"""How the headers begin in which a gateway of ours tells of a call."""
TOLD_HEADERS = ("x-algaenv-error", "x-algaenv-reason")
"""Those of ours that are compared, where both targets have them."""
HOST_CALL = "x-algaenv-host-call"


def stable_text(text: str) -> str:
    """The text with ids, times and durations replaced by what they are."""
    return _VOLATILE.sub(lambda found: f"<{found.lastgroup}>", text)


def is_volatile(key: str, here: object, there: object) -> bool:
    """Whether two values under one key of JSON may differ: request ids, durations and clocks."""
    name = key.replace("_", "").replace("-", "").lower()
    if name in _IDS:
        return isinstance(here, str) and isinstance(there, str)
    if not (_is_number(here) and _is_number(there)):
        return False
    return name in _DURATIONS or (_is_clock(here) and _is_clock(there))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_clock(value: object) -> bool:
    """Whether it is the time of about now, in seconds or milliseconds since 1970."""
    assert isinstance(value, int | float)  # noqa: S101
    now = time.time()
    return any(abs(value - unit * now) < unit * _DAY for unit in (1, 1000))


_WHOLE = ("status", "headers", "body", "host-call")


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """What an author wants to have ignored: `status`, `headers`, `header:NAME`, `body`,
    `body:/JSON/POINTER` with `*` for any one key or index, and `host-call`."""

    whole: frozenset[str]
    headers: frozenset[str]
    pointers: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, rules: Iterable[str]) -> IgnoreRules:
        """Read rules that have no `rule_problem`."""
        rules = tuple(rules)
        named = [rule.partition(":") for rule in rules if rule not in _WHOLE]
        return cls(
            frozenset(rule for rule in rules if rule in _WHOLE),
            frozenset(name.strip().lower() for kind, _, name in named if kind == "header"),
            tuple(pointer_keys(text) for kind, _, text in named if kind == "body"),
        )

    def has_pointer(self, keys: tuple[str, ...]) -> bool:
        """Whether a place in a body, or one around it, is ignored."""
        return any(
            len(pointer) <= len(keys)
            and all(want in ("*", key) for want, key in zip(pointer, keys, strict=False))
            for pointer in self.pointers
        )


def rule_problem(rule: str) -> str:
    """Why a rule cannot be used; empty when it can."""
    kind, colon, rest = rule.partition(":")
    if rule in _WHOLE or (kind == "header" and rest.strip()):
        return ""
    if kind == "body" and colon:
        return "" if rest.startswith("/") else "a place in a body begins with a slash"
    return "it is none of status, headers, header:NAME, body, body:/POINTER and host-call"


def pointer_keys(pointer: str) -> tuple[str, ...]:
    """The keys of a JSON pointer."""
    return tuple(
        key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:] if pointer
    )


def pointer_of(keys: Iterable[str]) -> str:
    """The JSON pointer of keys."""
    return "".join(f"/{key.replace('~', '~0').replace('/', '~1')}" for key in keys)
