"""Reports of `dev`, sent to a real gateway, and to servers that misbehave."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from algaenv.bundle.digest import Digest
from algaenv.drivers import dev_channel
from algaenv.drivers.dev_channel import MAX_BODY_BYTES, DevChannel, Turn, gateway_token
from algaenv.gateway import dev_turns
from algaenv.gateway.app import create_app
from algaenv.gateway.events import EventBus
from algaenv.gateway.settings import GatewayConfig
from algaenv.model.lock import Lock
from algaenv.model.problem import Problem, Where
from algaenv.model.secret import Secret
from tests.drivers.alga import OZ
from tests.gateway.pages.stub_site import serving
from tests.servers import free_port

TOKEN = "storage-token"
HELLO = "6f1c2a3b-5d0e-5b53-9a53-6f1f7a9b2c10"
OTHER = "8b9a1de4-27c3-5d0a-8f5e-02a4c6d1e7f3"


@contextmanager
def gateway(port: int | None = None, token: str = TOKEN) -> Iterator[tuple[int, EventBus]]:
    """A gateway whose database does not answer, which is not needed to take reports."""
    events = EventBus()
    config = GatewayConfig.read(
        {
            "DATABASE_URL": f"postgresql://u@127.0.0.1:{free_port()}/x",
            "TENANT_ID": OZ,
            "RUNNER_STORAGE_API_TOKEN": token,
        }
    )
    with serving(create_app(config, events), events, port=port) as listening:
        yield listening, events


def channel(port: int, token: str = TOKEN, seconds: float = 5.0) -> DevChannel:
    return DevChannel(f"http://127.0.0.1:{port}", Secret(token), seconds=seconds)


def reported(events: EventBus) -> list[Mapping[str, object]]:
    """The messages of turns, without what the bus and the gateway add."""
    added = {"id", "at", "replaces"}
    found = [it for it in events.recent() if it["type"] == "dev-turn"]
    return [{name: value for name, value in it.items() if name not in added} for it in found]


def test_a_turn_arrives_as_it_was_reported() -> None:
    problem = Problem(
        "build-failed",
        "cannot build hello: it ended with 1",
        "correct it",
        Where("/home/ö/ui/app.ts", 3, 5),
        ("✘ [ERROR] Expected ';'", "", "    3 │ let x y"),
    )
    with gateway() as (port, events):
        told = channel(port)
        turn = Turn(
            HELLO,
            "applied",
            runs_from="source",
            digest=Digest("a" * 64),
            changed=("ui/app.css",),
            seconds=0.052,
            stages={"build": 12, "pack": 3.5},
        )
        assert told.turn(turn) is None
        assert told.turn(Turn(HELLO, "failed", problems=(problem,))) is None
        assert told.turn(Turn(OTHER, "building")) is None
        assert told.alive() is None
        first, failed, building = reported(events)
        assert first == {
            "type": "dev-turn",
            "extension": HELLO,
            "state": "applied",
            "runs_from": "source",
            "digest": "a" * 64,
            "changed": ["ui/app.css"],
            "problems": [],
            "seconds": 0.052,
            "stages": {"build": 12, "pack": 3.5},
        }
        assert failed["problems"] == [
            {
                "code": "build-failed",
                "summary": "cannot build hello: it ended with 1",
                "hint": "correct it",
                "where": "/home/ö/ui/app.ts:3:5",
                "detail": ["✘ [ERROR] Expected ';'", "", "    3 │ let x y"],
            }
        ]
        assert (building["extension"], building["changed"]) == (OTHER, None)
        assert told.ended() is None
        assert events.recent()[-1]["type"] == "dev-ended"


def test_a_restarted_gateway_is_told_again() -> None:
    with gateway() as (port, _):
        told = channel(port)
        assert told.turn(Turn(HELLO, "applied")) is None
        assert told.turn(Turn(OTHER, "failed")) is None
    problem = told.turn(Turn(OTHER, "applied"))
    assert problem is not None
    assert "does not answer" in problem
    assert "does not answer" in (told.alive() or "")
    with gateway(port) as (_, events):
        assert told.alive() is None
        states = {str(it["extension"]): it["state"] for it in reported(events)}
        assert states == {HELLO: "applied", OTHER: "applied"}
        assert told.alive() is None
        assert len(reported(events)) == 2
        assert told.ended() is None


def test_a_turn_that_was_not_taken_is_repeated_although_an_older_one_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with gateway() as (port, events):
        told = channel(port)
        assert told.turn(Turn(HELLO, "building")) is None
        with monkeypatch.context() as patch:
            patch.setattr(dev_channel, "_PATH", "/elsewhere")
            assert "404" in (told.turn(Turn(HELLO, "applied")) or "")
        assert told.alive() is None
        assert [it["state"] for it in reported(events)] == ["building", "applied"]
        told.ended()


@pytest.mark.parametrize("token", ["", "wrong", "wörng €", "a\nb"])
def test_another_token(token: str) -> None:
    with gateway() as (port, events):
        told = channel(port, token)
        assert told.turn(Turn(HELLO, "applied")) is not None
        assert reported(events) == []
        told.ended()


def test_a_token_that_is_no_ascii() -> None:
    with gateway(token="tökén €") as (port, _):
        told = channel(port, "tökén €")
        assert told.turn(Turn(HELLO, "applied")) is None
        told.ended()


def test_a_message_is_cut_until_it_is_short_enough() -> None:
    lines = tuple("é" * 900 for _ in range(400))
    problems = tuple(
        Problem("code", f"cannot {number} " + "s" * 5_000, "h" * 5_000, None, lines)
        for number in range(40)
    )
    changed = tuple(f"ui/{'x' * 500}/{number}.css" for number in range(500))
    with gateway() as (port, events):
        told = channel(port)
        assert told.turn(Turn(HELLO, "failed", problems=problems[:1])) is None
        assert told.turn(Turn(HELLO, "failed", problems=problems, changed=changed)) is None
        assert told.turn(Turn(HELLO, "applied", changed=(*changed, "ui/a.css"))) is None
        assert told.turn(Turn(HELLO, "applied", changed=("ui/\udcff.css",))) is None
        one, many, unknown, _ = reported(events)
        for message in (one, many):
            assert len(json.dumps(message, ensure_ascii=False).encode()) <= MAX_BODY_BYTES
            (first, *_) = cast("list[dict[str, Any]]", message["problems"])
            assert first["summary"].startswith("cannot 0 ")
        (kept,) = cast("list[dict[str, Any]]", one["problems"])
        assert len(kept["detail"]) == 10
        assert unknown["changed"] is None
        told.ended()


def test_the_bound_is_the_gateways() -> None:
    assert dev_turns.MAX_BODY_BYTES == MAX_BODY_BYTES
    assert dev_channel.HEARTBEAT_SECONDS < dev_turns.EXPIRY_SECONDS / 2


def test_a_server_that_does_not_answer_holds_nobody_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        told = channel(silent.getsockname()[1], seconds=0.3)
        began = time.monotonic()
        assert told.turn(Turn(HELLO, "applied")) is not None
        assert told.ended() is not None
        assert time.monotonic() - began < 10


@pytest.mark.parametrize("answer", [b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n[]", b""])
def test_a_server_that_is_no_gateway(answer: bytes) -> None:
    def serve() -> None:
        with server.accept()[0] as client:
            read = b""
            while b"dev-turn" not in read:  # else the kernel resets what is not read
                read += client.recv(65_536)
            client.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        problem = channel(server.getsockname()[1]).turn(Turn(HELLO, "applied"))
        thread.join()
    assert (problem is None) == answer.startswith(b"HTTP")


def test_nothing_listens() -> None:
    assert channel(free_port()).turn(Turn(HELLO, "applied")) is not None


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({}, "ours"),
        ({"RUNNER_STORAGE_API_TOKEN": "theirs"}, "theirs"),
        ({"RUNNER_STORAGE_API_TOKEN": Secret("theirs")}, "theirs"),
        ({"RUNNER_STORAGE_API_TOKEN": " ", "RUNNER_SERVICE_TOKEN": "second"}, "second"),
        ({"RUNNER_SERVICE_TOKEN": "second"}, "ours"),
        ({"RUNNER_STORAGE_API_TOKEN": ""}, ""),
    ],
)
def test_the_token_is_the_one_that_the_gateway_takes(
    written: Mapping[str, str | Secret], expected: str
) -> None:
    lock = SimpleNamespace(
        intent=SimpleNamespace(runner=SimpleNamespace(environment=written)),
        credentials=SimpleNamespace(service_token=Secret("ours")),
    )
    assert gateway_token(cast("Lock", lock)) == Secret(expected)
