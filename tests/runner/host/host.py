"""The functions of the host as a guest meets them: called on a thread, next to an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from algaenv.runner.execute.invocation import KNOWN_CAPABILITIES, Invocation, Level, Stream, Timings
from algaenv.runner.host.functions import host_functions
from algaenv.runner.host.settings import HostSettings
from algaenv.runner.outbound import Outbound
from algaenv.runner.wasm.active_call import LoopBridge

T = TypeVar("T")


class Loop:
    """An event loop on a thread of its own, and the clients that belong to it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.outbound = Outbound()

    def run(self, work: Coroutine[Any, Any, T], seconds: float = 20.0) -> T:
        return self.start(work).result(seconds)

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)


@contextmanager
def running_loop() -> Iterator[Loop]:
    running = Loop()
    thread = threading.Thread(target=running.loop.run_forever)
    thread.start()
    try:
        yield running
        running.run(running.outbound.aclose())
    finally:
        running.loop.call_soon_threadsafe(running.loop.stop)
        thread.join()
        running.loop.run_until_complete(running.loop.shutdown_default_executor())
        running.loop.close()


def _nothing() -> None:
    """Nobody takes turns here."""


@dataclass(slots=True)
class RecordedOutput:
    """What guests said, in order."""

    words: list[tuple[Stream, Level, str]] = field(default_factory=list)

    def write(self, invocation: Invocation, stream: Stream, level: Level, message: str) -> None:
        self.words.append((stream, level, message))


class Host:
    """A table of functions, and invocations to call them with."""

    def __init__(self, running: Loop, env: Mapping[str, str]) -> None:
        self._running = running
        self._table = host_functions(HostSettings.read(env), running.outbound)
        self.listener = RecordedOutput()

    def invocation(self, *, seconds: float = 20.0, **fields: Any) -> Invocation:
        deadline = time.monotonic() + seconds
        wait = LoopBridge(self._running.loop)
        wait.bind(deadline, Timings(), pause=_nothing, resume=_nothing)
        known: dict[str, Any] = {
            "request_id": "r1",
            "tenant": "t1",
            "extension": "e1",
            "install": "i1",
            "version": "v1",
            "capabilities": KNOWN_CAPABILITIES,
            "secrets": None,
            "user": None,
        }
        return Invocation(**(known | fields), deadline=deadline, wait=wait, listener=self.listener)

    def call(self, name: str, *args: object, **fields: Any) -> Any:
        """Call `interface.function`; fields replace those of the invocation."""
        interface, _, function = name.partition(".")
        return self._table[interface][function](self.invocation(**fields), *args)

    def fetch(self, invocation: Invocation, request: Mapping[str, Any]) -> Any:
        """Call `http.fetch` with an invocation that is looked at afterwards."""
        return self._table["http"]["fetch"](invocation, request)
