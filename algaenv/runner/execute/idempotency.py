"""A call with a key runs once; later calls get the response of the first.

Keys belong to a tenant and an extension. Responses are shared with all workers and kept for a
while; a call under way holds a lock that vanishes with its process. Where the cache cannot be
written to, each worker has its own memory instead.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from time import monotonic
from types import TracebackType

from algaenv.runner.locks import KeyLocks
from algaenv.runner.shared_values import Bounds, SharedValues

_log = logging.getLogger(__name__)

DEFAULT_SECONDS = 600
_MAX_SECONDS = 7 * 86_400
MAX_RESPONSES = 100_000
MAX_RESPONSE_BYTES = 256 * 1024 * 1024
MEMORY_BOUNDS = Bounds(1000, 16 * 1024 * 1024, 0.0)
"""What one worker remembers itself, where the cache cannot be written to."""

_FIRST_PAUSE = 0.004
_MAX_PAUSE = 0.1
_SWEEP_SECONDS = 60.0

_Queue = deque[asyncio.Future[bytes | None]]
"""Calls that wait for one with their key: each gets its response, or None when it is to run."""


@dataclass(frozen=True, slots=True)
class IdempotencySettings:
    """For how many seconds responses are replayed; with 0 only concurrent calls are merged."""

    seconds: int = DEFAULT_SECONDS

    @classmethod
    def read(cls, env: Mapping[str, str]) -> IdempotencySettings:
        """`RUNNER_IDEMPOTENCY_SECONDS`: 600 unless it is a number, and at most a week."""
        text = env.get("RUNNER_IDEMPOTENCY_SECONDS", "").strip()
        if text.isascii() and text.isdigit():
            return cls(min(int(text[:9]), _MAX_SECONDS))
        return cls()


class Idempotency:
    """The responses of one cache directory, shared by the processes that serve from it."""

    def __init__(self, root: Path, settings: IdempotencySettings) -> None:
        folder = root / ".algaenv" / "idempotency"
        bounds = Bounds(MAX_RESPONSES, MAX_RESPONSE_BYTES, settings.seconds)
        self._shared = SharedValues(folder, bounds)
        self._locks = KeyLocks(folder / "claims")
        self._seconds = settings.seconds
        self._under_way: dict[bytes, _Queue] = {}
        self._memory: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._memory_bytes = 0
        self._prepared = False
        self._warned = False

    def once(self, tenant: str, extension: str, key: str) -> IdempotentRequest:
        """Wait until this call is the one that runs for its key.

            async with idempotency.once(tenant, extension, key) as request:
                if request.response is None:
                    ...
                    request.save(response)

        `request.response` is that of an earlier call. What is saved is replayed from the moment the
        block is left; without `save` the next waiter runs.
        """
        name = blake2b(digest_size=20)
        for part in (tenant, extension, key):
            encoded = part.encode("utf-8", "surrogatepass")
            name.update(b"%d:" % len(encoded))
            name.update(encoded)
        return IdempotentRequest(self, name.digest())

    async def sweep_forever(self) -> None:
        """Take away what is too old, now and then, until cancelled."""
        while True:
            with suppress(OSError):
                self._prepare()
                await asyncio.to_thread(self._shared.sweep)
            await asyncio.sleep(_SWEEP_SECONDS)

    async def start(self, name: bytes) -> bytes | None:
        """The response, or None when the caller is to run; it must call `finish` then."""
        queue = self._under_way.get(name)
        if queue is None:
            self._under_way[name] = deque()
        else:
            response = await self._wait_for_response(queue, name)
            if response is not None:
                return response
        try:
            response = await self._acquire_or_read(name)
        except BaseException:
            self._wake_next(name)
            raise
        if response is not None:
            self._resolve_waiters(name, response)
        return response

    def finish(self, name: bytes, response: bytes | None) -> None:
        """End a run: save the response and share it, or let the next waiter run."""
        if response is not None and self._seconds:
            try:
                self._shared.put(name, response)
            except OSError as error:
                self._warn_once(error)
                self._write_memory(name, response)
        with suppress(OSError):
            self._locks.release(name)
        if response is None:
            self._wake_next(name)
        else:
            self._resolve_waiters(name, response)

    async def _wait_for_response(self, queue: _Queue, name: bytes) -> bytes | None:
        future: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        queue.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            if future.cancelled():
                with suppress(ValueError):
                    queue.remove(future)
            elif future.result() is None:
                # This call was to run, but it is cancelled.
                self._wake_next(name)
            raise

    def _resolve_waiters(self, name: bytes, response: bytes) -> None:
        for future in self._under_way.pop(name):
            if not future.done():
                future.set_result(response)

    def _wake_next(self, name: bytes) -> None:
        queue = self._under_way[name]
        while queue:
            future = queue.popleft()
            if not future.done():
                future.set_result(None)
                return
        del self._under_way[name]

    async def _acquire_or_read(self, name: bytes) -> bytes | None:
        """Lock the name among all processes, or return the response that one of them stored."""
        pause = _FIRST_PAUSE
        while True:
            try:
                self._prepare()
                acquired = self._locks.acquire(name)
            except OSError as error:
                self._warn_once(error)
                return self._read_memory(name)
            response = self._known(name)
            if acquired:
                if response is not None:
                    self._locks.release(name)
                return response
            if response is not None:
                return response
            await asyncio.sleep(pause)
            pause = min(pause * 2, _MAX_PAUSE)

    def _known(self, name: bytes) -> bytes | None:
        try:
            return self._shared.get(name) or self._read_memory(name)
        except OSError as error:
            self._warn_once(error)
            return self._read_memory(name)

    def _prepare(self) -> None:
        if not self._prepared:
            self._shared.prepare()
            self._prepared = True

    def _read_memory(self, name: bytes) -> bytes | None:
        stored_at, response = self._memory.get(name, (0.0, b""))
        return response if response and monotonic() - stored_at <= self._seconds else None

    def _write_memory(self, name: bytes, response: bytes) -> None:
        if len(response) > MEMORY_BOUNDS.max_bytes:
            return
        _, before = self._memory.pop(name, (0.0, b""))
        self._memory[name] = (monotonic(), response)
        self._memory_bytes += len(response) - len(before)
        while (
            len(self._memory) > MEMORY_BOUNDS.max_entries
            or self._memory_bytes > MEMORY_BOUNDS.max_bytes
        ):
            _, (_, dropped) = self._memory.popitem(last=False)
            self._memory_bytes -= len(dropped)

    def _warn_once(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            fields = {"why": error.strerror or str(error)}
            _log.warning("idempotency keys only in memory", extra={"fields": fields})


class IdempotentRequest:
    """One call with its key."""

    __slots__ = ("_idempotency", "_name", "_runs", "_saved", "response")

    def __init__(self, idempotency: Idempotency, name: bytes) -> None:
        self._idempotency = idempotency
        self._name = name
        self._runs = False
        self._saved: bytes | None = None
        self.response: bytes | None = None
        """The response of an earlier call, byte for byte; None when this one is to run."""

    def save(self, response: bytes) -> None:
        """Replay this for every later call with the key; not empty."""
        self._saved = response

    async def __aenter__(self) -> IdempotentRequest:
        self.response = await self._idempotency.start(self._name)
        self._runs = self.response is None
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._runs:
            self._runs = False
            self._idempotency.finish(self._name, self._saved)
