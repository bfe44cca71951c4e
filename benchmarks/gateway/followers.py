"""What it costs a runner under load that somebody follows its calls."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.command import Unmeasured
from benchmarks.gateway.calls import CONNECTIONS, EXECUTE
from benchmarks.gateway.services import Bench, Services, ask, following
from benchmarks.runner.rows import Row
from benchmarks.runner.service import Line, children, process_fields, processor_seconds
from benchmarks.runner.wrk import load

SECONDS: Final = 1
ROUNDS: Final = 40
"""The same stretch varies by a fifth from time to time, so many short ones are compared."""
LIMIT: Final = 1.03
_PPID: Final = 1
"""Its place among the fields of a process."""
_FOLLOWERS: Final = (("logs", "-f", "--tail", "1"), ("trace", "-f", "--last", "1"))
_OTHER: Final = """
import json, time
line = json.dumps({"event": "request", "path": "/x" * 20, "numbers": list(range(10))})
while True:
    end = time.perf_counter() + 0.01
    while time.perf_counter() < end:
        json.loads(line)
    time.sleep(0.04)
"""
"""A fifth of a processor, as much as the followers take at 2,000 calls a second."""


def followers(bench: Bench) -> None:
    """The runner's processor time a call with `logs -f` and `trace -f`, and without, in turn.

    Load and runner keep both processors of a small machine busy, and any other process makes a
    call dearer there. So the peers are nothing at all, and a process that is as busy as the
    followers and has nothing to do with the runner. The handler is the smallest one, so that many
    calls a second are followed.
    """
    services = bench.smallest
    workers = _workers(services)
    _microseconds(services, workers)
    with Line(services.gateway) as line:
        ask(line, services.proxied, {})  # `trace` has one to show.
    company: dict[str, Callable[[], AbstractContextManager[object]]] = {
        "nobody follows": nullcontext,
        "another process as busy": _other_process,
        "followed": lambda: _following_all(services),
    }
    spent: dict[str, list[float]] = {name: [] for name in company}
    rates: list[float] = []
    for turn in range(ROUNDS):
        names = list(company)
        # What comes first may be faster for reasons of the machine.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            with company[name]():
                time_, rate = _microseconds(services, workers)
            spent[name].append(time_)
            rates += [rate] if name == "followed" else []
    followed = spent.pop("followed")
    what = f"runner's processor time a call at {median(rates):.0f}/s, with `logs -f`, `trace -f`"
    for name, others in spent.items():
        ratio = median(mine / theirs for mine, theirs in zip(followed, others, strict=True))
        bench.table.rows.append(
            Row(
                what,
                f"{median(followed):.0f} µs",
                f"{median(others):.0f} µs",
                name,
                ratio,
                f"≤ {LIMIT:g} ×",
                ratio <= LIMIT,
            )
        )


@contextmanager
def _following_all(services: Services) -> Iterator[None]:
    with ExitStack() as stack:
        for words in _FOLLOWERS:
            stack.enter_context(following(services, *words))
        yield


@contextmanager
def _other_process() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", _OTHER]) as process:
        try:
            yield
        finally:
            process.kill()


def _microseconds(services: Services, workers: list[int]) -> tuple[float, float]:
    """Processor time of the workers a call, and calls a second."""
    before = processor_seconds(workers)
    seen = load(
        f"http://127.0.0.1:{services.runner}{EXECUTE}",
        connections=CONNECTIONS,
        seconds=SECONDS,
        body=services.execute,
        headers=services.routing,
    )
    if seen.good != seen.requests or not seen.good:
        raise Unmeasured(f"not all calls were answered: {seen}")
    spent = processor_seconds(workers) - before
    return spent / seen.good * 1e6, seen.rate


def _workers(services: Services) -> list[int]:
    """The processes of the runner: the one with its port among its variables, and its workers."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            variables = (folder / "environ").read_bytes().split(b"\0")
            is_first = (
                b"algaenv.runner" in words and f"PORT={services.runner}".encode() in variables
            )
            parent = int(process_fields(int(folder.name))[_PPID]) if is_first else 0
            if is_first and b"algaenv.runner" not in Path(f"/proc/{parent}/cmdline").read_bytes():
                pid = int(folder.name)
                return [pid, *children(pid)]
        except (OSError, IndexError):
            continue
    raise Unmeasured("the runner's processes are not found")
