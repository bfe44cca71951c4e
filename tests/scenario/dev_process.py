"""A `dev` that runs, and its events."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.scenario.project import Project

Event = dict[str, Any]
SECONDS = 90.0


class DevProcess:
    """`algaenv dev --json` of a project, as a person starts it."""

    def __init__(self, project: Project, *arguments: str, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self.process = subprocess.Popen(
            project.command("dev", "--json", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=project.environment(),
            cwd=project.root,
        )
        self.seen: list[Event] = []
        self.errors: list[str] = []
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._readers = [threading.Thread(target=it, daemon=True) for it in (self._out, self._err)]
        for reader in self._readers:
            reader.start()

    def _out(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            self.seen.append(event)
            self._events.put(event)
        self._events.put(None)

    def _err(self) -> None:
        assert self.process.stderr is not None
        self.errors.extend(self.process.stderr)

    def wait_for(self, name: str, holds: Callable[[Event], bool] = lambda _: True) -> Event:
        """The next event of this name for which `holds`; others are passed over."""
        while True:
            event = self._events.get(timeout=self._seconds)
            assert event is not None, self._how_it_ended()
            if event["event"] == name and holds(event):
                return event

    def pass_time(self, seconds: float) -> None:
        """Let up to so much time pass; what happens meanwhile is passed over."""
        deadline = time.monotonic() + seconds
        with contextlib.suppress(queue.Empty):
            while (left := deadline - time.monotonic()) > 0:
                self._events.get(timeout=left)

    def _how_it_ended(self) -> str:
        code = self.closed()
        last = "\n".join(map(json.dumps, self.seen[-3:]))
        return f"it ended with exit code {code}: {''.join(self.errors)}\n{last}"

    def turn(self) -> Event:
        """The end of the next turn that was not given up."""
        return self.wait_for("turn_ended", lambda it: not it["superseded"])

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """End it; returns its exit code."""
        self.process.send_signal(number)
        return self.closed()

    def closed(self) -> int:
        """Its exit code, once it has ended."""
        code = self.process.wait(timeout=SECONDS)
        for reader in self._readers:
            reader.join(10)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return code


@contextmanager
def dev(project: Project, *arguments: str, seconds: float = SECONDS) -> Iterator[DevProcess]:
    """One that watches; it is killed when the test ends before it. No event is waited for longer
    than `seconds`."""
    made = DevProcess(project, *arguments, seconds=seconds)
    try:
        made.wait_for("watching")
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.closed()
