"""A long-lived process keeps no memory that it does not need."""

from __future__ import annotations

import subprocess
import sys

_THREADS = """
import sys, threading
from algaenv.system import memory
if sys.argv[1] == "one":
    memory.share_one_arena()
together = threading.Barrier(8)
def allocate():
    together.wait()
    kept = [bytes(600) for _ in range(20_000)]
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
[it.start() for it in threads]
[it.join() for it in threads]
memory.give_back()
# The heap of an arena is a mapping of 64 MiB, of which the first part is in use.
starts = [line.split("-")[0] for line in open("/proc/self/maps") if "rw-p" in line]
print(sum(int(it, 16) % (64 << 20) == 0 for it in starts))
"""


def arenas(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _THREADS, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_threads_share_one_arena() -> None:
    assert arenas("one") == 0 < arenas("each")
