"""1.2: `x-idempotency-key`. A counter at a peer tells whether the handler ran."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from .asking import Outcome, Runner
from .calls import Caller, Json, b64, do, merged
from .conftest import Runners
from .guests import script_bundle
from .kinds import Kind, differs, settle
from .peers import Peers
from .stub import Reply, Request
from .test_execute_rows import fails


class Counted:
    """A handler whose runs are counted, and whose answers tell one run from another."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.place = f"/runs/{uuid.uuid4().hex}"
        self.key = f"key-{uuid.uuid4().hex}"
        self.reply: Mapping[str, float] = {}
        self._lock = threading.Lock()
        self._runs = 0
        caller.peers.web.on(self.place, self._answer)

    @property
    def runs(self) -> int:
        return self._runs

    @property
    def script(self) -> Json:
        url = f"{self.caller.peers.web.url}{self.place}"
        return {"calls": [do("http.fetch", {"method": "GET", "url": url})]}

    def call(
        self,
        *,
        key: str | None = None,
        script: Json | None = None,
        changes: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Outcome:
        named = {"x-idempotency-key": self.key if key is None else key}
        return self.caller.send(script or self.script, changes, named | dict(headers or {}))

    def _answer(self, request: Request) -> Reply:
        with self._lock:
            self._runs += 1
            return Reply(200, str(self._runs).encode(), wait=self.reply.get("wait", 0))


@pytest.fixture
def counted(caller: Caller) -> Counted:
    return Counted(caller)


def test_a_replay(counted: Counted) -> None:
    first = counted.call()
    assert (first.status, counted.runs) == (200, 1)
    for _ in range(6):
        assert counted.call().fields == first.fields
    assert counted.runs == 1


def test_a_replay_of_an_error_of_the_handler(counted: Counted) -> None:
    script = counted.script | {
        "respond": {"status": 500, "headers": [["x-a", "b"]], "body_b64": "/w=="}
    }
    first = counted.call(script=script)
    assert first.fields == {
        "status": 500,
        "headers": {"x-a": "b"},
        "body_b64": "/w==",
        "error": None,
    }
    assert counted.call().fields == first.fields
    assert counted.runs == 1


def test_another_key_runs_again(counted: Counted) -> None:
    counted.call()
    counted.call(key=f"{counted.key}-2")
    assert counted.runs == 2


def test_an_empty_key_is_none(counted: Counted) -> None:
    counted.call(key="")
    counted.call(key="")
    assert counted.runs == 2


def test_without_a_key_it_runs_again(counted: Counted) -> None:
    for _ in range(2):
        counted.caller.send(counted.script)
    assert counted.runs == 2


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"context.content_hash": "sha256:" + "0" * 64}, id="another-bundle"),
        pytest.param({"providers": ["cap:nothing"]}, id="unknown-capabilities"),
        pytest.param({"http.method": "DELETE", "http.path": "/other"}, id="another-request"),
        pytest.param({"secret_envelope": {"ciphertext_b64": "!"}}, id="broken-secrets"),
        pytest.param(
            {"context.tenant_id": "other", "context.install_id": None}, id="other-context"
        ),
    ],
)
def test_a_replay_needs_nothing_but_the_routing_headers(counted: Counted, changes: Json) -> None:
    first = counted.call()
    assert counted.call(changes=changes).fields == first.fields


@pytest.mark.parametrize("name", ["x-alga-tenant", "x-alga-extension"])
def test_a_replay_needs_the_routing_headers(counted: Counted, name: str) -> None:
    counted.call()
    fails(counted.call(headers={name: ""}), 400, "missing_routing_headers")


@pytest.mark.parametrize("name", ["x-alga-tenant", "x-alga-extension"])
def test_whose_key_it_is(counted: Counted, kind: Kind, name: str) -> None:
    first = counted.call()
    other = counted.call(headers={name: f"other-{uuid.uuid4().hex}"})
    expected = differs("idempotency-keys-belong-to-somebody", ours=2, original=1)
    assert counted.runs == settle(kind, expected)
    assert (other.fields == first.fields) == (counted.runs == 1)


@pytest.mark.parametrize(
    "failing",
    [
        pytest.param({"script": {"then": "trap"}}, id="row7-trap"),
        pytest.param({"changes": {"http.body_b64": "!"}}, id="row7-body"),
        pytest.param({"changes": {"providers": ["cap:nothing"]}}, id="row5"),
        pytest.param({"changes": {"context.content_hash": "0" * 64}}, id="row4"),
        pytest.param({"changes": {"secret_envelope": {"ciphertext_b64": "!"}}}, id="row6"),
        pytest.param(
            {"script": {"then": "loop"}, "changes": {"limits.timeout_ms": 50}}, id="row7-timeout"
        ),
    ],
)
def test_failures_are_not_kept(counted: Counted, failing: Json) -> None:
    assert counted.call(**failing).status >= 400
    assert counted.runs == 0
    assert counted.call().status == 200
    assert counted.runs == 1


def test_twins_at_once(counted: Counted, kind: Kind) -> None:
    counted.caller.send()
    counted.reply = {"wait": 0.3}
    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(lambda _: counted.call(), range(6)))
    assert {outcome.status for outcome in outcomes} == {200}
    expected = differs("idempotent-twins-run-once", ours=1, original=6)
    assert counted.runs == settle(kind, expected)
    assert len({str(outcome.fields) for outcome in outcomes}) == counted.runs


def test_a_twin_of_a_failure_runs(counted: Counted, kind: Kind) -> None:
    """A call that waits for its twin does not share its failure."""
    counted.caller.send()
    counted.reply = {"wait": 0.3}
    failing = counted.script | {"then": "trap"}
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(counted.call, script=failing)
        second = pool.submit(counted.call)
        outcomes = sorted((first.result().status, second.result().status))
    # In either order: the good one is run, or replayed to the other.
    assert outcomes in ([200, 500], [200, 200])


def test_what_a_caller_who_left_leaves(counted: Counted) -> None:
    """Nothing is kept of a call whose caller left before its end."""
    counted.caller.send()
    counted.reply = {"wait": 0.8}
    script = counted.script
    script["calls"] = script["calls"] * 2
    body = json.dumps(
        merged(counted.caller.fields, {"http.body_b64": b64(json.dumps(script))})
    ).encode()
    head = "POST /v1/execute HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    names = counted.caller.routing | {"x-idempotency-key": counted.key}
    head += "".join(f"{name}: {value}\r\n" for name, value in names.items())
    head += f"content-length: {len(body)}\r\n\r\n"
    link = counted.caller.runner.raw(head.encode() + body)
    until = time.monotonic() + 10
    while counted.runs == 0:
        assert time.monotonic() < until
        time.sleep(0.01)
    link.close()
    counted.caller.peers.store.closing.wait(1.2)
    assert counted.runs == 1, "the handler went on after its caller had left"
    counted.reply = {}
    assert counted.call().status == 200
    assert counted.runs == 2


def test_keys_expire(runners: Runners, peers: Peers, kind: Kind) -> None:
    service = runners.start(
        RUNNER_IDEMPOTENCY_SECONDS="1", EXT_CACHE_ROOT=str(peers.folder / "cache-expiry")
    )
    runner = Runner("127.0.0.1", service.port, peers.folder)
    counted = Counted(Caller.fresh(runner, peers, script_bundle()))
    counted.call()
    counted.call()
    assert counted.runs == 1
    until = time.monotonic() + 5
    while counted.runs == 1 and time.monotonic() < until:
        time.sleep(0.1)
        counted.call()
    expected = differs("idempotency-keys-expire", ours=2, original=1)
    assert counted.runs == settle(kind, expected)
