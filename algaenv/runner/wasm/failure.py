"""How a handler can fail: kinds, the engine's error texts read into kinds, hints for its author.

The engine reports an error only as text: the outermost message, and its causes below it. What the
guest wrote to stderr, its last host call, and the functions on its stack say more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class FailureKind(StrEnum):
    """What went wrong, for machines; stands in the response as `failure.kind`."""

    MALFORMED = "malformed"
    """Not a component: a core module, text, or bytes that mean nothing."""
    COMPILE = "compile"
    LIMIT = "limit"
    """Compiling it was ended at a limit of time or memory, which can be raised."""
    LINK = "link"
    """It imports something this runner does not offer, or not with this type."""
    SIGNATURE = "signature"
    """It has no `handler`, or not of the world's type."""
    INSTANTIATE = "instantiate"
    TRAP = "trap"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    EXIT = "exit"
    """It called `wasi:cli/exit`."""
    REFUSED = "refused"
    """It used something that is linked but never granted, such as `wasi:http`."""
    REQUEST = "request"
    """The request cannot be given to a guest: `body_b64` is not base64."""
    HOST = "host"
    """A fault of the runner."""


class GuestFailure(Exception):
    """A handler did not answer.

    `message` is one sentence or the engine's own outermost words, `reason` what lies beneath
    (`wasm trap: interrupt`), and `causes` the whole chain from the outside to the inside.
    """

    def __init__(
        self, kind: FailureKind, message: str, *, reason: str = "", causes: tuple[str, ...] = ()
    ) -> None:
        self.kind, self.message = kind, message
        self.reason = reason or message
        self.causes = causes or (message,)
        self.mute = False
        """Whether the guest has no stderr to write to."""
        self.full = False
        """Whether the guest had used most of the memory that it may have."""
        super().__init__(message)


INTERRUPT = "wasm trap: interrupt"
EXHAUSTED = "maximum concurrent"
"""How the engine's message begins when its pool has no slot left."""

POOL = "pooling allocator"
"""Part of what the engine says of a component that no slot of the pool is large enough for."""

_CAUSED = "\n\nCaused by:\n"
_NUMBER = re.compile(r"^ {1,4}\d+: ", re.MULTILINE)
_MEMORY = re.compile(r"memory minimum size of \d+ pages exceeds memory limits")
_BY_MESSAGE = (
    (re.compile(r"component imports .* was not found in the linker"), FailureKind.LINK),
    (re.compile(r"failed to convert function to given type"), FailureKind.SIGNATURE),
    (re.compile(r"failed to parse WebAssembly module"), FailureKind.MALFORMED),
)


def causes(text: str) -> tuple[str, ...]:
    """Return the message and its causes, from the outside to the inside."""
    outermost, _, rest = text.partition(_CAUSED)
    if not rest:
        return (outermost.strip(),)
    inner = _NUMBER.split(rest)[1:] if _NUMBER.match(rest) else [rest]
    return (outermost.strip(), *(_dedent(cause) for cause in inner))


def diagnose(text: str, otherwise: FailureKind) -> GuestFailure:
    """Return the failure that the text of an error means; `otherwise` when it tells no kind."""
    chain = causes(text)
    return GuestFailure(_kind(chain, otherwise), chain[0], reason=chain[-1], causes=chain)


def _kind(chain: tuple[str, ...], otherwise: FailureKind) -> FailureKind:
    if any(_MEMORY.search(cause) for cause in chain):
        return FailureKind.MEMORY
    if any(INTERRUPT in cause for cause in chain):
        return FailureKind.TIMEOUT
    if any(cause.startswith(EXHAUSTED) for cause in chain):
        return FailureKind.HOST
    for pattern, kind in _BY_MESSAGE:
        if pattern.search(chain[0]):
            return kind
    if chain[0].startswith("error while executing at wasm backtrace"):
        return FailureKind.TRAP
    if any(cause.startswith("wasm trap:") for cause in chain):
        return FailureKind.TRAP
    return otherwise


def _dedent(cause: str) -> str:
    return "\n".join(line.strip() for line in cause.strip().splitlines())


@dataclass(frozen=True, slots=True)
class HostCall:
    """The last function of the host that a guest called; `error` is None where it went well, and
    `reason` is what the host knows beyond that."""

    function: str
    error: str | None = None
    reason: str = ""

    @property
    def text(self) -> str:
        """`secrets.get: missing (no secret "api_key")`."""
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.function}: {self.error or 'ok'}{reason}"


@dataclass(frozen=True, slots=True)
class Advice:
    """The reason of a failure, a hint that may be empty, and the kind that both make of it."""

    reason: str
    hint: str = ""
    kind: FailureKind = FailureKind.TRAP


_FRAME = re.compile(r"^\s*\d+:\s+0x[0-9a-f]+ - [^!\n]*!(.+)$", re.MULTILINE)
_ABORTED = "Redirecting call to abort()"
_STACK = "Stack:"
_UNREACHABLE = "unreachable"
_OUT_OF_BOUNDS = "out of bounds memory access"
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
_MEMORY_HINT = "let it hold less at once; a handler has the memory of limits.memory_mb, 256 MiB"
_OUT_OF_MEMORY = re.compile(
    r"\bout of memory\b|\bmemory allocation of \d+ bytes failed|\bMemoryError\b|\bbad_alloc\b",
    re.IGNORECASE,
)
"""What allocators and runtimes write before they give up: Go and JavaScript, Rust, Python, C++."""
_ALLOCATORS = re.compile(r"!.*(?:handle_alloc_error|rust_oom|alloc_error_handler)")
"""Functions in a backtrace that are called where an allocation has failed."""
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
    """The advice for a failure; `lines` is what the guest wrote to stderr, the first ones too."""
    if failure.kind is FailureKind.EXIT and _out_of_memory(failure, lines):
        return _EXHAUSTED_MEMORY
    if failure.kind is not FailureKind.TRAP:
        return Advice(failure.reason, kind=failure.kind)
    found = _FRAME.search(failure.causes[0])
    frame = found[1].strip() if found else ""
    if _UNREACHABLE in failure.reason and (missing := _missing_feature(frame)) is not None:
        return missing
    if words := _uncaught_error(lines):
        return _thrown(words, call)
    if _gave_up(failure.reason) and _out_of_memory(failure, lines):
        return _EXHAUSTED_MEMORY
    hint = _failed_call(call)
    if not hint and _STACK_EXHAUSTED in failure.reason:
        hint = _ENDLESS
    if failure.mute and _UNREACHABLE in failure.reason:
        hint = f"{hint}; {_NO_STDERR}" if hint else _NO_STDERR
    return Advice(failure.reason, hint)


def _gave_up(reason: str) -> bool:
    """Whether a guest ended itself, or went beyond what it has."""
    return _UNREACHABLE in reason or _OUT_OF_BOUNDS in reason


_EXHAUSTED_MEMORY = Advice("it ran out of memory", _MEMORY_HINT, FailureKind.MEMORY)


def _out_of_memory(failure: GuestFailure, lines: Sequence[str]) -> bool:
    """Whether a guest gave up for want of memory.

    The engine does not say: a guest is only refused more, and ends itself in a way of its own. So
    its words count, then the functions that it was in, and where it has neither, what it held.
    """
    if any(_OUT_OF_MEMORY.search(line) for line in lines):
        return True
    if _ALLOCATORS.search(failure.causes[0]):
        return True
    return failure.full and not lines


def _missing_feature(frame: str) -> Advice | None:
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


def _uncaught_error(lines: Sequence[str]) -> str:
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
        return _EXHAUSTED_MEMORY
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
    failed = f"the last call of its host failed, {call.text}"
    hint = _HOST.get(call.error)
    return f"{failed}: {hint}" if hint else failed
