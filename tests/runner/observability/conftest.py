"""A Redis of a test's own, and logs that publish to it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from algaenv.runner.execute.invocation import Invocation
from algaenv.runner.observability.guest_log import GuestLog
from algaenv.runner.settings import DebugStreamSettings

from .fake_redis import Server, running

Open = Callable[..., GuestLog]


class Tallied:
    """Counts as the figures of the service do."""

    def __init__(self) -> None:
        self.lines: Counter[str] = Counter()
        self.dropped = 0
        self._changing = threading.Lock()

    def guest_line(self, stream: str) -> None:
        with self._changing:
            self.lines[stream] += 1

    def events_dropped(self, number: int) -> None:
        with self._changing:
            self.dropped += number


def _wait(work: Coroutine[Any, Any, Any], /) -> Any:
    raise NotImplementedError


def invocation(log: GuestLog, **fields: Any) -> Invocation:
    known: dict[str, Any] = {
        "request_id": "r-1",
        "tenant": "Tenant-A",
        "extension": "Demo-Ext",
        "install": "i-1",
        "version": "v-1",
        "capabilities": frozenset(),
        "secrets": None,
        "user": None,
        "deadline": time.monotonic() + 10,
        "wait": _wait,
        "listener": log,
    }
    return Invocation(**{**known, **fields})


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path) as server:
        yield server


@pytest.fixture
def tally() -> Tallied:
    return Tallied()


@pytest.fixture
def open_log(tally: Tallied) -> Iterator[Open]:
    """A log with these variables, begun; closed at the end of the test."""
    logs: list[GuestLog] = []

    def begin(**env: str) -> GuestLog:
        read = DebugStreamSettings.read(
            {f"RUNNER_DEBUG_{name}": text for name, text in env.items()}
        )
        log = GuestLog(read, tally)
        log.start()
        logs.append(log)
        return log

    yield begin
    for log in logs:
        asyncio.run(log.aclose())
