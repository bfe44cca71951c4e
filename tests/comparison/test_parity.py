"""What differs between two runtimes, and what is meant to."""

from __future__ import annotations

from textwrap import dedent

from algaenv.cli.output.parity import parity_text, parity_to_json
from algaenv.comparison.parity import MEANT, ParityRow, Side, call_rows, compare_sides, shown
from algaenv.model.comparison import Call, ComparedCall, Difference, Outcome
from algaenv.model.resource import ServiceEngine
from tests.cli.schemas import check

DOCKER = Side(
    "docker",
    (ServiceEngine("store", "silo", "9", "pulled"), ServiceEngine("redis", "valkey", "9.1", "x")),
    {"runner": {"HOST": "0.0.0.0", "LOG": "info", "KEY": "hmac:12"}, "redis": {"a": "1"}},
    {"hello": ("0.1.0", "sha256:a")},
)
PROCESS = Side(
    "process",
    (ServiceEngine("store", "rclone", "", "wheel"), ServiceEngine("redis", "valkey", "9.1", "y")),
    {"runner": {"HOST": "127.0.0.1", "LOG": "debug", "KEY": "hmac:34"}, "redis": {"a": "2"}},
    {"hello": ("0.1.0", "sha256:b"), "new": ("1", "")},
)


def test_each_thing_gets_a_verdict() -> None:
    found = [(it.what, it.verdict) for it in compare_sides(DOCKER, PROCESS)]
    assert found == [
        ("store", "differs"),
        ("redis", "same"),
        ("redis: version", "same"),
        ("runner: HOST", "meant"),
        ("runner: LOG", "differs"),
        ("runner: KEY", "same"),
        ("hello: version", "same"),
        ("hello: content hash", "differs"),
        ("new: version", "differs"),
        ("new: content hash", "same"),
    ]
    assert {it.verdict for it in compare_sides(DOCKER, DOCKER)} == {"same"}


def test_what_belongs_to_one_machine_is_not_compared() -> None:
    one = "http://store:9000/extensions /cache 4b7c1f9e-92ab-4a6e-8d35-fd0a3c2f1e00"
    two = "http://127.0.0.1:4569/extensions /x 11111111-2222-5333-8444-555555555555"
    assert shown(one) == shown(two) == "http://<address>/extensions <path> <id>"
    assert shown("http://a.example:80/x") == "http://a.example:80/x"
    assert "hmac" not in shown("hmac:1234")
    assert all(MEANT.values())


ROWS = (
    *compare_sides(DOCKER, PROCESS)[:5],
    *call_rows(
        "hello",
        [
            ComparedCall(Call("GET", "/a\x1b"), Outcome(200, 1), Outcome(200, 1), ()),
            ComparedCall(
                Call("GET", "/b"), Outcome(200, 1), Outcome(500, 1), (Difference("body", "/x"),)
            ),
        ],
    ),
)


def test_the_table_reads_as_intended() -> None:
    assert parity_text(ROWS, ["hello: POST /c: its method may change something"]) == dedent("""\
        Engines
          differs  store           docker silo  process rclone
          same     redis           valkey
          same     redis: version  9.1

        Settings
          meant    runner: HOST  docker 0.0.0.0  process 127.0.0.1
                   a container listens on all addresses of its network, a process on loopback
          differs  runner: LOG   docker info     process debug

        Calls
          same     hello: GET /a\\x1b  200
          differs  hello: GET /b      docker 200  process 500
                   body /x

        Left out:
          hello: POST /c: its method may change something

        7 compared: 3 the same, 1 as meant, 3 differ.
        """)
    quiet = parity_text([ParityRow("setting", "runner: LOG", "x", "x", "same")], [])
    assert "1 the same" in quiet
    assert "LOG" not in quiet


def test_json_is_as_its_schema_says() -> None:
    check("parity", parity_to_json(ROWS, ["x"], ["docker"]))
