"""A Redis that is not there, comes, goes and comes back."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from algaenv.runner.observability import guest_log
from algaenv.runner.observability.guest_log import ANSWER_SECONDS

from .conftest import Open, Tallied, invocation
from .fake_redis import Server, free_port, until

KEY = "ext-debug:tenant-a:demo-ext"
LOST, BACK = "debug stream lost", "debug stream back"


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name != "ext"]


def test_one_that_comes_late(
    tmp_path: Path, open_log: Open, caplog: pytest.LogCaptureFixture, tally: Tallied
) -> None:
    caplog.set_level(logging.INFO)
    redis = Server(tmp_path)
    log = open_log(REDIS_URL=redis.url)
    try:
        log.write(invocation(log), "log", "info", "before")
        until("a warning", lambda: LOST in messages(caplog))
        redis.start()
        began = time.monotonic()
        assert [one["message"] for one in redis.entries(KEY)] == ["before"]
        assert time.monotonic() - began < 3
        until("the news", lambda: messages(caplog) == [LOST, BACK])
    finally:
        redis.stop()
    assert tally.dropped == 0


def test_one_that_goes_and_comes_back(
    redis: Server, open_log: Open, caplog: pytest.LogCaptureFixture, tally: Tallied
) -> None:
    caplog.set_level(logging.INFO)
    log = open_log(REDIS_URL=redis.url)
    log.write(invocation(log), "log", "info", "first")
    redis.entries(KEY)
    for outage in range(2):
        redis.stop()
        log.write(invocation(log), "log", "info", "during")
        until("a warning", lambda: messages(caplog).count(LOST) == outage + 1)  # noqa: B023
        redis.start()
        began = time.monotonic()
        log.write(invocation(log), "log", "info", "after")
        assert [one["message"] for one in redis.entries(KEY, least=2)] == ["during", "after"]
        assert time.monotonic() - began < 3
        until("the news", lambda: messages(caplog).count(BACK) == outage + 1)  # noqa: B023
    assert messages(caplog) == [LOST, BACK] * 2
    assert tally.dropped == 0


def test_an_unnoticed_restart_loses_nothing(
    redis: Server, open_log: Open, caplog: pytest.LogCaptureFixture
) -> None:
    log = open_log(REDIS_URL=redis.url)
    log.write(invocation(log), "log", "info", "first")
    redis.entries(KEY)
    redis.stop()
    redis.start()
    log.write(invocation(log), "log", "info", "second")
    assert [one["message"] for one in redis.entries(KEY)] == ["second"]
    assert messages(caplog) == []


def test_the_oldest_are_dropped_and_counted(
    redis: Server,
    open_log: Open,
    caplog: pytest.LogCaptureFixture,
    tally: Tallied,
) -> None:
    caplog.set_level(logging.INFO, "algaenv")
    log = open_log(REDIS_URL=redis.url, MAX_EVENT_BYTES=str(1024 * 1024))
    log.write(invocation(log), "log", "info", "zeroth")
    redis.entries(KEY)
    redis.stop()
    log.write(invocation(log), "log", "info", "first")
    until("a warning", lambda: LOST in messages(caplog))
    text = "x" * 1024 * 1024
    for number in range(40):
        log.write(invocation(log), "log", "info", f"{number:02}{text}")
    fit = guest_log.MAX_QUEUE_BYTES // (1024 * 1024) - 1
    assert tally.dropped == 40 - fit
    redis.start()
    entries = redis.entries(KEY, least=fit + 1)
    # The first was on its way already.
    assert [one["message"][:2] for one in entries] == [
        "fi",
        *(f"{number:02}" for number in range(40 - fit, 40)),
    ]
    until("the news", lambda: BACK in messages(caplog))
    (back,) = [record for record in caplog.records if record.message == BACK]
    assert vars(back)["fields"] == {"dropped": 40 - fit}


def test_one_that_hangs(
    redis: Server, open_log: Open, caplog: pytest.LogCaptureFixture, tally: Tallied
) -> None:
    caplog.set_level(logging.INFO)
    log = open_log(REDIS_URL=redis.url)
    log.write(invocation(log), "log", "info", "first")
    redis.entries(KEY)
    with redis.frozen():
        log.write(invocation(log), "log", "info", "during")
        until("a warning", lambda: LOST in messages(caplog))
    # It may be there more than once: nobody knows what it did with what it did not answer.
    assert redis.entries(KEY, least=2)[1]["message"] == "during"
    until("the news", lambda: BACK in messages(caplog))


@pytest.mark.slow
def test_nobody_waits_for_a_black_hole(
    open_log: Open, caplog: pytest.LogCaptureFixture, tally: Tallied
) -> None:
    with ExitStack() as stack:
        hole = stack.enter_context(socket.socket())
        hole.bind(("127.0.0.1", free_port()))
        hole.listen(0)
        # With its queue full, the system leaves further attempts without an answer.
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        began = time.monotonic()
        log = open_log(REDIS_URL=f"redis://127.0.0.1:{hole.getsockname()[1]}")
        for _ in range(100):
            log.write(invocation(log), "log", "info", "said")
        assert time.monotonic() - began < 0.5
        until("a warning", lambda: LOST in messages(caplog))
        assert "imeout" in str(vars(caplog.records[-1]))
        began = time.monotonic()
        asyncio.run(log.aclose())
        assert time.monotonic() - began < 2
    assert tally.dropped == 100


def test_saying_is_quick_while_it_hangs(redis: Server, open_log: Open) -> None:
    log = open_log(REDIS_URL=redis.url)
    call = invocation(log)
    call.log("log", "info", "first")
    redis.entries(KEY)
    with redis.frozen():
        began = time.monotonic()
        for _ in range(5000):
            call.log("log", "info", "said")
        # An answer would be waited for twice as long.
        assert time.monotonic() - began < ANSWER_SECONDS / 2


def test_it_never_fails(open_log: Open) -> None:
    log = open_log(REDIS_URL="redis://127.0.0.1:1")
    odd: Any = object()
    for message in ("\ud800", "\x00", "x" * 1_000_000, odd):
        log.write(invocation(log), "log", "info", message)
        log.write(invocation(log, tenant="\ud800"), "stderr", "error", message)
    log.write(odd, odd, odd, odd)
