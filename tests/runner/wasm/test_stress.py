"""Many calls of every fate at once: each gets its own answer, and nothing stays behind.

`ALGAENV_STRESS_CALLS` sets how many (2,500 without it).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from algaenv.runner.wasm.failure import FailureKind, GuestFailure
from algaenv.runner.wasm.guest import GuestLoader
from algaenv.runner.wasm.guest_executor import GuestExecutor

from .stage import MEGABYTE, ComponentCompiler, invocation, request

CALLS = int(os.environ.get("ALGAENV_STRESS_CALLS", "2500"))
CLIENTS = 24


class Bug(Exception):
    pass


def resident() -> int:
    """Bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


FATES: dict[str, tuple[Any, FailureKind | None]] = {
    "good": ({}, None),
    "host": ({"calls": [{"fn": "secrets.get", "args": ["bug"]}]}, FailureKind.HOST),
    "trap": ({"then": "trap"}, FailureKind.TRAP),
    "exit": ({"then": {"exit": 1}}, FailureKind.EXIT),
    "loop": ({"then": "loop"}, FailureKind.TIMEOUT),
    "stall": ({"calls": [{"fn": "secrets.get", "args": ["stall"]}]}, FailureKind.TIMEOUT),
}


@pytest.mark.slow
def test_many_calls_of_every_fate(  # noqa: PLR0915 - one story
    make: Callable[..., GuestLoader], compiler: ComponentCompiler, script_bytes: bytes
) -> None:
    loop = asyncio.new_event_loop()

    def get(call: Any, key: str) -> str:
        if key == "bug":
            raise Bug(call.request_id)
        if key == "stall":
            call.wait(asyncio.sleep(60))
        if key == "wait":
            call.wait(asyncio.sleep(0))
        return f"{call.request_id}:{key}"

    guests = make(threads=16, secrets__get=get)
    guest = compiler.load(guests, script_bytes)
    details: Counter[str] = Counter()
    logging.getLogger("algaenv.runner.wasm.active_call").setLevel(logging.CRITICAL)

    async def one(executor: GuestExecutor, number: int, choose: random.Random) -> None:
        fate = choose.choices([*FATES], [86, 4, 6, 3, 0.5, 0.5])[0]
        token = f"{fate}-{number}"
        script, kind = FATES[fate]
        if fate == "good":
            keys = [f"k{number}", choose.choice(["wait", "x"])]
            script = {
                "calls": [{"fn": "secrets.get", "args": [key]} for key in keys],
                "stderr": [token] if number % 5 == 0 else [],
            }
        call = invocation(
            seconds=0.05 if kind is FailureKind.TIMEOUT else 60, wait=executor.waiter(), token=token
        )
        given = request(json.dumps(script).encode(), request_id=token)
        details[fate] += 1
        running = executor.run(lambda: guest.call(call, given, memory_bytes=16 * MEGABYTE), call)
        if kind is not None:
            with pytest.raises(GuestFailure) as caught:
                await running
            assert caught.value.kind is kind, (token, caught.value.causes)
            return
        answer = await running
        text = json.loads(answer["body"])
        assert text["context"]["request_id"] == token
        assert text["results"] == [{"ok": f"{token}:{key}"} for key in keys]
        assert [*call.last_stderr] == script["stderr"]

    async def main() -> tuple[int, int]:
        executor = GuestExecutor(threads=16, queue=100, ticker=guests.ticker)
        numbers = iter(range(CALLS))
        warm = 0

        async def client(seed: int) -> None:
            nonlocal warm
            choose = random.Random(seed)
            for number in numbers:
                await one(executor, number, choose)
                if number == CALLS // 4:
                    warm = resident()

        await asyncio.gather(*map(client, range(CLIENTS)))
        assert executor.stuck == executor.running == executor.waiting == 0
        await executor.close()
        return warm, resident()

    try:
        warm, after = loop.run_until_complete(main())
    finally:
        loop.close()
        logging.getLogger("algaenv.runner.wasm.active_call").setLevel(logging.NOTSET)
    assert sum(details.values()) == CALLS
    assert set(details) == set(FATES)
    assert after - warm < 24 * MEGABYTE, (warm, after)


def test_nothing_of_a_call_is_left_for_the_next(
    make: Callable[..., GuestLoader], compiler: ComponentCompiler, script_bytes: bytes
) -> None:
    """The same thread, after every fate."""

    def get(call: Any, key: str) -> str:
        if key == "bug":
            raise Bug(key)
        return key

    guests = make(secrets__get=get)
    guest = compiler.load(guests, script_bytes)
    for fate in ("host", "trap", "exit", "loop"):
        script, kind = FATES[fate]
        with pytest.raises(GuestFailure) as caught:
            guest.call(
                invocation(seconds=0.05 if fate == "loop" else 5),
                request(json.dumps(script).encode()),
                memory_bytes=16 * MEGABYTE,
            )
        assert caught.value.kind is kind
        answer = guest.call(invocation(), request(b"{}"), memory_bytes=16 * MEGABYTE)
        assert answer["status"] == 200
