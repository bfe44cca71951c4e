"""What it costs a runner under load that somebody follows its calls."""

from __future__ import annotations

from contextlib import ExitStack
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
PAIRS: Final = 60
"""The same stretch varies by a fifth from time to time, so many short ones are compared."""
LIMIT: Final = 1.03
_PPID: Final = 1
"""Its place among the fields of a process."""
_FOLLOWERS: Final = (("logs", "-f", "--tail", "1"), ("trace", "-f", "--last", "1"))


def followers(bench: Bench) -> None:
    """The runner's processor time a call, alone and with `logs -f` and `trace -f`, in turn.

    Each pair has a second stretch without followers, which shows what the comparison is worth.
    The handler is the smallest one, so that many calls a second are followed.
    """
    services = bench.smallest
    workers = _workers(services)
    _microseconds(services, workers)
    with Line(services.gateway) as line:
        ask(line, services.proxied, {})  # `trace` has one to show.
    stretches: list[tuple[float, float, float]] = []
    rates: list[float] = []
    for turn in range(PAIRS):
        before, _ = _microseconds(services, workers)
        with ExitStack() as stack:
            for words in _FOLLOWERS:
                stack.enter_context(following(services, *words))
            followed, rate = _microseconds(services, workers)
        rates.append(rate)
        after, _ = _microseconds(services, workers)
        # What comes first may be faster for reasons of the machine: every other pair is turned.
        alone = (before, after) if turn % 2 else (after, before)
        stretches.append((followed, *alone))
    followed, first, second = (median(each) for each in zip(*stretches, strict=True))
    ratio = median(mine * 2 / (one + other) for mine, one, other in stretches)
    noise = sorted(one / other for _, one, other in stretches)
    low, high = noise[len(noise) // 4], noise[len(noise) * 3 // 4]
    bench.table.rows.append(
        Row(
            f"runner's processor time a call at {median(rates):.0f}/s, with `logs -f`, `trace -f`",
            f"{followed:.0f} µs",
            f"{(first + second) / 2:.0f} µs",
            f"nobody follows ({low:.2f} to {high:.2f} from one stretch to the next)",
            ratio,
            f"≤ {LIMIT:g} ×",
            ratio <= LIMIT,
        )
    )


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
