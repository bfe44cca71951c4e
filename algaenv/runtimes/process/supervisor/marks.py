"""The marks of a service's processes: variables they were started with.

A record can get lost; its processes are then found by their marks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Final

from algaenv.system import processes
from algaenv.system.processes import Identity

ENVIRONMENT: Final = "ALGAENV_ENVIRONMENT"
ADDRESS: Final = "ALGAENV_ADDRESS"
SPEC: Final = "ALGAENV_SPEC"
FINGERPRINT: Final = "ALGAENV_FINGERPRINT"
SUPERVISOR: Final = "ALGAENV_SHIM"
"""Set for the supervisor only; its service carries all other marks."""

_PREFIX: Final = b"ALGAENV_"


def marks_of(pid: int) -> Mapping[str, str]:
    """The `ALGAENV_…` variables a process was started with; empty when they cannot be read."""
    block = processes.environ_block(pid)
    if _PREFIX not in block:
        return {}
    pairs = (entry.partition(b"=") for entry in block.split(b"\0") if entry.startswith(_PREFIX))
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def marked_processes(environment: str) -> Iterator[tuple[Identity, Mapping[str, str]]]:
    """The live processes of this user that carry the environment's id, with their marks."""
    user = os.geteuid()
    for pid in processes.pids():
        try:
            if os.stat(f"/proc/{pid}").st_uid != user:  # noqa: PTH116 - hundreds of them
                continue
        except OSError:
            continue
        found = marks_of(pid)
        if found.get(ENVIRONMENT) == environment and ADDRESS in found:
            process = processes.identify(pid)
            if process:
                yield process, found
