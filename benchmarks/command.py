"""Runs a command and tells how long it took; whatever does not end well was not measured."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_GRACE_SECONDS = 30.0
_TAIL_LINES = 12
# What would make the measured programs other than an installed one finds itself.
_FOREIGN = ("PYTHON", "ALGAENV_", "COMPOSE_", "VIRTUAL_ENV")


class Unmeasured(Exception):
    """Something could not be measured; the text says what and why."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How long a command took, in seconds, and what it printed on stdout and stderr."""

    seconds: float
    output: bytes
    errors: bytes

    @property
    def text(self) -> str:
        """The output as text."""
        return self.output.decode(errors="replace")


def surroundings(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of every measured command: this one's, without what steers them."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(_FOREIGN)}
    return {**kept, **extra}


def run(
    argv: Sequence[str | Path],
    *,
    environ: Mapping[str, str],
    cwd: Path,
    patience: float = 600.0,
) -> Ran:
    """Run `argv` to its end. Raises Unmeasured when it fails or takes more than `patience` seconds.

    Output goes to files, so that nobody has to read it while the clock runs.
    """
    words = [str(word) for word in argv]
    with (cwd / ".stdout").open("w+b") as out, (cwd / ".stderr").open("w+b") as err:
        start = time.perf_counter()
        child = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd, env=environ
        )
        code = _wait(child, patience)
        seconds = time.perf_counter() - start
        out.seek(0)
        err.seek(0)
        output, errors = out.read(), err.read()
    if code != 0:
        answer = (errors or output).decode(errors="replace").splitlines()[-_TAIL_LINES:]
        told = f"ended with {code}" if code is not None else f"took more than {patience:g} s"
        raise Unmeasured(f"`{_short(words)}` {told}:\n  " + "\n  ".join(answer))
    return Ran(seconds, output, errors)


def _wait(child: subprocess.Popen[bytes], patience: float) -> int | None:
    """The exit code; a child that is left because of an exception may end on its own first."""
    try:
        # Without a timeout the wait is one system call; with one it is a loop of sleeps.
        with _alarm(patience):
            return child.wait()
    except _TooLong:
        child.kill()
        child.wait()
        return None
    except BaseException:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        raise


class _TooLong(Exception):
    """The alarm went off."""


class _alarm:
    """Raises _TooLong in the main thread after some seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    @staticmethod
    def _ring(*_: object) -> None:
        raise _TooLong


def _short(words: Sequence[str]) -> str:
    return " ".join([Path(words[0]).name, *words[1:]])
