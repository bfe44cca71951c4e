"""What `algaenv dev` reports to the gateway: who may, what is kept and for how long."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from algaenv.gateway.dev_turns import MAX_BODY_BYTES, MAX_EXTENSIONS
from tests.gateway.conftest import Start, _env
from tests.gateway.gateway_process import TOKEN, Answer, Gateway, gateway
from tests.gateway.seed import Extension
from tests.gateway.stub_runner import StubRunner
from tests.gateway.test_app import EVIL, _events
from tests.servers import Database, free_port

HELLO = "6f1c2a3b-5d0e-5b53-9a53-6f1f7a9b2c10"
OTHER = "8b9a1de4-27c3-5d0a-8f5e-02a4c6d1e7f3"
TOKEN_HEADER = {"authorization": f"Bearer {TOKEN}"}
PATH = "/algaenv/dev"
DEADLINE_SECONDS = 20.0


def turn(extension: str = HELLO, state: str | None = "applied", **more: Any) -> dict[str, Any]:
    return {"type": "dev-turn", "extension": extension, "state": state, **more}


def report(service: Gateway, fields: object, **headers: str) -> Answer:
    return service.post(PATH, fields, TOKEN_HEADER | headers)


def turns(service: Gateway) -> dict[str, str]:
    return {it["extension"]: it["state"] for it in service.call(PATH).json["turns"]}


@pytest.fixture
def told(start: Start) -> Gateway:
    """A gateway to which nothing was reported yet."""
    return start()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": "Bearer \xff"},
        {"x-runner-auth": TOKEN},
    ],
)
def test_without_the_token_nothing_is_taken(service: Gateway, headers: dict[str, str]) -> None:
    answer = service.post(PATH, turn(), headers)
    assert (answer.status, answer.json["error"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in answer.body.decode()
    assert turns(service) == {}


def test_a_gateway_without_a_token_takes_nothing(start: Start) -> None:
    service = start(RUNNER_STORAGE_API_TOKEN="", RUNNER_SERVICE_TOKEN=" ")
    for headers in ({}, {"authorization": "Bearer "}, TOKEN_HEADER):
        answer = service.post(PATH, turn(), headers)
        assert (answer.status, answer.json["error"]) == (403, "dev_disabled")


def test_pages_of_other_sites_and_other_hosts(service: Gateway) -> None:
    for headers in ({"origin": EVIL}, {"origin": "null"}, {"host": "evil.example"}):
        assert report(service, turn(), **headers).status == 403
        assert service.ask(PATH, headers).status == 403
    local = {"origin": "http://localhost:5173"}
    assert report(service, turn(), **local).status == 403
    assert turns(service) == {}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ([], "body:"),
        (None, "body:"),
        ("dev-turn", "body:"),
        ({}, "type"),
        ({"type": "dev-turned"}, "type"),
        ({"type": "dev-ended", "extension": HELLO}, "extension"),
        ({"type": "dev-turn", "state": "applied"}, "extension: Field required"),
        (turn("hello"), "extension: "),
        (turn(HELLO.upper()), "extension: "),
        (turn(state="done"), "state: "),
        (turn(state=None), "state: "),
        (turn(runs_from="memory"), "runs_from: "),
        (turn(digest="sha256:" + "a" * 64), "digest: "),
        (turn(digest="A" * 64), "digest: "),
        (turn(digest="a" * 63), "digest: "),
        (turn(changed="ui/app.css"), "changed: "),
        (turn(changed=[1]), "changed.0: "),
        (turn(problems={}), "problems: "),
        (turn(problems=[{"code": "c"}]), "problems.0.summary: Field required"),
        (turn(problems=[{"code": "c", "summary": "s", "detail": "d"}]), "problems.0.detail: "),
        (turn(seconds=-1), "seconds: "),
        (turn(seconds="1"), "seconds: "),
        (turn(seconds=float("inf")), "no JSON"),
        (turn(stages=[1]), "stages: "),
        (turn(stages={"build": "1"}), "stages.build: "),
        (turn(stages={"build": -1}), "stages.build: "),
        (turn(more=1), "more: "),
    ],
)
def test_a_malformed_message_is_refused_with_a_reason(
    service: Gateway, fields: object, reason: str
) -> None:
    answer = report(service, fields)
    assert (answer.status, answer.json["error"]) == (400, "invalid_body")
    assert reason in answer.json["reason"]
    assert turns(service) == {}


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 60_000, b'{"type": NaN}'])
def test_a_body_that_is_no_json(service: Gateway, body: bytes) -> None:
    answer = service.ask(PATH, TOKEN_HEADER, method="POST", body=body)
    assert (answer.status, answer.json["error"]) == (400, "invalid_body")


def test_a_number_that_is_too_large(service: Gateway) -> None:
    body = json.dumps(turn(seconds=1)).replace("1}", "1e999}").encode()
    answer = service.ask(PATH, TOKEN_HEADER, method="POST", body=body)
    assert (answer.status, answer.json["error"]) == (400, "invalid_body")


def test_the_size_of_a_body_and_of_a_reason_is_bounded(service: Gateway) -> None:
    answer = report(service, turn(changed=["x" * MAX_BODY_BYTES]))
    assert (answer.status, answer.json["error"]) == (413, "payload_too_large")
    answer = report(service, turn(changed=list(range(9_000))))
    assert answer.status == 400
    assert len(answer.body) < 1_000
    assert "8995 more" in answer.json["reason"]


def test_other_methods(service: Gateway) -> None:
    assert service.call(PATH, method="PUT").status == 405
    assert service.call(PATH, method="DELETE").status == 405


def test_the_last_turn_of_each_extension_is_kept_and_published(told: Gateway) -> None:
    problem = {"code": "build-failed", "summary": "cannot build", "where": "ui/app.ts:3:5"}
    assert report(told, turn(digest="a" * 64)).json == {"extensions": [HELLO]}
    assert report(told, turn(OTHER, "building")).json == {"extensions": [HELLO, OTHER]}
    assert report(told, turn(state="failed", problems=[problem])).status == 200
    reported = turn(
        digest="b" * 64,
        runs_from="source",
        changed=["ui/app.css"],
        seconds=0.052,
        stages={"build": 12, "pack": 3.5},
    )
    assert report(told, reported).status == 200
    assert turns(told) == {HELLO: "applied", OTHER: "building"}
    (kept,) = told.call(f"{PATH}?extension={HELLO}").json["turns"]
    assert kept == {**reported, "problems": []}
    events = _events(told, f"?extension={HELLO}", 3)
    assert [(it["type"], it["state"], it["digest"], it["replaces"]) for it in events] == [
        ("dev-turn", "applied", "a" * 64, None),
        ("dev-turn", "failed", None, "a" * 64),
        ("dev-turn", "applied", "b" * 64, "a" * 64),
    ]
    assert events[1]["problems"] == [{**problem, "hint": "", "detail": []}]


def test_what_is_kept_is_bounded(told: Gateway) -> None:
    ids = [f"00000000-0000-5000-8000-{number:012x}" for number in range(MAX_EXTENSIONS + 2)]
    for id_ in [*ids[:-1], ids[1], ids[-1]]:
        answer = report(told, turn(id_))
    assert set(answer.json["extensions"]) == {ids[1], *ids[3:]}


def test_the_end_of_dev_clears_all(told: Gateway) -> None:
    report(told, turn())
    assert report(told, {"type": "dev-alive"}).json == {"extensions": [HELLO]}
    assert report(told, {"type": "dev-ended"}).json == {"extensions": []}
    assert turns(told) == {}
    kinds = [it["type"] for it in _events(told, f"?extension={OTHER}", 1)]
    assert kinds == ["dev-ended"]
    assert report(told, {"type": "dev-ended"}).status == 200


def test_the_digest_that_is_installed_is_told(told: Gateway, hello: Extension) -> None:
    found = told.call(f"{PATH}?extension={hello.registry}").json
    assert set(found["digests"]) == {hello.registry}
    assert (
        found["digests"][hello.registry]
        in told.call(f"/msp/extensions/{hello.registry}").body.decode()
    )
    assert found["turns"] == []
    nothing = {"last": 0, "digests": {}, "turns": []}
    assert told.call(f"{PATH}?extension={OTHER}").json == nothing
    report(told, turn())
    assert told.call(f"{PATH}?extension={OTHER}").json == {**nothing, "last": 1}


def test_without_a_database_turns_are_taken(start: Start) -> None:
    service = start(DATABASE_URL=f"postgresql://u@127.0.0.1:{free_port()}/x")
    assert report(service, turn()).status == 200
    found = service.call(PATH).json
    assert (found["digests"], len(found["turns"]), found["last"]) == (None, 1, 1)


@pytest.fixture(scope="module")
def hasty(_database: Database, _runner: StubRunner) -> Iterator[Gateway]:
    """A gateway that forgets turns after half a second."""
    first = "from algaenv.gateway import dev_turns; dev_turns.EXPIRY_SECONDS = 0.5"
    with gateway(_env(_database, _runner), first) as service:
        yield service


def test_turns_expire_without_heartbeats(hasty: Gateway, tables: Database) -> None:
    _ = tables
    report(hasty, turn())
    began = time.monotonic()
    while time.monotonic() - began < 1.5:
        assert report(hasty, {"type": "dev-alive"}).json == {"extensions": [HELLO]}
    while turns(hasty):
        assert time.monotonic() - began < DEADLINE_SECONDS
    ended = _events(hasty, "", 2)[-1]
    assert (ended["type"], ended["reason"]) == ("dev-ended", "no message for 0.5 s")
    assert report(hasty, {"type": "dev-alive"}).json == {"extensions": []}
