"""What guests print: lines in the service's log, and events in a Redis stream for debugging.

    GuestLog.write -> EventQueue -> StreamPublisher (a thread) -> RedisStream

The publisher is a thread and not a task: reading the system's certificates, resolving a name and
writing a few hundred entries all take longer than a request may wait, and a resolution that hangs
would keep the event loop from closing.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

from algaenv.runner.execute.invocation import Invocation, Level, Stream
from algaenv.runner.settings import DebugStreamSettings

if TYPE_CHECKING:
    from tenacity import RetryCallState

    from algaenv.runner.execute.invocation import Invocation, Level, Stream


_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class EventOrigin(NamedTuple):
    """The call that an event comes from, as the body of its request names it."""

    tenant: str | None
    extension: str | None
    install: str | None = None
    request: str | None = None
    version: str | None = None

    @classmethod
    def of(cls, call: Invocation) -> EventOrigin:
        """The origin of the messages of a call's guest."""
        return cls(call.tenant, call.extension, call.install, call.request_id, call.version)


class DebugEvent(NamedTuple):
    """A message of a guest: its time (Unix, in milliseconds), level, stream and origin."""

    ts: int
    level: Level
    stream: Stream
    origin: EventOrigin
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
        for name, value in zip(EventOrigin._fields, self.origin, strict=True):
            if value is not None:
                fields[name] = value.encode(errors="replace")
        fields["message"] = self.message
        fields["truncated"] = "1" if self.truncated else "0"
        return fields


def truncate_utf8(text: str, most: int) -> tuple[bytes, bool]:
    """The UTF-8 of as many whole characters as fit into so many bytes; whether any did not."""
    content = text[:most].encode(errors="replace")
    if len(content) <= most:
        return content, len(text) > most
    return content[:most].decode(errors="ignore").encode(), True


MAX_QUEUE_BYTES = 16 * 1024 * 1024
"""What all waiting events may take, about: 30,000 short ones, or 2,000 of the longest."""
BATCH = 256

_EVENT_BYTES = 500
"""What an event takes besides its message, about."""
_LINGER_SECONDS = 0.01


class EventQueue:
    """A queue from many threads to one that never makes the many wait."""

    def __init__(self, most_bytes: int = MAX_QUEUE_BYTES) -> None:
        self._max_bytes = most_bytes
        self._events: deque[DebugEvent] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self._available = threading.Event()
        self.closed = threading.Event()
        """Set when no more events will come; the taker ends once it has taken all."""

    def put(self, event: DebugEvent) -> int:
        """Add an event; returns how many old ones were dropped for it."""
        dropped = 0
        with self._lock:
            self._events.append(event)
            self._bytes += _size(event)
            while self._bytes > self._max_bytes:
                self._bytes -= _size(self._events.popleft())
                dropped += 1
        if not self._available.is_set():
            self._available.set()
        return dropped

    def take(self) -> list[DebugEvent]:
        """Wait for events and take the oldest; none when it has ended and all are taken."""
        while True:
            self._available.wait()
            if len(self._events) < BATCH:
                # Words of a guest come in groups, and a group costs little more than one.
                self.closed.wait(_LINGER_SECONDS)
            with self._lock:
                events = [self._events.popleft() for _ in range(min(BATCH, len(self._events)))]
                self._bytes -= sum(map(_size, events))
                if not (self._events or self.closed.is_set()):
                    self._available.clear()
            if events or self.closed.is_set():
                return events

    def wait(self, seconds: float) -> None:
        """Wait for an event, or so long."""
        self._available.wait(seconds)

    def end(self) -> None:
        """Say that no more events will come."""
        with self._lock:
            self.closed.set()
            self._available.set()

    def clear(self) -> int:
        """Forget everything; returns how many events that were."""
        with self._lock:
            dropped = len(self._events)
            self._events.clear()
            self._bytes = 0
        return dropped


def _size(event: DebugEvent) -> int:
    return _EVENT_BYTES + len(event.message)


CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 2.0


class InvalidRedisUrl(Exception):
    """The URL is not that of a Redis server."""


class RedisStream:
    """One connection, opened when it is used and again after it was lost. Not thread-safe."""

    def __init__(self, settings: DebugStreamSettings) -> None:
        """Raises InvalidRedisUrl. Takes a tenth of a second for the library."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self._settings = settings
        self._refused = 0
        self._transient_errors = (
            redis.ConnectionError,
            redis.TimeoutError,
            redis.ReadOnlyError,
            redis.OutOfMemoryError,
            redis.exceptions.ClusterDownError,
            redis.exceptions.TryAgainError,
        )
        try:
            self._client = redis.Redis.from_url(
                settings.url or "",
                socket_connect_timeout=CONNECT_SECONDS,
                socket_timeout=ANSWER_SECONDS,
                # The publisher retries; a connection closed in a pause is noticed anyway.
                retry=Retry(NoBackoff(), 0),
                # Every Redis and every proxy before one speaks it.
                protocol=2,
            )
            # Whether the parameters in the URL mean anything shows only here.
            self._client.connection_pool.make_connection()
        except (ValueError, TypeError, redis.RedisError):
            # Its text may repeat the password.
            raise InvalidRedisUrl from None

    def ping(self) -> None:
        """See that it answers. Raises what the library does."""
        self._client.ping()

    def write(self, events: list[DebugEvent]) -> int:
        """Append the events to their streams, and remove from the list those that are done with.

        Returns how many the server will never take, since the last time that nothing was raised.
        Raises what the library does for those that may be taken later; they stay in the list.
        """
        settings = self._settings
        pipeline = self._client.pipeline(transaction=False)
        for event in events:
            pipeline.xadd(
                event.key(settings.prefix).encode(errors="replace"),
                event.fields(),  # type: ignore[arg-type]
                maxlen=settings.maxlen,
                approximate=True,
            )
        answers: Sequence[object] = pipeline.execute(raise_on_error=False)
        transient = [isinstance(answer, self._transient_errors) for answer in answers]
        events[:] = [event for event, later in zip(events, transient, strict=True) if later]
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        self._refused += len(errors) - len(events)
        if events:
            raise next(error for error in errors if isinstance(error, self._transient_errors))
        refused, self._refused = self._refused, 0
        return refused

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


FLUSH_SECONDS = 1.0
MAX_RETRY_SECONDS = 1.0
"""Between two attempts while Redis does not answer."""

_STARTUP_DELAY_SECONDS = 1.0
_MAX_REASON_CHARS = 200
_log = logging.getLogger(__name__)


class StreamPublisher:
    """Writes events when it can; `dropped` is called with the number of lost ones.

    Events whose receipt Redis could not confirm are written again: some may be there twice after
    an outage. They keep their `ts`.
    """

    def __init__(self, settings: DebugStreamSettings, dropped: Callable[[int], None]) -> None:
        self._settings = settings
        self._on_dropped = dropped
        self._backlog = EventQueue()
        self._enabled = settings.url is not None
        self._dropped_while_down = 0
        self._dropped_lock = threading.Lock()
        self._disconnected = False
        self._refusing = False
        self._thread: threading.Thread | None = None

    @property
    def enabled(self) -> bool:
        """Whether there is a stream to write to."""
        return self._enabled

    def start(self) -> None:
        """Start the thread, in the process that will serve. Connects in the background."""
        if self._enabled and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="debug stream", daemon=True)
            self._thread.start()

    def put(self, event: DebugEvent) -> None:
        """Have an event written. For any thread; never waits."""
        if self._enabled and (dropped := self._backlog.put(event)):
            self._drop(dropped)

    def end(self) -> None:
        """Write what waits, for a second at most. Blocks."""
        self._backlog.end()
        if self._thread is not None:
            self._thread.join(FLUSH_SECONDS)
        self._enabled = False
        if left := self._backlog.clear():
            self._drop(left)

    def _run(self) -> None:
        # The service is just starting: it needs the processor more than its first event does.
        self._backlog.wait(_STARTUP_DELAY_SECONDS)
        try:
            sink = RedisStream(self._settings)
        except InvalidRedisUrl:
            self._enabled = False
            _log.error("RUNNER_DEBUG_REDIS_URL names no Redis; there is no debug stream")
            self._drop(self._backlog.clear())
            return
        self._publish_events(sink)

    def _publish_events(self, sink: RedisStream) -> None:
        from tenacity import (
            RetryError,
            Retrying,
            sleep_using_event,
            stop_when_event_set,
            wait_random_exponential,
        )

        retrying = Retrying(
            wait=wait_random_exponential(multiplier=0.1, max=MAX_RETRY_SECONDS),
            sleep=sleep_using_event(self._backlog.closed),
            stop=stop_when_event_set(self._backlog.closed),
            before_sleep=self._on_failure,
        )
        batch: list[DebugEvent] = []
        try:
            retrying(sink.ping)
            self._on_success(refused=0)
            while batch := self._backlog.take():
                refused = retrying(sink.write, batch)
                self._on_success(refused)
        except RetryError:
            self._drop(len(batch))
        sink.close()

    def _on_failure(self, attempt: RetryCallState) -> None:
        if self._disconnected:
            return
        self._disconnected = True
        error = attempt.outcome.exception() if attempt.outcome else None
        reason = f"{type(error).__name__}: {error}"[:_MAX_REASON_CHARS]
        _log.warning("debug stream lost", extra={"fields": {"why": reason}})

    def _on_success(self, refused: int) -> None:
        if refused:
            self._drop(refused)
            if not self._refusing:
                _log.warning("debug stream refused events", extra={"fields": {"events": refused}})
        self._refusing = bool(refused)
        if self._disconnected:
            self._disconnected = False
            with self._dropped_lock:
                dropped, self._dropped_while_down = self._dropped_while_down, 0
            _log.info("debug stream back", extra={"fields": {"dropped": dropped}})

    def _drop(self, number: int) -> None:
        if self._disconnected:
            with self._dropped_lock:
                self._dropped_while_down += number
        self._on_dropped(number)


MAX_LINE_CHARS = 8192
"""Characters of a message in the log of the service, whatever the debug stream takes."""

# Alga's runner logs the messages of guests under this name too.
_guests = logging.getLogger("ext")
_LEVELS = {"info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


class GuestLogCounters(Protocol):
    """Counts messages and lost events; from any thread."""

    def guest_line(self, stream: Stream) -> None:
        """A guest wrote a line."""
        ...

    def events_dropped(self, number: int) -> None:
        """So many events will not be in the debug stream."""
        ...


class GuestLog:
    """Logs and publishes messages of guests; a `algaenv.runner.execute.invocation.GuestOutput`.

    Alga's runner sends what guests write to stderr without saying whose it is, and nothing of
    stdout. Here both come with the whole context, as the streams `stderr` and `stdout`.
    """

    def __init__(self, settings: DebugStreamSettings, counters: GuestLogCounters) -> None:
        self._max_bytes = settings.event_bytes
        self._counters = counters
        self._publisher = StreamPublisher(settings, counters.events_dropped)

    def start(self) -> None:
        """Start to publish, in the process that serves; does not wait."""
        self._publisher.start()

    async def aclose(self) -> None:
        """Publish what is waiting, for a second at most; the rest is dropped."""
        await asyncio.to_thread(self._publisher.end)

    def write(self, invocation: Invocation, stream: Stream, level: Level, message: str) -> None:
        """Pass on a message of a guest. For any thread; never waits, never fails."""
        with suppress(Exception):
            self._counters.guest_line(stream)
            _write(invocation, stream, level, message)
            if self._publisher.enabled:
                self._publish(EventOrigin.of(invocation), stream, level, message)

    def publish(self, origin: EventOrigin, message: str) -> None:
        """Put an error of the service itself into the debug stream. For any thread."""
        if self._publisher.enabled:
            with suppress(Exception):
                self._publish(origin, "log", "error", message)

    def secrets_failed(self, origin: EventOrigin, detail: str) -> None:
        """Publish that the secrets of a call could not be decrypted, and why."""
        self.publish(origin, f"secret envelope decryption failed: {detail}")

    def execute_failed(self, origin: EventOrigin, causes: Sequence[str]) -> None:
        """Publish why a handler failed, from the outermost cause to the innermost."""
        self.publish(origin, f"execute failed: {': '.join(causes)}")

    def _publish(self, origin: EventOrigin, stream: Stream, level: Level, message: str) -> None:
        content, truncated = truncate_utf8(message, self._max_bytes)
        now = time.time_ns() // 1_000_000
        self._publisher.put(DebugEvent(now, level, stream, origin, content, truncated))


def _write(invocation: Invocation, stream: Stream, level: Level, message: str) -> None:
    number = _LEVELS[level]
    if not _guests.isEnabledFor(number):
        return
    fields: dict[str, object] = {
        "logger": _guests.name,
        "stream": stream,
        "message": message[:MAX_LINE_CHARS],
        "tenant": invocation.tenant,
        "extension": invocation.extension,
    }
    if invocation.request_id is not None:
        fields["request_id"] = invocation.request_id
    if len(message) > MAX_LINE_CHARS:
        fields["truncated"] = True
    # The event is not the message: no guest can pass its messages off as the service's own.
    record = logging.LogRecord(_guests.name, number, "", 0, "guest", (), None)
    record.fields = fields
    _guests.handle(record)
