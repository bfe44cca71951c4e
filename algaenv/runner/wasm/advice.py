"""Why a handler failed, in words for its author, and what to do about it.

The engine only knows the instruction that gave up. What the guest wrote to stderr, what it asked of
its host last, and the functions on its stack say more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from algaenv.runner.wasm.failure import GuestFailure, Kind


@dataclass(frozen=True, slots=True)
class HostCall:
    """The last function of the host that a guest called; `error` is None where it went well, and
    `why` is what the host knows beyond that."""

    function: str
    error: str | None = None
    why: str = ""

    @property
    def text(self) -> str:
        """`secrets.get: missing (no secret "api_key")`."""
        why = f" ({self.why})" if self.why else ""
        return f"{self.function}: {self.error or 'ok'}{why}"


@dataclass(frozen=True, slots=True)
class Advice:
    """What is said of a failure: the reason, and a hint that may be empty."""

    reason: str
    hint: str = ""


_FRAME = re.compile(r"^\s*\d+:\s+0x[0-9a-f]+ - [^!\n]*!(.+)$", re.MULTILINE)
_ABORTED = "Redirecting call to abort()"
_STACK = "Stack:"
_UNREACHABLE = "unreachable"
_STACK_EXHAUSTED = "call stack exhausted"
_TIMERS = frozenset(("subscribe-instant", "subscribe-duration"))
_FETCH = frozenset(
    ("[constructor]fields", "[constructor]outgoing-request", "[static]fields.from-list", "handle")
)
_RANDOM = frozenset(("get-random-bytes", "get-random-u64"))

_NO_STDERR = (
    "this component imports no stderr, so its own words are lost: a build by jco componentize "
    "keeps them without `--disable all` and `--disable stdio`; write "
    "`--disable random --disable clocks --disable http --disable fetch-event`"
)
_ENDLESS = "look for a function that calls itself without an end"
_MEMORY = "let it hold less at once; a handler has the memory of limits.memory_mb, 256 MiB"
_WORDS = "its error and where it was thrown are in the lines of stderr"
_RETURNS = "return { status, headers, body } on every path of the handler, without a missing await"
_HOST = {
    "missing": "give the extension the secret: extensions.NAME.secrets in the spec, and algaenv up",
    "denied": "declare the capability in the manifest, and run algaenv up",
    "not-allowed": "declare the capability in the manifest, or open the address: "
    "runner.local_egress in the spec, EXT_EGRESS_ALLOWLIST of the runner",
    "transport": "see that something answers at the address, as the runner sees it",
}


def advise(failure: GuestFailure, lines: Sequence[str], call: HostCall | None) -> Advice:
    """What to say of a failure; `lines` is what the guest wrote to stderr, the first ones too."""
    if failure.kind is not Kind.TRAP:
        return Advice(failure.reason)
    found = _FRAME.search(failure.causes[0])
    frame = found[1].strip() if found else ""
    if _UNREACHABLE in failure.reason and (missing := _missing(frame)) is not None:
        return missing
    if words := _words(lines):
        return _thrown(words, call)
    hint = _failed_call(call)
    if not hint and _STACK_EXHAUSTED in failure.reason:
        hint = _ENDLESS
    if failure.mute and _UNREACHABLE in failure.reason:
        hint = f"{hint}; {_NO_STDERR}" if hint else _NO_STDERR
    return Advice(failure.reason, hint)


def _missing(frame: str) -> Advice | None:
    """What JavaScript asked of an engine that was built without it."""
    if frame in _TIMERS:
        return Advice(
            "it set a timer, and was built without clocks",
            "do without setTimeout, or build without `--disable clocks` and `--disable all`",
        )
    if frame in _FETCH:
        return Advice(
            "it called JavaScript's own fetch, and was built without http",
            "use fetch of alga:extension/http, with the capability cap:http.fetch",
        )
    if frame in _RANDOM:
        return Advice(
            "it wanted random bytes, and was built without random",
            "build without `--disable random` and `--disable all`",
        )
    return None


def _words(lines: Sequence[str]) -> str:
    """The message of an error that JavaScript did not catch; empty when there is none."""
    if not any(line.startswith(_ABORTED) for line in lines):
        return ""
    message: list[str] = []
    for line in lines:
        if line.startswith((_STACK, _ABORTED)) or (message and "@" in line):
            break
        message.append(line)
    return " ".join(message).strip().strip('"')


def _thrown(words: str, call: HostCall | None) -> Advice:
    if "out of memory" in words:
        return Advice("it ran out of memory", _MEMORY)
    if "too much recursion" in words:
        return Advice(f"it threw: {words}", _ENDLESS)
    if words == "ret is undefined":
        return Advice("the handler returned nothing", _RETURNS)
    if call is not None and call.error is not None and words == call.error:
        return Advice(f"its host said {call.text}, and it did not catch that", _failed_call(call))
    return Advice(f"it threw: {words}", _WORDS)


def _failed_call(call: HostCall | None) -> str:
    if call is None or call.error is None:
        return ""
    said = f"the last call of its host failed, {call.text}"
    hint = _HOST.get(call.error)
    return f"{said}: {hint}" if hint else said
