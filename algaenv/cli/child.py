"""Runs a program of the author's in the terminal of this one."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from algaenv.model.problem import Problem, Refused

END_SECONDS = 10.0
"""How long a program may take to end once it was told to."""
_NOTICE_SECONDS = 2.0
"""How long a program that Ctrl-C has reached is left alone."""
_BY_SIGNAL = 128


def run_program(
    words: Sequence[str],
    environ: Mapping[str, str],
    *,
    directory: Path | None = None,
    out: TextIO | None = None,
) -> int:
    """Run it to its end; its exit code, or 128 and the number of the signal that ended it.

    It shares the terminal, so Ctrl-C reaches it as well; it is ended when this program is. `out` is
    its standard output instead of ours. Raises Refused (`program-missing`).
    """
    try:
        process = subprocess.Popen(words, env=dict(environ), cwd=directory, stdout=out)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Refused(
            Problem(
                code="program-missing",
                summary=f"cannot run {words[0]}: {why}",
                hint="correct the command line after `--`",
            )
        ) from error
    try:
        code = process.wait()
    except BaseException:
        _end(process)
        raise
    return code if code >= 0 else _BY_SIGNAL - code


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program that Ctrl-C has reached already, while SIGTERM was for this one only."""
    waits = ((None, _NOTICE_SECONDS), (signal.SIGTERM, END_SECONDS), (signal.SIGKILL, END_SECONDS))
    for number, seconds in waits:
        if number is not None:
            process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
        return
