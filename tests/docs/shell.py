"""A reader at a terminal: types the commands of a page, with `algaenv` being this one."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

TIMEOUT = 120.0
QUESTION = b"[y/N] "
OVERLAY = """\
runtime: process
ready_timeout: 4m
store: {port: auto, console_port: auto}
redis: {port: auto}
database: {port: auto}
runner: {port: auto}
"""
"""Laid over every spec that a reader writes, so that readers do not get into each other's way."""


@dataclass
class Reader:
    """`home` is where the reader starts; `here` is where the commands have led to."""

    home: Path
    here: Path = field(init=False)
    environ: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        tools = self.home / ".tools"
        tools.mkdir()
        self.here = self.home
        path = os.pathsep.join((str(tools), os.environ["PATH"]))
        self.environ = {
            **os.environ,
            "PATH": path,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TERM": "xterm",
        }
        self.environ.pop("CI", None)  # a reader sits at a keyboard
        # What npm has fetched once is not asked for again.
        self.environ |= {"npm_config_prefer_offline": "true"}
        self.tool("algaenv", f'exec {shlex.quote(sys.executable)} -m algaenv "$@"')

    def tool(self, name: str, script: str) -> None:
        """Put a program on the reader's PATH."""
        path = self.home / ".tools" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def types(self, command: str, seconds: float = TIMEOUT) -> str:
        """Run a command where the last one ended, say yes to every question; what was shown.

        Fails unless the command ends well.
        """
        end = self.home / ".tools" / "here"
        script = f"set -e\n{command}\npwd > {shlex.quote(str(end))}\n"
        code, shown = _at_a_terminal(["bash", "-c", script], self.here, self.environ, seconds)
        assert code == 0, f"$ {command}\n{shown}"
        self.here = Path(end.read_text().strip())
        spec = self.here / "algaenv.yaml"
        if spec.exists():
            spec.with_name("algaenv.local.yaml").write_text(OVERLAY)
        return shown


def _at_a_terminal(
    argv: list[str], here: Path, environ: dict[str, str], seconds: float
) -> tuple[int, str]:
    screen, keyboard = pty.openpty()
    process = subprocess.Popen(
        argv,
        stdin=keyboard,
        stdout=keyboard,
        stderr=keyboard,
        cwd=here,
        env=environ,
        start_new_session=True,
    )
    os.close(keyboard)
    shown, answered = b"", 0
    end = time.monotonic() + seconds
    try:
        while True:
            if not select.select([screen], [], [], max(end - time.monotonic(), 0))[0]:
                os.killpg(process.pid, signal.SIGKILL)
                raise AssertionError(f"{argv[-1]} does not end:\n{shown.decode()}")
            try:
                read = os.read(screen, 65536)
            except OSError:  # what a terminal answers once the last program has left it
                break
            shown += read
            if shown.count(QUESTION) > answered:
                answered += 1
                os.write(screen, b"y\n")
    finally:
        os.close(screen)
    code = process.wait(timeout=TIMEOUT)
    return code, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()).replace("\r\n", "\n")
