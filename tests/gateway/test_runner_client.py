"""What a runner answers is read without trusting it; and work in the background does not end."""

from __future__ import annotations

import asyncio
import json

import pytest

from algaenv.gateway.http_client import HttpResponse
from algaenv.gateway.runner_client import EntryPoint, HandlerResult, RunnerRefused, parse_response
from algaenv.serving.background import restart_on_failure


def read(content: bytes, status: int = 200) -> object:
    return parse_response(HttpResponse(status, {}, content), 1.0)


@pytest.mark.parametrize(
    "content",
    [b"[" * 200_000, b'{"a":' * 200_000, b"\xff", b"", b"NaN", b'{"status": Infinity}'],
    ids=range(6),
)
def test_what_is_no_answer_is_refused(content: bytes) -> None:
    assert isinstance(read(content), RunnerRefused)


@pytest.mark.parametrize(
    ("status", "direct", "proxied"),
    [
        ("404", 404, 404),
        ("404.9", 404, 404),
        ("null", 201, 200),
        ("0", 201, 0),
        ('""', 201, 200),
        ('"404"', 404, 200),
        ('"none"', 0, 200),
        ('"0x194"', 404, 200),
        ('"4_04"', 0, 200),
        ('"\u0664\u0660\u0664"', 0, 200),
        ("true", 1, 200),
        ("[404]", 404, 200),
        ("[]", 0, 200),
        ("{}", 0, 200),
        ("1e400", 0, 0),
    ],
)
def test_statuses_of_any_shape(status: str, direct: int, proxied: int) -> None:
    content = f'{{"status":{status}}}'.encode()
    for entry_point, wanted in ((EntryPoint.DIRECT, direct), (EntryPoint.PROXY, proxied)):
        outcome = parse_response(HttpResponse(201, {}, content), 1.0, entry_point)
        assert isinstance(outcome, HandlerResult)
        assert outcome.status == wanted


@pytest.mark.parametrize("body", [b"{}", b"7", b"[]"])
def test_a_body_that_is_no_text_is_no_answer_to_the_direct_gateway(body: bytes) -> None:
    content = b'{"status":200,"body_b64":' + body + b"}"
    outcome = parse_response(HttpResponse(200, {}, content), 1.0, EntryPoint.DIRECT)
    assert isinstance(outcome, RunnerRefused)


@pytest.mark.parametrize(
    "failure",
    [7, "x", [], {}, {"causes": 5, "stderr": 5}, {"causes": {"a": 1}, "stderr": "x", "kind": []}],
)
def test_a_failure_of_any_shape(failure: object) -> None:
    answer = {"status": 500, "headers": 3, "error": "execute_failed: x", "failure": failure}
    assert isinstance(read(json.dumps(answer).encode()), HandlerResult)


def test_a_chore_that_fails_begins_again(caplog: pytest.LogCaptureFixture) -> None:
    begun = 0

    async def chore() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise OverflowError("nobody thought of it")

    asyncio.run(restart_on_failure(chore, 0.0))
    assert begun == 3
    assert caplog.text.count("begins again") == 2
