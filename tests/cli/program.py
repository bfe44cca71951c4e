"""Runs the command line as a program: in pipes, or on a terminal of a given size."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

ROOT = Path(__file__).parents[2]
SECONDS = 30.0
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def environ(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment that says nothing about colour, CI or width."""
    quiet = {"CI", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM"}
    quiet |= {"ALGAENV_FILE", "ALGAENV_ISOLATED"}
    kept = {key: value for key, value in os.environ.items() if key not in quiet}
    path = os.pathsep.join([str(ROOT), *filter(None, [kept.get("PYTHONPATH")])])
    return (
        kept
        | {"PYTHONPATH": path, "HOME": str(home), "XDG_STATE_HOME": str(home / "state")}
        | {
            "TERM": "xterm-256color",
            "LC_ALL": "C.UTF-8",
            **(extra or {}),
        }
    )


def command(*arguments: str, scenario: str | None) -> list[str]:
    """The real program, or with a `scenario` the one with a fake application."""
    if scenario is None:
        return [sys.executable, "-m", "algaenv", *arguments]
    return [sys.executable, "-m", "tests.cli.fake_main", scenario, *arguments]


def run(
    directory: Path,
    *arguments: str,
    scenario: str | None = None,
    extra: Mapping[str, str] | None = None,
    text: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """To the end, in pipes."""
    return subprocess.run(
        command(*arguments, scenario=scenario),
        cwd=directory,
        env=environ(directory, extra),
        input=text if text is not None else "",
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )


@dataclass(slots=True)
class Piped:
    """A program under way, with its stderr followed as it comes."""

    process: subprocess.Popen[bytes]
    seen: str = ""

    @classmethod
    def start(
        cls, directory: Path, *arguments: str, scenario: str, extra: Mapping[str, str] | None = None
    ) -> Self:
        process = subprocess.Popen(
            command(*arguments, scenario=scenario),
            cwd=directory,
            env=environ(directory, extra),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        return cls(process)

    def until(self, *texts: str) -> None:
        """Read stderr until each of `texts` stands in it."""
        assert self.process.stderr is not None
        for text in texts:
            self.seen = _read_until(self.process.stderr, self.seen, text)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        out, err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out.decode(), self.seen + err.decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@dataclass(slots=True)
class Screen:
    """A program on a pseudo-terminal; `raw` is every byte it wrote, stdout and stderr alike."""

    process: subprocess.Popen[bytes]
    master: int
    raw: str = field(default="")

    @classmethod
    def start(
        cls,
        directory: Path,
        *arguments: str,
        scenario: str | None,
        size: tuple[int, int] = (80, 24),
        extra: Mapping[str, str] | None = None,
    ) -> Self:
        master, slave = pty.openpty()
        width, height = size
        import fcntl

        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        process = subprocess.Popen(
            command(*arguments, scenario=scenario),
            cwd=directory,
            env=environ(directory, {"FAKE_TERMINAL": "1", **(extra or {})}),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        return cls(process, master)

    def until(self, *texts: str) -> None:
        """Read until each of `texts` was on the screen."""
        deadline = time.monotonic() + SECONDS
        while missing := [text for text in texts if text not in self.text]:
            assert self._pump(deadline), f"{missing} never came: {self.text}"

    def press(self, keys: str) -> None:
        """As somebody at the keyboard would."""
        os.write(self.master, keys.encode())

    def end(self) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + SECONDS
        while self._pump(deadline):
            pass
        return self.process.wait(timeout=SECONDS)

    @property
    def text(self) -> str:
        """What was written, without escapes; frames that were drawn over are all in it."""
        return _ESCAPES.sub("", self.raw).replace("\r", "")

    def _pump(self, deadline: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], max(deadline - time.monotonic(), 0))
        assert ready, f"nothing more came: {self.text}"
        try:
            chunk = os.read(self.master, 65536)
        except OSError:  # the other side is closed
            return False
        self.raw += chunk.decode(errors="replace")
        return bool(chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


def _read_until(stream: IO[bytes], seen: str, text: str) -> str:
    deadline = time.monotonic() + SECONDS
    while text not in seen:
        ready, _, _ = select.select([stream], [], [], max(deadline - time.monotonic(), 0))
        chunk = os.read(stream.fileno(), 65536) if ready else b""
        assert chunk, f"{text!r} never came: {seen}"
        seen += chunk.decode()
    return seen
