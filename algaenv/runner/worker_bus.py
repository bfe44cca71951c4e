"""Messages between the workers: a component was warmed up, so load it as well.

A warmup request reaches one worker, and the first call may reach any. Messages are datagrams
over sockets that only the workers of one service have.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from algaenv.bundle.digest import Digest
from algaenv.runner.workers import Worker

_log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
"""For the others to load; a call to a worker that has not only takes longer."""
_MAX_MESSAGE_BYTES = 16 * 1024

Load = Callable[[Digest, Path], Awaitable[object]]


class WorkerBus:
    """The other workers of the service; none without a worker, or when it is the only one."""

    def __init__(self, worker: Worker | None, load: Load) -> None:
        self._worker = worker
        self._load = load
        self._numbers = itertools.count()
        self._confirmations: dict[tuple[int, int], asyncio.Event] = {}
        self._loading: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Listen; needs a running loop."""
        if self._worker is not None and self._worker.inbox is not None:
            self._worker.inbox.setblocking(False)
            asyncio.get_running_loop().add_reader(self._worker.inbox, self._on_readable)

    def stop(self) -> None:
        """Listen no more."""
        if self._worker is not None and self._worker.inbox is not None:
            asyncio.get_running_loop().remove_reader(self._worker.inbox)

    async def load_everywhere(self, bundle: Digest, component: Path) -> None:
        """Have the others load a component that is compiled, and wait until they have."""
        if self._worker is None:
            return
        number = next(self._numbers)
        pending: list[asyncio.Event] = []
        for slot in range(len(self._worker.outboxes)):
            if slot == self._worker.slot:
                continue
            message = {
                "load": bundle.hex,
                "component": str(component),
                "from": self._worker.slot,
                "number": number,
            }
            done = self._confirmations[slot, number] = asyncio.Event()
            if self._send(slot, message):
                pending.append(done)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    for done in pending:
                        await done.wait()
        finally:
            for slot in range(len(self._worker.outboxes)):
                self._confirmations.pop((slot, number), None)

    def _send(self, slot: int, message: dict[str, object]) -> bool:
        assert self._worker is not None  # noqa: S101
        try:
            self._worker.outboxes[slot].send(json.dumps(message).encode())
        except OSError:
            # Its inbox is full: the worker does not read at the moment.
            return False
        return True

    def _on_readable(self) -> None:
        assert self._worker is not None  # noqa: S101
        assert self._worker.inbox is not None  # noqa: S101
        with suppress(BlockingIOError):
            while True:
                message = json.loads(self._worker.inbox.recv(_MAX_MESSAGE_BYTES))
                if "load" in message:
                    task = asyncio.ensure_future(self._load_and_confirm(message))
                    self._loading.add(task)
                    task.add_done_callback(self._loading.discard)
                elif done := self._confirmations.get((message["from"], message["loaded"])):
                    done.set()

    async def _load_and_confirm(self, message: dict[str, object]) -> None:
        assert self._worker is not None  # noqa: S101
        try:
            await self._load(Digest(str(message["load"])), Path(str(message["component"])))
        except Exception:
            # The next call reports the reason.
            _log.debug("not warmed", exc_info=True)
        confirmation: dict[str, object] = {"loaded": message["number"], "from": self._worker.slot}
        self._send(int(str(message["from"])), confirmation)
