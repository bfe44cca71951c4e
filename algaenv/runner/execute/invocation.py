"""One call of one handler: its caller, its capabilities, its deadline.

Host functions get the invocation as their first argument. They run on the thread of the guest and
block nothing else; whatever waits for another machine goes through `wait`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from algaenv.runner.components.shell import Script
    from algaenv.runner.execute.request_models import User


CAP_CONTEXT = "cap:context.read"
CAP_SECRETS = "cap:secrets.get"
CAP_HTTP = "cap:http.fetch"
CAP_STORAGE = "cap:storage.kv"
CAP_LOG = "cap:log.emit"
CAP_UI_PROXY = "cap:ui.proxy"
CAP_USER = "cap:user.read"
CAP_SCHEDULER = "cap:scheduler.manage"
CAP_INVOICING = "cap:invoice.manual.create"
CAP_CLIENTS = "cap:client.read"
CAP_SERVICES = "cap:service.read"

DEFAULT_CAPABILITIES = frozenset((CAP_CONTEXT, CAP_LOG, CAP_USER))
"""Every handler has these."""

KNOWN_CAPABILITIES = DEFAULT_CAPABILITIES | {
    CAP_SECRETS,
    CAP_HTTP,
    CAP_STORAGE,
    CAP_UI_PROXY,
    CAP_SCHEDULER,
    CAP_INVOICING,
    CAP_CLIENTS,
    CAP_SERVICES,
}


class UnknownCapabilities(Exception):
    """The text is the `error` of the response: `unknown_capabilities: cap:a, cap:b`."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        super().__init__(f"unknown_capabilities: {', '.join(self.names)}")


def granted_capabilities(providers: Iterable[str]) -> frozenset[str]:
    """The capabilities of a request, trimmed, in lower case and without blanks, with the defaults.

    Raises UnknownCapabilities with all that do not exist, each once and in the order given.
    """
    named = [name for provider in providers if (name := provider.strip().lower())]
    if unknown := [name for name in dict.fromkeys(named) if name not in KNOWN_CAPABILITIES]:
        raise UnknownCapabilities(unknown)
    return DEFAULT_CAPABILITIES.union(named)


T = TypeVar("T")

Level = Literal["info", "warn", "error"]
Stream = Literal["log", "stderr", "stdout"]

NOT_GRANTED = "{} is not granted"
FIRST_LINES = 4
LAST_LINES = 20
"""How many lines of a guest's stderr are kept for the response to a call that failed."""


class Waiter(Protocol):
    """Blocks the calling thread until work on the event loop has ended."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> T:
        """Return what the work returns and raise what it raises.

        Raises DeadlineExceeded at the deadline,
        and when the caller has left; the work is cancelled then."""
        ...


class DeadlineExceeded(Exception):
    """The time of the call is over; the guest is ended as soon as a host function raises this."""


class GuestOutput(Protocol):
    """Receives messages of guests, for the log of the service and the debug stream."""

    def write(self, invocation: Invocation, stream: Stream, level: Level, message: str) -> None:
        """Pass a message on. Called from threads of guests; never blocks, never fails."""
        ...


@dataclass(slots=True)
class Timings:
    """Seconds that one call took, by what it did."""

    queued: float = 0.0
    load: float = 0.0
    instantiate: float = 0.0
    run: float = 0.0
    """In the handler, host functions included."""
    waiting: float = 0.0
    """Of `run`: for other machines."""


MAX_TRACED_CALLS = 200
_MAX_ABOUT_CHARS = 80


class HostCallTrace(NamedTuple):
    """One host call of a traced call. Times are in seconds, sizes in bytes.

    `at` is since the trace began, `sent` the size of the arguments, `received` that of the value,
    `lines` how many messages the guest had written before.
    """

    name: str
    at: float
    seconds: float
    sent: int
    received: int
    error: str
    """The name of the error that the guest got; empty without one."""
    lines: int
    about: str
    """Which key, or which method and address without its query."""


MAX_KEPT_LINES = 64
MAX_LINE_CHARS = 1_000
"""Of the messages of a guest that become events of a span."""


class KeptLine(NamedTuple):
    """A message of a guest; `at` is in seconds since the trace began."""

    at: float
    stream: Stream
    level: Level
    message: str


class CallTrace:
    """The host calls of one call, for a gateway that asks for them. No value is kept.

    With `keeps_lines` the first MAX_KEPT_LINES messages of the guest are kept as well.
    """

    def __init__(self, *, keeps_lines: bool = False) -> None:
        self.began = time.perf_counter()
        self.kept: list[KeptLine] | None = [] if keeps_lines else None
        self.secrets: Collection[str] = ()
        """What no span may show: the secrets of the call."""
        self._current: tuple[str, float] | None = None
        self.calls: list[HostCallTrace] = []
        self.more = 0
        """Calls beyond MAX_TRACED_CALLS."""
        self.lines = 0
        """Messages of the guest."""

    def begin(self, name: str) -> None:
        """A host call begins."""
        self._current = (name, time.perf_counter())

    def line(self, stream: Stream, level: Level, message: str) -> None:
        """The guest writes a message."""
        self.lines += 1
        if self.kept is not None and len(self.kept) < MAX_KEPT_LINES:
            at = time.perf_counter() - self.began
            self.kept.append(KeptLine(at, stream, level, message[:MAX_LINE_CHARS]))

    def end(self, arguments: Sequence[object], value: object, error: object) -> None:
        """The host call that is under way ends; without one nothing happens."""
        if self._current is None:
            return
        name, started = self._current
        self._current = None
        if len(self.calls) == MAX_TRACED_CALLS:
            self.more += 1
            return
        self.calls.append(
            HostCallTrace(
                name,
                started - self.began,
                time.perf_counter() - started,
                _size(arguments),
                _size(value),
                "" if error is None else str(error)[:_MAX_ABOUT_CHARS],
                self.lines,
                _about(name, arguments),
            )
        )


def _size(value: Any) -> int:
    """Bytes of all texts and contents in a value, about: a character counts as one."""
    kind = type(value)
    if kind is str or kind is bytes:
        return len(value)
    if kind is dict:
        return sum(map(_size, value.values()))
    if kind is list or kind is tuple:
        return sum(map(_size, value))
    return 0


def _about(name: str, arguments: Sequence[object]) -> str:
    first = arguments[0] if arguments else None
    if isinstance(first, dict):
        if "url" in first:
            url = str(first["url"]).partition("?")[0]
            scheme, mark, rest = url.partition("://")
            # What stands before an @ may be a password.
            parts = (first.get("method", ""), f"{scheme}{mark}{rest.rpartition('@')[2]}")
        else:
            parts = (first.get("namespace", ""), first.get("key", ""))
        found = (" " if "url" in first else "/").join(str(it) for it in parts if it)
    elif name.startswith(("storage.", "secrets.")):
        found = "/".join(it for it in arguments if isinstance(it, str))
    else:
        found = first if isinstance(first, str) else ""
    return found.partition("?")[0][:_MAX_ABOUT_CHARS]


@dataclass(slots=True, eq=False)
class Invocation:
    """A call under way. `deadline` is a moment of `time.monotonic`."""

    request_id: str | None
    tenant: str
    extension: str
    install: str | None
    version: str | None
    capabilities: frozenset[str]
    """Capabilities, with the three that every handler has."""
    secrets: Mapping[str, str] | None = field(repr=False)
    """None when the request came without an envelope."""
    user: User | None = field(repr=False)
    deadline: float
    wait: Waiter = field(repr=False)
    listener: GuestOutput = field(repr=False)
    timings: Timings = field(default_factory=Timings)
    first_stderr: list[str] = field(default_factory=list, repr=False)
    """The first lines the guest wrote to its stderr, where an error is named."""
    last_stderr: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES), repr=False)
    """The last lines the guest wrote to its stderr."""
    last_host_call: tuple[str, object] | None = None
    """The last function of the host that the guest called, and the error it returned, else None."""
    reason: str = ""
    """What that function knows about its error and cannot tell the guest."""
    http_by_gateway: bool = False
    """Whether the gateway answers its HTTP requests, in place of the servers they are for."""
    trace: CallTrace | None = field(default=None, repr=False)
    """Where host calls are noted; None: they are not."""
    script: Script | None = field(default=None, repr=False)
    """The text of a handler that runs from source."""

    def record_stderr(self, line: str) -> None:
        """Keep a line of stderr, if it is one of the first or of the last."""
        if self.script is not None:
            line = self.script.mapped(line)
        if len(self.first_stderr) < FIRST_LINES:
            self.first_stderr.append(line)
        self.last_stderr.append(line)

    def log(self, stream: Stream, level: Level, message: str) -> None:
        """Pass on a message of the guest, in which places are those that the author knows."""
        if self.script is not None:
            message = self.script.mapped(message)
        if self.trace is not None:
            self.trace.line(stream, level, message)
        self.listener.write(self, stream, level, message)


HostFunction = Callable[..., object]
"""Called with the invocation and the arguments of the guest; returns the value, or `Err`."""

HostFunctions = Mapping[str, Mapping[str, HostFunction]]
"""Interface (`storage`) and function (`list-entries`) to what runs."""
