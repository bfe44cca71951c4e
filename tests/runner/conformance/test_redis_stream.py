"""7: the debug stream."""

from __future__ import annotations

import http.client
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from . import components as wat
from .calls import Caller, Json, do
from .conftest import Runners
from .guests import holding, script_bundle
from .kinds import Kind, differs, settle
from .peers import Peers
from .profiles import MOST_EVENT_BYTES, MOST_EVENTS, PREFIX
from .test_execute_rows import fails

FIELDS = (
    "ts",
    "level",
    "stream",
    "tenant",
    "extension",
    "install",
    "request",
    "version",
    "message",
    "truncated",
)


def log(message: object, level: str = "info") -> Json:
    return do(f"logging.log-{level}", message)


def test_7_3_the_fields_in_their_order(caller: Caller) -> None:
    before = time.time() * 1000
    caller.gets(log("words", "warn"))
    (event,) = caller.peers.redis.events(caller.key())
    assert tuple(event) == FIELDS
    assert before - 1000 <= int(event["ts"]) <= time.time() * 1000 + 1000
    del event["ts"]
    assert event == {
        "level": "warn",
        "stream": "log",
        "tenant": caller.tenant,
        "extension": caller.extension,
        "install": caller.install,
        "request": caller.request_id,
        "version": "v-1",
        "message": "words",
        "truncated": "0",
    }


def test_7_3_what_is_not_known_is_left_out(caller: Caller) -> None:
    names = ("request_id", "install_id", "version_id")
    caller.send({"calls": [log("words")]}, {f"context.{name}": None for name in names})
    (event,) = caller.peers.redis.events(caller.key())
    assert tuple(event) == tuple(
        name for name in FIELDS if name not in {"install", "request", "version"}
    )


def test_7_2_the_key_is_in_lower_case(caller: Caller) -> None:
    assert caller.key() == caller.key().lower() != f"ext-debug:{caller.tenant}:{caller.extension}"
    caller.gets(log("words"))
    assert len(caller.peers.redis.events(caller.key())) == 1


def test_7_2_only_ascii_is_lowered(caller: Caller) -> None:
    odd = f"ÜÉ-{caller.tenant}"
    caller.send({"calls": [log("words")]}, {"context.tenant_id": odd})
    key = f"ext-debug:ÜÉ-{caller.tenant.lower()}:{caller.extension.lower()}"
    (event,) = caller.peers.redis.events(key)
    assert event["tenant"] == odd


def test_7_2_the_context_names_the_key(caller: Caller) -> None:
    caller.send(
        {"calls": [log("words")]},
        {"context.tenant_id": f"of-context-{caller.tenant}", "context.extension_id": "Ext"},
    )
    key = f"ext-debug:of-context-{caller.tenant.lower()}:ext"
    assert len(caller.peers.redis.events(key)) == 1


def test_7_3_streams_never_expire(caller: Caller) -> None:
    caller.gets(log("words"))
    caller.peers.redis.events(caller.key())
    assert caller.peers.redis.expiry(caller.key()) == -1


def test_7_4_events_keep_the_order_of_a_guest(caller: Caller) -> None:
    caller.does(*(log(str(number)) for number in range(60)))
    events = caller.peers.redis.events(caller.key(), at_least=60)
    assert [event["message"] for event in events] == [str(number) for number in range(60)]


@pytest.mark.parametrize(
    ("changes", "headers", "status"),
    [
        pytest.param({}, {"x-alga-tenant": ""}, 400, id="7.4-row-1"),
        pytest.param({"context.content_hash": "0" * 64}, {}, 502, id="7.4-row-4"),
        pytest.param({"providers": ["cap:nothing"]}, {}, 400, id="7.4-row-5"),
    ],
)
def test_7_4_failures_without_an_event(
    caller: Caller, *, changes: Json, headers: dict[str, str], status: int
) -> None:
    assert caller.send(None, changes, headers).status == status
    caller.gets(log("last"))
    events = caller.peers.redis.events(caller.key())
    assert [event["message"] for event in events] == ["last"]


def test_7_4_a_handler_that_failed(caller: Caller) -> None:
    caller.send({"calls": [log("first")], "then": "trap"})
    first, last = caller.peers.redis.events(caller.key(), at_least=2)
    assert first["message"] == "first"
    assert (last["stream"], last["level"]) == ("log", "error")
    assert last["message"].startswith("execute failed: error while executing at wasm backtrace:")
    assert last["message"].endswith(": wasm trap: wasm `unreachable` instruction executed")
    for name in ("tenant", "extension", "install", "request", "version"):
        assert last[name] == first[name]


@pytest.mark.parametrize(
    ("component", "message"),
    [
        pytest.param(wat.NO_HANDLER, "failed to find function export", id="7.4-no-handler"),
        pytest.param(wat.IMPORTS_ANOTHER_INTERFACE, "component imports instance", id="7.4-link"),
    ],
)
def test_7_4_a_handler_that_could_not_start(
    caller: Caller, *, component: str, message: str
) -> None:
    caller.of(holding(component)).send()
    (event,) = caller.peers.redis.events(caller.key())
    assert event["message"].startswith(f"execute failed: {message}")


@pytest.mark.parametrize(
    ("message", "truncated"),
    [
        pytest.param("x" * 8192, "0", id="7.5-greatest"),
        pytest.param("x" * 8193, "1", id="7.5-one-more"),
        pytest.param("x" * 1_000_000, "1", id="7.5-far-more"),
        pytest.param("é" * 4096, "0", id="7.5-greatest-in-bytes"),
    ],
)
def test_7_5_truncation(caller: Caller, *, message: str, truncated: str) -> None:
    caller.gets(log({"repeat": message[0], "times": len(message)}))
    (event,) = caller.peers.redis.events(caller.key())
    assert (event["message"], event["truncated"]) == (message[:8192], truncated)


def test_7_5_a_cut_inside_a_character(caller: Caller, kind: Kind) -> None:
    """The original's process goes on, but the connection of the call ends without an answer."""
    script = {"calls": [log("before"), log("é" * 4096 + "x"), log("x" + "é" * 4096)]}
    expected = differs("cuts-keep-characters-whole", ours=True, original=False)
    try:
        answered = caller.send(script).status == 200
    except (http.client.HTTPException, ConnectionError):
        answered = False
    assert answered == settle(kind, expected)
    if answered:
        last = caller.peers.redis.events(caller.key(), at_least=3)[-1]
        assert (last["message"], last["truncated"]) == ("x" + "é" * 4095, "1")
    assert caller.send().status == 200


@pytest.mark.profile("configured")
def test_7_1_prefix_password_and_size(caller: Caller) -> None:
    caller.does(log("short"), log("x" * (MOST_EVENT_BYTES + 1)))
    events = caller.peers.locked_redis.events(caller.key(PREFIX), at_least=2)
    assert [(event["message"], event["truncated"]) for event in events] == [
        ("short", "0"),
        ("x" * MOST_EVENT_BYTES, "1"),
    ]


@pytest.mark.profile("configured")
def test_7_3_streams_are_trimmed(caller: Caller) -> None:
    redis, key = caller.peers.locked_redis, caller.key(PREFIX)
    for _ in range(3):
        caller.does(do("times", 200, log("words")), log("last"))
    until = time.monotonic() + 10
    while (held := redis.length(key)) > 300 or redis.events(key)[-1]["message"] != "last":
        assert time.monotonic() < until, held
        time.sleep(0.02)
    assert held >= MOST_EVENTS


# Without Redis


@pytest.mark.profile("closed")
def test_7_1_no_stream_is_configured(caller: Caller) -> None:
    assert caller.does(log("words")) == [{"ok": None}]
    fails(caller.send({"then": "trap"}), 500, "execute_failed: ")


@pytest.mark.profile("lonely")
def test_7_6_redis_was_never_there(caller: Caller) -> None:
    began = time.monotonic()
    assert caller.does(*[log("words")] * 50) == [{"ok": None}] * 50
    assert time.monotonic() - began < 3


@pytest.mark.profile("outage")
def test_7_6_redis_goes_and_comes_back(caller: Caller, kind: Kind) -> None:
    redis = caller.peers.frail_redis
    caller.gets(log("before"))
    assert redis.events(caller.key())[0]["message"] == "before"
    redis.stop()
    try:
        began = time.monotonic()
        outcome = caller.send({"calls": [log("meanwhile")] * 20}, {"limits.timeout_ms": 8000})
        took = time.monotonic() - began
    finally:
        redis.start()
    unharmed = outcome.status == 200 and took < 2
    expected = differs("redis-never-delays-a-guest", ours=True, original=False)
    assert unharmed == settle(kind, expected)
    until = time.monotonic() + 20
    caller.gets(log("after"))
    while "after" not in {event["message"] for event in redis.events(caller.key(), at_least=0)}:
        assert time.monotonic() < until, "nothing came after the outage"
        time.sleep(0.1)
        caller.gets(log("after"))


@pytest.mark.profile("outage")
def test_7_6_health_and_pages_do_not_need_redis(caller: Caller) -> None:
    redis = caller.peers.frail_redis
    redis.stop()
    try:
        with ThreadPoolExecutor(2) as pool:
            calls = pool.submit(caller.send, {"calls": [log("words")]})
            began = time.monotonic()
            assert caller.runner.ask("/healthz").status == 200
            assert time.monotonic() - began < 2
            assert calls.result().fields["status"] in {200, 500}
    finally:
        redis.start()


def test_7_6_redis_that_comes_after_the_start(runners: Runners, peers: Peers, kind: Kind) -> None:
    from .asking import Runner

    redis = peers.frail_redis
    redis.stop()
    try:
        service = runners.start(
            RUNNER_DEBUG_REDIS_URL=redis.url, EXT_CACHE_ROOT=str(peers.folder / "cache-late")
        )
        runner = Runner("127.0.0.1", service.port, peers.folder)
        caller = Caller.fresh(runner, peers, script_bundle())
        assert caller.gets(log("early")) == {"ok": None}
    finally:
        redis.start()
    expected = differs("redis-that-comes-is-used", ours=True, original=False)
    until = time.monotonic() + 15
    while not redis.length(caller.key()) and time.monotonic() < until:
        caller.gets(log("late"))
        time.sleep(0.1)
    assert bool(redis.length(caller.key())) == settle(kind, expected)


def test_2_an_empty_prefix_is_respected(runners: Runners, peers: Peers) -> None:
    from .asking import Runner

    service = runners.start(
        RUNNER_DEBUG_REDIS_STREAM_PREFIX="",
        RUNNER_DEBUG_MAX_EVENT_BYTES="0",
        RUNNER_DEBUG_REDIS_MAXLEN="none",
        EXT_CACHE_ROOT=str(peers.folder / "cache-prefix"),
    )
    runner = Runner("127.0.0.1", service.port, peers.folder)
    caller = Caller.fresh(runner, peers, script_bundle())
    caller.gets(log("x" * 8200))
    (event,) = peers.redis.events(caller.key(""))
    assert len(event["message"]) == 8192
