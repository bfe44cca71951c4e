"""1.0: how JSON requests are read, by both routes that take one."""

from __future__ import annotations

import json
import uuid

import pytest

from . import components as wat
from .asking import Runner
from .guests import holding
from .kinds import Differs, Kind, differs, settle
from .peers import Peers
from .stub import Reply

NO_JSON = "Expected request with `Content-Type: application/json`"
SYNTAX = "Failed to parse the request body as JSON: "
SHAPE = "Failed to deserialize the JSON body into the target type: "
TOO_LONG = "Failed to buffer the request body: "
MOST = 2 * 1024 * 1024
ROUTES = ("/v1/execute", "/warmup")
ROUTING = {"x-alga-tenant": "t", "x-alga-extension": "e"}
CALL = {
    "context": {"tenant_id": "t", "extension_id": "e", "content_hash": "sha256:dummy"},
    "http": {"method": "POST", "path": "/foo"},
}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("kind_of_body", "status"),
    [
        pytest.param(None, 415, id="1.0-no-type"),
        pytest.param("text/plain", 415, id="1.0-text"),
        pytest.param("application/x-www-form-urlencoded", 415, id="1.0-form"),
        pytest.param("application/jsonx", 415, id="1.0-jsonx"),
        pytest.param("json", 415, id="1.0-bare-json"),
        pytest.param("application/json", 422, id="1.0-json"),
        pytest.param("Application/JSON; charset=utf-8", 422, id="1.0-json-charset"),
        pytest.param("application/problem+json", 422, id="1.0-plus-json"),
    ],
)
def test_1_0_content_types(
    runner: Runner, *, path: str, kind_of_body: str | None, status: int
) -> None:
    headers = {"content-type": kind_of_body} if kind_of_body else {}
    answer = runner.ask(path, headers, method="POST", body=b"{}")
    assert answer.status == status
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    text = answer.body.decode()
    assert text == NO_JSON if status == 415 else text.startswith(SHAPE)


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="1.0-empty"),
        pytest.param(b"{", id="1.0-cut"),
        pytest.param(b"{'a': 1}", id="1.0-quotes"),
        pytest.param(b"\xef\xbb\xbf{}", id="1.0-byte-order-mark"),
        pytest.param(b'{"\xff": 1}', id="1.0-not-utf8"),
        pytest.param(b"no json", id="1.0-words"),
        pytest.param(b" " * MOST, id="1.0-blanks-of-the-greatest-size"),
    ],
)
def test_1_0_syntax_errors_are_400(runner: Runner, *, path: str, body: bytes) -> None:
    answer = runner.post(path, body, ROUTING)
    assert (answer.status, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert answer.body.decode().startswith(SYNTAX)


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("body", [b"7", b"null", b'"x"', b"true", b"{}"])
def test_1_0_other_shapes_are_422(runner: Runner, *, path: str, body: bytes) -> None:
    answer = runner.post(path, body, ROUTING)
    assert (answer.status, answer.headers["content-type"]) == (422, "text/plain; charset=utf-8")
    assert answer.body.decode().startswith(SHAPE)


@pytest.mark.parametrize("path", ROUTES)
def test_1_0_more_than_2_mib_are_413(runner: Runner, path: str) -> None:
    answer = runner.post(path, b" " * (MOST + 1), ROUTING)
    assert answer.status == 413
    assert answer.body.decode().startswith(TOO_LONG)


def test_1_0_2_mib_are_read(runner: Runner) -> None:
    whole = json.dumps(CALL).encode()
    padded = whole[:-1] + b" " * (MOST - len(whole)) + b"}"
    assert len(padded) == MOST
    assert runner.post("/v1/execute", padded, ROUTING).status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(
            json.dumps(CALL).encode() + b" x",
            differs("one-json-document", ours=400, original=200),
            id="1.0-text-after-the-document",
        ),
        pytest.param(
            b'[["r","t","e",null,"sha256:dummy"],["POST","/foo"]]',
            differs("one-json-document", ours=422, original=200),
            id="1.0-arrays-for-objects",
        ),
        pytest.param(
            b'{"context":1,}',
            differs("syntax-comes-first", ours=400, original=422),
            id="1.0-first-problem-from-the-left",
        ),
    ],
)
def test_1_0_odd_documents(
    runner: Runner, kind: Kind, *, body: bytes, status: Differs[int]
) -> None:
    assert runner.post("/v1/execute", body, ROUTING).status == settle(kind, status)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param({}, b"{}", id="1.0-shape-before-routing-headers"),
        pytest.param({"x-idempotency-key": "k"}, b"{", id="1.0-syntax-before-replay"),
    ],
)
def test_1_0_bodies_come_first(runner: Runner, *, headers: dict[str, str], body: bytes) -> None:
    assert runner.post("/v1/execute", body, headers).status in {400, 422}


# 1.6


def test_1_6_warmup_without_a_tenant_is_refused(runner: Runner) -> None:
    for fields in ({"content_hash": "sha256:abc"}, {"content_hash": "", "more": [1]}):
        answer = runner.post("/warmup", fields)
        assert answer.status == 400
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.body == b"warmup unsupported without tenant + extension context"


@pytest.mark.parametrize("value", [None, 5, ["a"]])
def test_1_6_warmup_wants_a_string(runner: Runner, value: object) -> None:
    assert runner.post("/warmup", {"content_hash": value}).status == 422


@pytest.mark.parametrize("place", ["headers", "body"])
def test_1_6_warmup_of_somebody(runner: Runner, peers: Peers, kind: Kind, place: str) -> None:
    """Which ours does; the original has no way to know whose bundle it is."""
    made = holding(wat.PLAIN, note=uuid.uuid4().hex)
    peers.store.on(made.digest.hex, Reply(body=made.archive))
    fields = {"content_hash": made.digest.prefixed}
    if place == "headers":
        answer = runner.post("/warmup", fields, ROUTING)
    else:
        answer = runner.post("/warmup", fields | {"tenant": "t", "extension": "e"})
    expected = differs("warmup-compiles", ours=(200, 1), original=(400, 0))
    asked = len(peers.store.seen(made.digest.hex))
    assert (answer.status, asked) == settle(kind, expected)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        pytest.param(None, 502, id="no-bundle"),
        pytest.param(wat.CORE_MODULE, 422, id="no-component"),
        pytest.param(wat.NO_HANDLER, 422, id="no-handler"),
    ],
)
def test_1_6_warmups_that_fail(
    runner: Runner, peers: Peers, kind: Kind, *, content: str | None, status: int
) -> None:
    made = holding(content or wat.PLAIN, note=uuid.uuid4().hex)
    if content is not None:
        peers.store.on(made.digest.hex, Reply(body=made.archive))
    answer = runner.post("/warmup", {"content_hash": made.digest.prefixed}, ROUTING)
    assert answer.status == settle(kind, differs("warmup-compiles", ours=status, original=400))


@pytest.mark.parametrize("path", ROUTES)
def test_1_0_what_is_no_number(runner: Runner, kind: Kind, *, path: str) -> None:
    answer = runner.post(path, b'{"content_hash": NaN, "context": NaN}', ROUTING)
    assert answer.status == settle(kind, differs("nan-is-of-no-type", ours=422, original=400))
