"""What comes out of a real Redis."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from algaenv.runner.execute.invocation import Level, Stream
from algaenv.runner.observability.guest_log import FLUSH_SECONDS, EventOrigin

from .conftest import Open, Tallied, invocation
from .fake_redis import Server, behind_tls, certificate, running, until

KEY = "ext-debug:tenant-a:demo-ext"


def test_a_message(redis: Server, open_log: Open, tally: Tallied) -> None:
    log = open_log(REDIS_URL=redis.url)
    before = time.time_ns() // 1_000_000
    log.write(invocation(log), "log", "warn", "grüße")
    (entry,) = redis.entries(KEY)
    assert before <= int(entry.pop("ts")) <= time.time_ns() // 1_000_000
    assert list(entry.items()) == [
        ("level", "warn"),
        ("stream", "log"),
        ("tenant", "Tenant-A"),
        ("extension", "Demo-Ext"),
        ("install", "i-1"),
        ("request", "r-1"),
        ("version", "v-1"),
        ("message", "grüße"),
        ("truncated", "0"),
    ]
    with closing(redis.client()) as client:
        assert client.ttl(KEY) == -1
    assert tally.lines == {"log": 1}


def test_streams_of_a_guest(redis: Server, open_log: Open) -> None:
    log = open_log(REDIS_URL=redis.url)
    text: list[tuple[Stream, Level]] = [("stdout", "info"), ("stderr", "error"), ("log", "info")]
    for stream, level in text:
        log.write(invocation(log, install=None, request_id=None), stream, level, stream)
    entries = redis.entries(KEY, least=3)
    assert [(one["stream"], one["level"]) for one in entries] == text
    assert "install" not in entries[0]
    assert "request" not in entries[0]


def test_events_of_the_service(redis: Server, open_log: Open, tally: Tallied) -> None:
    log = open_log(REDIS_URL=redis.url)
    origin = EventOrigin("T", "E", None, "r", None)
    log.secrets_failed(origin, "not for us")
    log.execute_failed(origin, ["error while executing", "wasm trap: interrupt"])
    log.publish(origin, "other")
    entries = redis.entries("ext-debug:t:e", least=3)
    assert [one["message"] for one in entries] == [
        "secret envelope decryption failed: not for us",
        "execute failed: error while executing: wasm trap: interrupt",
        "other",
    ]
    assert {(one["stream"], one["level"], one["request"]) for one in entries} == {
        ("log", "error", "r")
    }
    assert not tally.lines


def test_prefix_database_and_length(redis: Server, open_log: Open) -> None:
    log = open_log(
        REDIS_URL=f"{redis.url}/3",
        REDIS_STREAM_PREFIX="",
        REDIS_MAXLEN="100",
        MAX_EVENT_BYTES="4",
    )
    for _ in range(1000):
        log.write(invocation(log), "log", "info", "abc€")
    asyncio.run(log.aclose())
    entries = redis.entries("tenant-a:demo-ext", database=3)
    # About: Redis removes whole nodes of a hundred entries.
    assert 100 <= len(entries) < 300
    assert {(one["message"], one["truncated"]) for one in entries} == {("abc", "1")}


@pytest.mark.parametrize("place", ["variable", "url"])
def test_a_password(tmp_path: Path, open_log: Open, place: str) -> None:
    with running(tmp_path, password="p@ss/w:rd") as redis:
        if place == "url":
            url = f"redis://:p%40ss%2Fw%3Ard@127.0.0.1:{redis.port}"
            log = open_log(REDIS_URL=url, REDIS_PASSWORD="of another")
        else:
            log = open_log(REDIS_URL=redis.url, REDIS_PASSWORD="p@ss/w:rd")
        log.write(invocation(log), "log", "info", "said")
        assert redis.entries(KEY)


def test_a_wrong_password_is_said_once(
    tmp_path: Path, open_log: Open, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path, password="right") as redis:
        log = open_log(REDIS_URL=redis.url, REDIS_PASSWORD="very-wrong")
        log.write(invocation(log), "log", "info", "said")
        until("a warning", lambda: caplog.records)
        with closing(redis.client()) as client:
            until("more attempts", lambda: int(client.info("stats")["acl_access_denied_auth"]) > 3)
    assert [record.message for record in caplog.records] == ["debug stream lost"]
    assert "very-wrong" not in str([vars(record) for record in caplog.records])


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1", "nonsense", "redis://:hid/den@h:1", "redis://h?hidden=1", "redis://h:x"],
)
def test_a_url_of_no_redis(
    url: str, open_log: Open, caplog: pytest.LogCaptureFixture, tally: Tallied
) -> None:
    log = open_log(REDIS_URL=url)
    log.write(invocation(log), "log", "info", "said")
    until("the warning", lambda: caplog.records)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.message == "RUNNER_DEBUG_REDIS_URL names no Redis; there is no debug stream"
    assert "hid" not in str(vars(record))
    until("the count", lambda: tally.dropped == 1)


@pytest.mark.slow
def test_many_messages_of_many_threads(redis: Server, open_log: Open, tally: Tallied) -> None:
    log = open_log(REDIS_URL=redis.url, REDIS_MAXLEN="1000000")

    def say(thread: int) -> None:
        call = invocation(log, request_id=str(thread))
        for number in range(1250):
            call.log("log", "info", str(number))

    threads = [threading.Thread(target=say, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = redis.entries(KEY, least=10_000)
    assert len(entries) == 10_000
    for number in range(8):
        details = [one["message"] for one in entries if one["request"] == str(number)]
        assert details == [str(expected) for expected in range(1250)]
    assert tally.dropped == 0
    assert tally.lines == {"log": 10_000}


def test_an_event_that_the_server_refuses(
    redis: Server, open_log: Open, tally: Tallied, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(redis.client()) as client:
        client.set("ext-debug:not:stream", "x")
    log = open_log(REDIS_URL=redis.url)
    log.write(invocation(log, tenant="not", extension="stream"), "log", "info", "lost")
    log.write(invocation(log), "log", "info", "kept")
    assert [one["message"] for one in redis.entries(KEY)] == ["kept"]
    until("the count", lambda: tally.dropped == 1)
    assert [record.message for record in caplog.records] == ["debug stream refused events"]


def test_tls_is_verified(
    redis: Server,
    tmp_path: Path,
    open_log: Open,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made, key = certificate(tmp_path)
    with behind_tls(redis.port, made, key) as port:
        stranger = open_log(REDIS_URL=f"rediss://localhost:{port}", REDIS_STREAM_PREFIX="no:")
        stranger.write(invocation(stranger), "log", "info", "said")
        until("a warning", lambda: caplog.records)
        assert "CERTIFICATE_VERIFY_FAILED" in str(vars(caplog.records[0]))
        asyncio.run(stranger.aclose())

        careless = open_log(REDIS_URL=f"rediss://localhost:{port}?ssl_cert_reqs=none")
        careless.write(invocation(careless), "log", "info", "said")
        assert redis.entries(KEY)
        asyncio.run(careless.aclose())

        monkeypatch.setenv("SSL_CERT_FILE", str(made))
        trusting = open_log(REDIS_URL=f"rediss://localhost:{port}", REDIS_STREAM_PREFIX="yes:")
        trusting.write(invocation(trusting), "log", "info", "said")
        assert redis.entries("yes:tenant-a:demo-ext")
        asyncio.run(trusting.aclose())
    with closing(redis.client()) as client:
        assert not client.exists("no:tenant-a:demo-ext")


def test_what_waits_is_written_at_the_end(redis: Server, open_log: Open, tally: Tallied) -> None:
    log = open_log(REDIS_URL=redis.url)
    log.write(invocation(log), "log", "info", "warm")
    redis.entries(KEY)
    for number in range(1000):
        log.write(invocation(log), "log", "info", str(number))
    began = time.monotonic()
    asyncio.run(log.aclose())
    # And no longer than it takes.
    assert time.monotonic() - began < FLUSH_SECONDS * 0.9
    assert len(redis.entries(KEY)) == 1001
    assert tally.dropped == 0
