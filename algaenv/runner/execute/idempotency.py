"""A call with a key runs once; who asks again gets the answer of the first.

Keys belong to a tenant and an extension. Answers are told to all workers and remembered for a
while; a call under way is a claim that vanishes with its process. Where the cache cannot be
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
from algaenv.runner.shared_log import LogBounds, SharedLog

_log = logging.getLogger(__name__)

DEFAULT_SECONDS = 600
_MAX_SECONDS = 7 * 86_400
MAX_RESPONSES = 100_000
MAX_RESPONSE_BYTES = 256 * 1024 * 1024
MEMORY_BOUNDS = LogBounds(1000, 16 * 1024 * 1024, 0.0)
"""What one worker remembers itself, where the cache cannot be written to."""

_FIRST_PAUSE = 0.004
_MAX_PAUSE = 0.1
_SWEEP_SECONDS = 60.0

_Queue = deque[asyncio.Future[bytes | None]]
"""Twins of a call under way: each is given the answer, or None when it is to run itself."""


@dataclass(frozen=True, slots=True)
class IdempotencySettings:
    """For how many seconds answers are replayed; with 0 only calls under way run once."""

    seconds: int = DEFAULT_SECONDS

    @classmethod
    def read(cls, env: Mapping[str, str]) -> IdempotencySettings:
        """`RUNNER_IDEMPOTENCY_SECONDS`: 600 unless it is a number, and at most a week."""
        text = env.get("RUNNER_IDEMPOTENCY_SECONDS", "").strip()
        if text.isascii() and text.isdigit():
            return cls(min(int(text[:9]), _MAX_SECONDS))
        return cls()


class Idempotency:
    """The answers of one cache directory, as one of `workers` processes knows them."""

    def __init__(self, root: Path, memory: IdempotencySettings, *, workers: int = 1) -> None:
        folder = root / ".algaenv" / "idempotency"
        bounds = LogBounds(MAX_RESPONSES, MAX_RESPONSE_BYTES, memory.seconds)
        self._chronicle = SharedLog(folder, bounds, processes=workers)
        self._claims = KeyLocks(folder / "claims")
        self._seconds = memory.seconds
        self._under_way: dict[bytes, _Queue] = {}
        self._own: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._own_bytes = 0
        self._prepared = False
        self._complained = False

    def once(self, tenant: str, extension: str, key: str) -> IdempotentRequest:
        """Wait for our turn with a key.

            async with idempotency.once(tenant, extension, key) as turn:
                if turn.answer is None:
                    ...
                    turn.keep(answer)

        `turn.answer` is that of an earlier call. What is kept is replayed from the moment the
        block is left; without `keep` the next one who waits has a turn of its own.
        """
        name = blake2b(digest_size=20)
        for part in (tenant, extension, key):
            coded = part.encode("utf-8", "surrogatepass")
            name.update(b"%d:" % len(coded))
            name.update(coded)
        return IdempotentRequest(self, name.digest())

    async def tend(self) -> None:
        """Take away what is too old, now and then, until cancelled."""
        while True:
            with suppress(OSError):
                self._prepare()
                self._chronicle.sweep()
            await asyncio.sleep(_SWEEP_SECONDS)

    async def begin(self, name: bytes) -> bytes | None:
        """The answer, or None when the caller is to run; it must call `finish` then."""
        queue = self._under_way.get(name)
        if queue is None:
            self._under_way[name] = deque()
        else:
            answer = await self._wait_in(queue, name)
            if answer is not None:
                return answer
        try:
            answer = await self._claim(name)
        except BaseException:
            self._pass_on(name)
            raise
        if answer is not None:
            self._share(name, answer)
        return answer

    def finish(self, name: bytes, answer: bytes | None) -> None:
        """End a turn: keep the answer and share it, or let the next one run."""
        if answer is not None and self._seconds:
            try:
                self._chronicle.put(name, answer)
            except OSError as error:
                self._complain(error)
                self._remember(name, answer)
        with suppress(OSError):
            self._claims.give(name)
        if answer is None:
            self._pass_on(name)
        else:
            self._share(name, answer)

    async def _wait_in(self, queue: _Queue, name: bytes) -> bytes | None:
        told: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        queue.append(told)
        try:
            return await told
        except asyncio.CancelledError:
            if told.cancelled():
                with suppress(ValueError):
                    queue.remove(told)
            elif told.result() is None:
                # It was our turn, but we are leaving.
                self._pass_on(name)
            raise

    def _share(self, name: bytes, answer: bytes) -> None:
        for told in self._under_way.pop(name):
            if not told.done():
                told.set_result(answer)

    def _pass_on(self, name: bytes) -> None:
        queue = self._under_way[name]
        while queue:
            told = queue.popleft()
            if not told.done():
                told.set_result(None)
                return
        del self._under_way[name]

    async def _claim(self, name: bytes) -> bytes | None:
        """Claim the name among all processes, or get the answer that one of them told."""
        pause = _FIRST_PAUSE
        while True:
            try:
                self._prepare()
                claimed = self._claims.take(name)
            except OSError as error:
                self._complain(error)
                return self._recall(name)
            answer = self._known(name)
            if claimed:
                if answer is not None:
                    self._claims.give(name)
                return answer
            if answer is not None:
                return answer
            await asyncio.sleep(pause)
            pause = min(pause * 2, _MAX_PAUSE)

    def _known(self, name: bytes) -> bytes | None:
        try:
            return self._chronicle.get(name) or self._recall(name)
        except OSError as error:
            self._complain(error)
            return self._recall(name)

    def _prepare(self) -> None:
        if not self._prepared:
            self._chronicle.prepare()
            self._prepared = True

    def _recall(self, name: bytes) -> bytes | None:
        moment, answer = self._own.get(name, (0.0, b""))
        return answer if answer and monotonic() - moment <= self._seconds else None

    def _remember(self, name: bytes, answer: bytes) -> None:
        if len(answer) > MEMORY_BOUNDS.most_bytes:
            return
        _, before = self._own.pop(name, (0.0, b""))
        self._own[name] = (monotonic(), answer)
        self._own_bytes += len(answer) - len(before)
        while len(self._own) > MEMORY_BOUNDS.most or self._own_bytes > MEMORY_BOUNDS.most_bytes:
            _, (_, gone) = self._own.popitem(last=False)
            self._own_bytes -= len(gone)

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            fields = {"why": error.strerror or str(error)}
            _log.warning("idempotency keys only in memory", extra={"fields": fields})


class IdempotentRequest:
    """One call's turn with its key."""

    __slots__ = ("_idempotency", "_kept", "_name", "_runs", "answer")

    def __init__(self, idempotency: Idempotency, name: bytes) -> None:
        self._idempotency = idempotency
        self._name = name
        self._runs = False
        self._kept: bytes | None = None
        self.answer: bytes | None = None
        """What an earlier call was answered, word for word; None when this one is to run."""

    def keep(self, answer: bytes) -> None:
        """Have this replayed to all who come with the key; not empty."""
        self._kept = answer

    async def __aenter__(self) -> IdempotentRequest:
        self.answer = await self._idempotency.begin(self._name)
        self._runs = self.answer is None
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._runs:
            self._runs = False
            self._idempotency.finish(self._name, self._kept)
