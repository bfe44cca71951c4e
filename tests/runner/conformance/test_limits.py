"""5.4, 5.5: memory and time."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.guests import built

from . import components as wat
from .calls import Caller, do
from .guests import holding, renamed
from .kinds import Kind, differs, settle
from .stub import Reply
from .test_execute_rows import fails

PAGES_A_MIB = 16
TRAP = "execute_failed: error while executing at wasm backtrace:"


# 5.4


@pytest.mark.parametrize(
    ("pages", "megabytes", "fits"),
    [
        pytest.param(16, 1, True, id="5.4-start-at-the-limit"),
        pytest.param(17, 1, False, id="5.4-start-above-the-limit"),
        pytest.param(1, 0, False, id="5.4-no-memory-at-all"),
        pytest.param(256 * PAGES_A_MIB, None, True, id="5.4-start-at-the-default"),
        pytest.param(256 * PAGES_A_MIB + 1, None, False, id="5.4-start-above-the-default"),
        pytest.param(512 * PAGES_A_MIB, 512, True, id="5.4-more-than-the-default"),
    ],
)
def test_5_4_memory_at_the_start(
    caller: Caller, *, pages: int, megabytes: int | None, fits: bool
) -> None:
    outcome = caller.of(holding(wat.memory(pages))).send(None, {"limits.memory_mb": megabytes})
    if fits:
        assert outcome.status == 200, outcome.fields
    else:
        fails(outcome, 500, "execute_failed: ")
        text = f"memory minimum size of {pages} pages exceeds memory limits"
        assert outcome.error.startswith(f"execute_failed: {text}")


@pytest.mark.parametrize(
    ("pages", "fits"),
    [
        pytest.param(2 * PAGES_A_MIB - 1, True, id="5.4-growth-to-the-limit"),
        pytest.param(2 * PAGES_A_MIB, False, id="5.4-growth-above-the-limit"),
        pytest.param(40_000, False, id="5.4-growth-far-above-the-limit"),
    ],
)
def test_5_4_growth(caller: Caller, *, pages: int, fits: bool) -> None:
    grown = f"(i32.ge_s (memory.grow (i32.const {pages})) (i32.const 0))"
    outcome = caller.of(holding(wat.status_if(grown))).send(None, {"limits.memory_mb": 2})
    assert outcome.status == (200 if fits else 500)
    assert outcome.error == ""


def test_5_4_growth_in_a_guest_of_a_compiler(caller: Caller) -> None:
    small, large = caller.does(
        do("memory.grow", 16), do("memory.grow", 64 * PAGES_A_MIB), limits__memory_mb=64
    )
    assert "ok" in small
    assert large == {"err": "refused"}


def test_5_4_a_guest_out_of_memory(caller: Caller, kind: Kind) -> None:
    outcome = caller.send({"then": "grow"}, {"limits.memory_mb": 16})
    fails(outcome, 500, "execute_failed: ")
    if kind is Kind.OURS:
        assert outcome.fields["failure"]["kind"] == "memory"
    assert caller.send().status == 200


@pytest.mark.parametrize(
    ("component", "text"),
    [
        pytest.param(
            wat.TWO_MEMORIES,
            "module memory does not fit in pooling allocator requirements",
            id="5.4-two-memories",
        ),
        pytest.param(
            wat.table(20_001),
            "module table does not fit in pooling allocator requirements",
            id="5.4-a-large-table",
        ),
    ],
)
def test_5_4_what_fits_no_slot(caller: Caller, kind: Kind, *, component: str, text: str) -> None:
    outcome = caller.of(holding(component)).send()
    if settle(kind, differs("guests-may-be-larger", ours=True, original=False)):
        assert outcome.status == 200
        return
    fails(outcome, 500, "execute_failed: ")
    assert text in str(outcome.fields)


def test_5_4_a_table_of_the_greatest_size(caller: Caller) -> None:
    assert caller.of(holding(wat.table(20_000))).send().status == 200


# 5.5


@pytest.mark.parametrize(
    "component",
    [
        pytest.param(wat.LOOPS, id="5.5-loop"),
        pytest.param(wat.LOOPS_AT_ITS_START, id="5.5-loop-at-its-start"),
    ],
)
@pytest.mark.parametrize("limit", [0, 1, 10, 100, 400])
def test_5_5_loops_end(caller: Caller, kind: Kind, *, component: str, limit: int) -> None:
    made = caller.of(holding(component))
    made.send(None, {"limits.timeout_ms": 1})
    began = time.monotonic()
    outcome = made.send(None, {"limits.timeout_ms": limit})
    took = time.monotonic() - began
    fails(outcome, 500, "execute_failed: ")
    assert outcome.error.startswith(TRAP)
    assert limit / 1000 - 0.02 <= took < limit / 1000 + 0.75
    details = "wasm trap: interrupt" in outcome.error
    assert details == settle(kind, differs("failures-tell-why", ours=True, original=False))
    if kind is Kind.OURS:
        assert outcome.fields["failure"]["kind"] == "timeout"


def test_5_5_a_loop_in_a_guest_of_a_compiler(caller: Caller) -> None:
    caller.send()
    outcome = caller.send({"then": "loop"}, {"limits.timeout_ms": 100})
    fails(outcome, 500, "execute_failed: ")
    assert outcome.error.startswith(TRAP)


def test_5_5_enough_time_is_enough(caller: Caller) -> None:
    caller.send()
    assert caller.send({"then": {"spin": 150}}, {"limits.timeout_ms": 2000}).status == 200


@pytest.mark.parametrize("absent", [None, ...], ids=["5.5-null", "5.5-absent"])
def test_5_5_no_limit_given(caller: Caller, kind: Kind, absent: object) -> None:
    outcome = caller.send(None, {"limits.timeout_ms": absent})
    expected = differs("a-default-deadline", ours=200, original=500)
    assert outcome.status == settle(kind, expected)
    assert caller.send(None, {"limits": ...}).status == settle(kind, expected)


def test_5_5_fuel_means_nothing(caller: Caller) -> None:
    assert caller.send(None, {"limits.fuel": 1}).status == 200


def test_5_5_compiling_does_not_count(caller: Caller) -> None:
    fresh = holding(renamed(built("script").read_bytes(), uuid.uuid4().hex))
    outcome = caller.of(fresh).send(None, {"limits.timeout_ms": 100})
    assert outcome.status == 200, outcome.fields


def test_5_5_a_host_call_and_the_deadline(caller: Caller, kind: Kind) -> None:
    url = f"{caller.peers.web.url}/{caller.tenant}"
    caller.peers.web.on(caller.tenant, Reply(200, wait=1.5))
    caller.send()
    began = time.monotonic()
    outcome = caller.send(
        {"calls": [do("http.fetch", {"method": "GET", "url": url})]},
        {"limits.timeout_ms": 300},
    )
    took = time.monotonic() - began
    fails(outcome, 500, "execute_failed: ")
    cut = took < 1.2
    assert cut == settle(
        kind, differs("host-calls-end-with-the-deadline", ours=True, original=False)
    )


def test_5_5_log_calls_count(caller: Caller) -> None:
    began = time.monotonic()
    outcome = caller.of(holding(wat.LOGS_FOR_EVER)).send(None, {"limits.timeout_ms": 200})
    fails(outcome, 500, "execute_failed: ")
    assert time.monotonic() - began < 10


def test_5_5_others_go_on_meanwhile(caller: Caller, kind: Kind) -> None:
    caller.send()
    looping = caller.of(holding(wat.LOOPS))
    looping.send(None, {"limits.timeout_ms": 1})
    with ThreadPoolExecutor(3) as pool:
        loops = [pool.submit(looping.send, None, {"limits.timeout_ms": 1000}) for _ in range(2)]
        quick = []
        while not all(loop.done() for loop in loops):
            began = time.monotonic()
            assert caller.runner.ask("/healthz").status == 200
            quick.append(time.monotonic() - began)
        for loop in loops:
            fails(loop.result(), 500, "execute_failed: ")
    assert len(quick) > 5


def test_5_5_many_calls_with_a_long_limit(caller: Caller, kind: Kind) -> None:
    """About 63 calls within one limit are the most the original can hold."""
    made = caller.of(holding(wat.PLAIN))

    def call(_: int) -> int:
        return made.send(None, {"limits.timeout_ms": 30_000}).status

    with ThreadPoolExecutor(4) as pool:
        statuses = set(pool.map(call, range(200)))
    expected = differs("no-limit-on-bursts", ours={200}, original={200, 500})
    assert statuses == settle(kind, expected)
