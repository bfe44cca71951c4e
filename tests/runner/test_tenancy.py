"""Whose page it is, and whether the registry agrees."""

from __future__ import annotations

import time

import pytest

from .archives import EXTENSION, TENANT, Bundle
from .conftest import Start
from .peers import Files, Peer, PeerResponse, ReceivedRequest, peer

STRICT = {"EXT_STATIC_STRICT_VALIDATION": "true"}
WHO = {"x-tenant-id": TENANT}


def test_the_registry_is_asked_once_for_a_while(start: Start, demo: Bundle, registry: Peer) -> None:
    service = start(**STRICT)
    upper = f"/ext-ui/{EXTENSION}/sha256:{demo.digest.hex.upper()}/index.html"
    assert [service.ask(demo.path(), WHO).status for _ in range(3)] == [200, 200, 200]
    assert service.ask(upper, WHO).status == 200
    first, second = registry.asked
    before = time.time() * 1000 - float(first.query.pop("ts"))
    assert -60_000 < before < 60_000
    assert first.path == "/api/installs/validate"
    assert first.query == {"tenant": TENANT, "extension": EXTENSION, "hash": demo.digest.prefixed}
    assert first.headers["x-api-key"] == "test-key"
    assert second.query["hash"] == f"sha256:{demo.digest.hex.upper()}"


def test_unset_means_strict(reuse: Start, demo: Bundle, registry: Peer) -> None:
    # An empty value is not "unset": Alga's runner reads it as not strict.
    assert reuse(EXT_STATIC_STRICT_VALIDATION="").ask(demo.path(), WHO).status == 200
    assert registry.asked == []


@pytest.mark.parametrize(
    ("value", "asks", "demands"),
    [("TRUE", 1, True), ("1", 0, True), ("Yes", 0, True), (" true ", 0, False), ("0", 0, False)],
)
def test_two_readings_of_strict(
    reuse: Start, demo: Bundle, registry: Peer, *, value: str, asks: int, demands: bool
) -> None:
    service = reuse(EXT_STATIC_STRICT_VALIDATION=value)
    assert service.ask(demo.path(), WHO).status == 200
    assert registry.paths().count("/api/installs/validate") == asks
    registry.respond_json({}, 404)
    nobody = service.ask(demo.path().replace(EXTENSION, "other-ext"))
    assert nobody.status == (404 if demands else 200)


@pytest.mark.parametrize(
    "said",
    [
        PeerResponse(body=b'{"valid": false}'),
        PeerResponse(body=b'{"valid": "true"}'),
        PeerResponse(body=b"{}"),
        PeerResponse(body=b"[true]"),
        PeerResponse(body=b"not json"),
        PeerResponse(500, b'{"valid": true}'),
        PeerResponse(302, b"", {"location": "/elsewhere"}),
        PeerResponse(body=b'{"valid": true}', cut=True),
    ],
)
def test_denied(reuse: Start, demo: Bundle, registry: Peer, said: PeerResponse) -> None:
    registry.answer = lambda asked: said if asked.path.startswith("/api") else PeerResponse(404)
    answer = reuse(**STRICT).ask(demo.path(), WHO)
    assert (answer.status, answer.body) == (404, b"")
    assert answer.headers["cache-control"] == "no-store"


def test_failures_are_not_remembered_and_denials_shortly(
    reuse: Start, demo: Bundle, registry: Peer
) -> None:
    service = reuse(**STRICT)
    registry.respond_json({}, 503)
    assert service.ask(demo.path(), WHO).status == 404
    registry.respond_json({"valid": True})
    assert service.ask(demo.path(), WHO).status == 200
    other = demo.path(extension="late")
    registry.respond_json({"valid": False})
    assert [service.ask(other, WHO).status for _ in range(3)] == [404, 404, 404]
    assert sum(asked.query["extension"] == "late" for asked in registry.asked) == 1
    registry.respond_json({"valid": True})
    until = time.monotonic() + 15
    while service.ask(other, WHO).status == 404:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert service.ask(other, WHO).status == 200


def test_a_slow_registry_is_a_no(reuse: Start, demo: Bundle, registry: Peer) -> None:
    def slow(asked: ReceivedRequest) -> PeerResponse:
        time.sleep(2)
        return PeerResponse(body=b'{"valid": true}')

    registry.answer = slow
    service = reuse(**STRICT)
    began = time.monotonic()
    assert service.ask(demo.path(), WHO).status == 404
    assert time.monotonic() - began < 1.8


def test_the_key_goes_to_no_other_host(reuse: Start, demo: Bundle, registry: Peer) -> None:
    with peer(lambda asked: PeerResponse(body=b'{"valid": true}')) as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost") + "/steal"
        registry.answer = lambda asked: PeerResponse(302, headers={"location": elsewhere})
        service = reuse(**STRICT)
        assert service.ask(demo.path(), WHO).status == 404
        assert other.asked == []
        registry.answer = lambda asked: (
            PeerResponse(body=b'{"valid": true}')
            if asked.path == "/moved"
            else PeerResponse(307, headers={"location": "/moved"})
        )
        assert service.ask(demo.path(), WHO).status == 200
        assert registry.asked[-1].headers["x-api-key"] == "test-key"


def test_query_before_header_before_memory_before_host(
    start: Start, demo: Bundle, registry: Peer, files: Files
) -> None:
    def answer(asked: ReceivedRequest) -> PeerResponse:
        if asked.path.endswith("lookup-by-host"):
            return PeerResponse(body=b'{"tenant_id": "of-host"}')
        return PeerResponse(body=b'{"valid": true}')

    registry.answer = answer
    service = start(**STRICT)

    def tenant(path: str, headers: dict[str, str] | None = None) -> str:
        assert service.ask(path, headers).status == 200
        line = service.line("request")
        return str(line["tenant"])

    page = demo.path()
    for key in ("of-host", "of-query", "of-header"):
        files.objects[demo.key_of(key)] = demo.archive
    assert tenant(page, {"host": "ext.example.com:8443"}) == "of-host"
    assert registry.asked[0].query["host"] == "ext.example.com"
    assert tenant(f"{page}?tenant=of-query", {"x-tenant-id": "of-header"}) == "of-query"
    assert tenant(page, {"x-tenant-id": "of-header"}) == "of-header"
    assert tenant(demo.path("assets/app.js")) == "of-header"
    assert tenant(f"{page}?tenant=", {"x-tenant-id": "other"}) == "of-header"
    assert registry.paths().count("/api/installs/lookup-by-host") == 1


def test_only_a_good_answer_is_remembered(reuse: Start, demo: Bundle, registry: Peer) -> None:
    def answer(asked: ReceivedRequest) -> PeerResponse:
        good = asked.query.get("tenant") == TENANT
        return PeerResponse(body=b'{"valid": true}') if good else PeerResponse(404)

    registry.answer = answer
    service = reuse(**STRICT)
    assert service.ask(f"{demo.path()}?tenant={TENANT}").status == 200
    assert service.ask(f"{demo.path()}?tenant=stranger").status == 404
    assert service.ask(demo.path("assets/app.js")).status == 200


def test_a_failed_answer_is_not_remembered(start: Start, demo: Bundle, registry: Peer) -> None:
    registry.respond_json({}, 404)
    service = start()
    assert service.ask(f"{demo.path()}?tenant=stranger").status == 500
    assert service.line("request")["tenant"] == "stranger"
    assert service.ask(demo.path("assets/app.js")).status == 500
    assert "tenant" not in service.line("request")


def test_nobody_knows(reuse: Start, demo: Bundle, registry: Peer) -> None:
    registry.respond_json({}, 404)
    service = reuse(**STRICT)
    assert service.ask(demo.path()).status == 404
    registry.respond_json({"tenant_id": 5})
    assert service.ask(demo.path()).status == 404


def test_without_a_tenant_only_what_is_there_is_served(
    reuse: Start, demo: Bundle, registry: Peer
) -> None:
    registry.respond_json({}, 404)
    service = reuse()
    assert service.ask(demo.path()).json == {"code": "extract_failed"}
    assert service.ask(demo.path(), WHO).status == 200
    assert service.ask(demo.path(extension="another")).status == 200


def test_what_one_worker_heard_the_others_know(start: Start, demo: Bundle) -> None:
    service = start(RUNNER_WORKERS="2")
    assert service.ask(demo.path(), WHO).status == 200
    service.line("request")
    for number in range(10):
        service.ask(f"{demo.path()}?tenant=t{number}")
        assert service.line("request")["tenant"] == f"t{number}"
        # Each over a connection of its own, so that one worker or the other answers.
        for _ in range(4):
            assert service.ask(demo.path("assets/app.js")).status == 200
            assert service.line("request")["tenant"] == f"t{number}"
