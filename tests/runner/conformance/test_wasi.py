"""5.6, 5.7: what a guest of any tool chain finds around itself, and what becomes of its words."""

from __future__ import annotations

import time
from base64 import b64decode

import pytest

from . import components as wat
from .calls import Caller, do
from .guests import holding
from .kinds import Kind, differs, settle
from .test_execute_rows import fails


def test_5_6_no_environment(caller: Caller) -> None:
    assert caller.gets(do("env.vars")) == {"ok": []}


def test_5_6_arguments(caller: Caller, kind: Kind) -> None:
    given = caller.gets(do("env.args"))["ok"]
    shown = differs("guests-see-nothing-of-the-runner", ours=False, original=True)
    assert bool(given) == settle(kind, shown)


def test_5_6_no_files(caller: Caller) -> None:
    assert caller.gets(do("files.preopens")) == {"ok": {"names": [], "writable": False}}


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "[::1]:{port}"])
def test_5_6_no_sockets(caller: Caller, address: str) -> None:
    port = caller.peers.web.authority.rpartition(":")[2]
    assert "err" in caller.gets(do("net.connect", address.format(port=port)))


@pytest.mark.parametrize("name", ["localhost:80", "example.com:80"])
def test_5_6_no_names(caller: Caller, name: str) -> None:
    assert "err" in caller.gets(do("net.resolve", name))


def test_5_6_a_real_clock(caller: Caller) -> None:
    before = time.time()
    first, _, second = caller.does(do("clock.now"), do("clock.sleep", 60), do("clock.now"))
    assert before - 1 <= first["ok"] <= time.time() + 1
    assert second["ok"] - first["ok"] >= 0.05


def test_5_6_real_randomness(caller: Caller) -> None:
    given = [caller.gets(do("random.bytes", 32))["ok"] for _ in range(4)]
    assert len(set(given)) == 4
    assert {len(b64decode(one)) for one in given} == {32}


def test_5_6_nothing_to_read(caller: Caller, kind: Kind) -> None:
    if kind is Kind.ORIGINAL:
        pytest.skip("not applicable: there it is whatever the process was started with")
    assert caller.gets(do("stdin.read")) == {"ok": ""}


@pytest.mark.parametrize("version", ["0.2.0", "0.2.6"])
def test_5_6_wasi_http(caller: Caller, kind: Kind, version: str) -> None:
    outcome = caller.of(holding(wat.wasi_http(version))).send()
    refused = differs("wasi-http-is-refused", ours=True, original=False)
    if settle(kind, refused):
        fails(outcome, 500, "execute_failed: ")
        assert outcome.fields["failure"]["kind"] == "refused"
        assert "wasi:http" in outcome.fields["failure"]["reason"]
    else:
        assert outcome.status == 200


def test_5_6_sleeping_ends_with_the_time(caller: Caller, kind: Kind) -> None:
    caller.send()
    began = time.monotonic()
    outcome = caller.send({"then": {"sleep": 1500}}, {"limits.timeout_ms": 200})
    took = time.monotonic() - began
    fails(outcome, 500, "execute_failed: ")
    cut = differs("host-calls-end-with-the-deadline", ours=True, original=False)
    assert (took < 1.3) == settle(kind, cut)


# Standard output and error


def test_5_7_every_write_to_stderr_is_an_event(caller: Caller, kind: Kind) -> None:
    marks = [f"{caller.extension} {number}" for number in range(4)]
    caller.send({"stderr": [f"{marks[0]}\n", f"{marks[1]}\r\n", marks[2], f"\n{marks[3]}\n\n"]})
    key = settle(
        kind,
        differs("words-have-their-call", ours=caller.key(), original="ext-debug:unknown"),
    )
    events = [
        event
        for event in caller.peers.redis.events(key, at_least=4)
        if caller.extension in event["message"]
    ]
    assert sorted(event["message"].strip() for event in events) == marks
    assert {(event["stream"], event["level"]) for event in events} == {("stderr", "error")}
    for event in events:
        if kind is Kind.OURS:
            assert event["request"] == caller.request_id
            assert event["install"] == caller.install
        else:
            assert {"tenant", "extension", "request", "install"}.isdisjoint(event)


def test_5_7_writes_without_words(caller: Caller) -> None:
    caller.send({"stderr": ["", "\n", "\r\n"], "calls": [do("logging.log-info", "last")]})
    events = caller.peers.redis.events(caller.key())
    assert [event["message"] for event in events] == ["last"]


def test_5_7_stdout(caller: Caller, kind: Kind) -> None:
    caller.send({"stdout": ["printed\n"], "calls": [do("logging.log-info", "last")]})
    expected = differs("stdout-is-a-guest-log", ours=2, original=1)
    count = settle(kind, expected)
    events = caller.peers.redis.events(caller.key(), at_least=count)
    printed = [event for event in events if event["stream"] == "stdout"]
    assert len(events) == count
    assert [event["message"].strip() for event in printed] == ["printed"] * (count - 1)


def test_5_7_words_before_a_trap_are_not_lost(caller: Caller, kind: Kind) -> None:
    caller.send({"stderr": ["thread panicked\n"], "then": "trap"})
    key = settle(
        kind,
        differs("words-have-their-call", ours=caller.key(), original="ext-debug:unknown"),
    )
    found = [event["message"].strip() for event in caller.peers.redis.events(key, at_least=1)]
    assert "thread panicked" in found


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_5_7_odd_bytes_do_no_harm(caller: Caller, stream: str) -> None:
    outcome = caller.send({stream: [{"b64": "//8AAQ=="}, "\x1b[31mred\n", "x" * 300_000]})
    assert outcome.status == 200
