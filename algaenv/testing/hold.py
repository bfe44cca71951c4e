"""A program for `algaenv test`: tells where the environment is, and may keep it for a while.

`algaenv test -- python -m algaenv.testing.hold FILE [FIFO]` writes `FILE`, a JSON object. With a
FIFO it then waits until no process has that open for writing any more: until the run of pytest that
wants the environment has ended, however it ended.
"""

from __future__ import annotations

import json
import os
import select
import sys
from pathlib import Path

from algaenv.system.files import write_atomic

_POLL_MS = 1_000


def main(arguments: list[str]) -> int:
    """Write the file, wait, and return 0."""
    file, *fifo = arguments
    found = {"spec": os.environ["ALGAENV_FILE"], "gateway": os.environ.get("ALGAENV_GATEWAY_URL")}
    write_atomic(Path(file), json.dumps(found).encode())
    for path in fifo:
        wait_until_abandoned(path)
    return 0


def wait_until_abandoned(path: str) -> None:
    """Return when no process has the FIFO open for writing, or when it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLHUP)
    while True:
        try:
            if not os.read(descriptor, 1):
                return
        except BlockingIOError:
            poll.poll(_POLL_MS)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
