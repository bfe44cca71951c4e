"""What the log reader of every runtime must do alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from algaenv.model.log import LogLine
from algaenv.reconcile.logs import readers_of
from algaenv.reconcile.protocols import LogReader

from .conftest import Harness, quiet, until
from .test_runtime_contract import DOCKER_SLOW

READY = "Ready to accept connections"


def reader(harness: Harness, service: str = "redis") -> LogReader:
    return readers_of(harness.case.runtime, harness.environment)(service)


def kept(harness: Harness, last: int | None = None, service: str = "redis") -> list[LogLine]:
    of = reader(harness, service)
    found = list(of.kept(last, None))
    of.close()
    return found


def texts(lines: list[LogLine]) -> list[str]:
    return [line.text for line in lines]


@contextmanager
def following(of: LogReader) -> Iterator[list[LogLine]]:
    """The lines that follow, collected by a thread until the block ends."""
    seen: list[LogLine] = []
    stop = threading.Event()

    def collect() -> None:
        for line in of.follow(stop.is_set):
            seen.append(line)

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        of.close()
        thread.join(30)
        assert not thread.is_alive()


def ready_count(lines: list[LogLine]) -> int:
    return sum(READY in line.text for line in lines)


def restart(harness: Harness, service: str = "redis") -> None:
    address = harness.address(service)
    harness.case.stop(harness.seen(address))
    until(f"{service} is stopped", lambda: harness.seen(address).running is False)
    harness.drivers[harness.case.running].update(
        harness.resource(service), harness.seen(address), quiet
    )
    harness.await_answer(service)


def test_a_log_is_read_and_followed_across_a_restart_and_a_replacement(harness: Harness) -> None:
    assert kept(harness) == []  # Nothing is there yet.
    began = time.time()
    harness.create("redis")
    harness.await_answer("redis")

    _kept_lines_are_whole_in_order_and_have_times(harness, began)
    of = reader(harness)
    before = list(of.kept(1, None))
    assert len(before) == 1
    with following(of) as seen:
        restart(harness)
        until("the restart is followed", lambda: ready_count(seen) == 1)
        assert before[0].text not in texts(seen[:1])

        address = harness.address("redis")
        driver = harness.drivers[harness.case.running]
        driver.delete(address, harness.seen(address), quiet)
        harness.create("redis")
        until("the replacement is followed", lambda: ready_count(seen) == 2)
    assert not [line.gap for line in seen if line.gap]
    stamps = [line.at for line in seen]
    assert all(at is not None and began - 2 < at < time.time() + 2 for at in stamps)
    every = kept(harness)
    # What comes while it is followed is what is found later: nothing twice, nothing lost.
    assert texts(seen)[-len(every) :][-3:] == texts(every)[-3:]


def _kept_lines_are_whole_in_order_and_have_times(harness: Harness, began: float) -> None:
    until("its last line is there", lambda: ready_count(kept(harness)) == 1)
    every = kept(harness)
    assert len(every) > 3
    assert all(line.at is not None and line.at >= began - 2 for line in every[1:])
    assert texts(kept(harness, 2)) == texts(every)[-2:]
    assert kept(harness, 0) == []
    assert texts(kept(harness, 1000)) == texts(every)


@DOCKER_SLOW
def test_a_service_is_waited_for_and_other_environments_are_not_read(
    make_harness: Callable[..., Harness],
) -> None:
    one, other = make_harness(), make_harness()
    of = reader(one)
    assert list(of.kept(None, None)) == []
    with following(of) as seen:
        one.create("redis")
        until("the new service is followed", lambda: ready_count(seen) == 1)
    assert kept(other) == []
