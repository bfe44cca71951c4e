"""Requests that are too large, malformed or made up: refused, without effect on others."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.requests import Request

from algaenv.runner import http
from algaenv.serving import request_limits
from tests.fuzzing import ask, ask_on_and_on, fuzz, tracebacks

from .archives import TENANT, Bundle
from .conftest import Start

MOST = 64 * 1024


def head(*headers: bytes, target: bytes = b"/healthz") -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"host: localhost", *headers, b"", b""])


def test_a_head_above_64_kib_is_refused(start: Start) -> None:
    service = start()
    for request in (
        head(b"x: " + b"v" * MOST),
        head(*[b"x: v"] * (MOST // 5)),
        head(target=b"/" + b"a" * MOST),
        b"GET /healthz HTTP/1.1\r\nx: " + b"v" * (3 * MOST),
    ):
        assert ask(service.port, request) == 431
    assert service.ask("/healthz", {"x": "v" * (MOST - 1000)}).status == 200


def test_a_refusal_reaches_a_client_that_still_sends(start: Start) -> None:
    service = start()
    large = b"GET /healthz HTTP/1.1\r\nx: " + b"v" * (2 * MOST)
    assert ask_on_and_on(service.port, large, b"v" * MOST) == 431
    assert ask_on_and_on(service.port, b"GET /healthz NONSENSE\r\nx: v", b"v" * MOST) == 400


@pytest.mark.parametrize("strict", ["true", "false"])
def test_nothing_that_comes_is_our_own_failure(start: Start, demo: Bundle, strict: str) -> None:
    service = start(EXT_STATIC_STRICT_VALIDATION=strict)
    page = demo.path("").encode()
    paths = (
        b"/", b"/healthz", b"/readyz", b"/metrics", b"/nowhere", b"/v1/execute", b"/warmup",
        page, page + b"index.html?tenant=" + TENANT.encode(), b"/ext-ui", b"/ext-ui/x",
    )  # fmt: skip
    for taken in fuzz(service, paths):
        # A bundle that is not there is 500 in Alga's runner.
        if taken.status == 500:
            assert b"/ext-ui/" in taken.request, taken
    assert service.ask("/healthz").status == 200
    assert tracebacks(service) == []


def test_a_body_that_does_not_come_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limits, "BODY_SECONDS", 0.2)
    parts = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> MutableMapping[str, Any]:
        if not parts:
            await asyncio.Event().wait()
        return parts.pop()

    scope = {"type": "http", "headers": [(b"content-type", b"application/json")]}
    with pytest.raises(http.InvalidRequest) as caught:
        asyncio.run(http.read_json(Request(scope, receive)))
    assert caught.value.status == 408
