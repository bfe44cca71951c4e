"""Starts tiny services and looks at their processes."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .service import Service, clean_env

ROOT = Path(__file__).parents[2]


class Tiny(Service):
    """A tiny service, and the lines that were opened to it."""

    opened: list[Line]

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.opened = []
        super().__init__(process)

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        for line in self.opened:
            line.close()
        return super().stop(with_signal)


@contextmanager
def tiny(count: int, folder: Path) -> Iterator[Tiny]:
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.runner.tiny", str(count), str(folder), ""],
        cwd=ROOT,
        env=clean_env({}),
        stdout=subprocess.PIPE,
        text=True,
    )
    service: Tiny | None = None
    try:
        service = Tiny(process)
        yield service
    finally:
        if service is None:
            process.kill()
            process.wait()
        else:
            service.stop()


class Line:
    """A connection that stays, and with it the worker at its other end."""

    def __init__(self, service: Tiny) -> None:
        service.opened.append(self)
        self._link = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        self.pid: int = self.ask("/hello", whole=True)["pid"]

    def ask(self, path: str, *, whole: bool = False) -> Any:
        self._link.request("GET", path)
        answer = json.loads(self._link.getresponse().read())
        return answer if whole else answer["said"]

    def send(self, path: str) -> None:
        """Ask and leave without waiting for the answer."""
        self._link.request("GET", path)

    def close(self) -> None:
        self._link.close()


def lines(service: Tiny, count: int) -> list[Line]:
    """One line to each of `count` workers."""
    found: dict[int, Line] = {}
    deadline = time.monotonic() + 20
    while len(found) < count:
        assert time.monotonic() < deadline, f"only {len(found)} workers answer"
        line = Line(service)
        if line.pid in found:
            line.close()
        else:
            found[line.pid] = line
    return list(found.values())


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def lives(pid: int) -> bool:
    """A zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def until(true: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.01)
