"""Tests that fail, for what a person is then told; `test_testing.py` copies and runs this file."""

from __future__ import annotations

from algaenv.testing import ScratchTenant

FETCH: dict[str, object] = {
    "method": "GET",
    "url": "https://api.example.com/x",
    "headers": [],
    "body": None,
}
UNPREPARED = {"calls": [{"fn": "http.fetch", "args": [FETCH]}]}


def test_nothing_is_prepared(algaenv: ScratchTenant) -> None:
    response = algaenv.call("hello", "POST", "/x", json=UNPREPARED)
    assert response.json()["results"] == [{"err": "transport"}]


def test_the_handler_traps(algaenv: ScratchTenant) -> None:
    script = {"stderr": ["the last words\n"], "then": "trap"}
    assert algaenv.call("hello", "POST", "/x", json=script).ok


def test_an_extension_that_is_not_there(algaenv: ScratchTenant) -> None:
    algaenv.call("helo", "GET", "/x")
