"""`GET /`: from a host name to a page."""

from __future__ import annotations

import pytest

from .conftest import Start
from .peers import Peer, PeerResponse

HASH = "sha256:" + "ab" * 32


def test_a_known_host(reuse: Start, registry: Peer) -> None:
    registry.respond_json({"tenant_id": "t 1&2", "extension_id": "my ext", "content_hash": HASH})
    answer = reuse().ask("/?parentOrigin=x", {"host": "shop.example.com:8085"})
    assert (answer.status, answer.body) == (307, b"")
    assert answer.headers["location"] == (
        f"/ext-ui/my%20ext/{HASH}/index.html?tenant=t+1%262&extensionId=my+ext"
    )
    assert answer.headers["cache-control"] == "no-store"
    asked = registry.asked[0]
    assert (asked.path, asked.query["host"]) == ("/api/installs/lookup-by-host", "shop.example.com")
    assert asked.headers["x-api-key"] == "test-key"


def test_the_registrys_own_path_is_replaced(start: Start, registry: Peer) -> None:
    registry.respond_json({"tenant_id": "t", "extension_id": "e", "content_hash": HASH})
    service = start(REGISTRY_BASE_URL=f"{registry.url}/some/api")
    assert service.ask("/").status == 307
    assert registry.paths() == ["/api/installs/lookup-by-host"]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (PeerResponse(404, b"{}"), 404),
        (PeerResponse(500), 404),
        (PeerResponse(200, b"not json"), 502),
        (PeerResponse(200, b'{"tenant_id": "t", "extension_id": "e"}'), 502),
        (PeerResponse(200, b'{"tenant_id": "t", "extension_id": 5, "content_hash": "h"}'), 502),
        (PeerResponse(200, b'{"tenant_id": "t", "extension_id": "a/b", "content_hash": "h"}'), 502),
        (PeerResponse(200, b'{"tenant_id": "t"', cut=True), 502),
    ],
)
def test_hosts_that_lead_nowhere(
    reuse: Start, registry: Peer, said: PeerResponse, status: int
) -> None:
    registry.answer = lambda asked: said
    answer = reuse().ask("/")
    assert (answer.status, answer.body) == (status, b"")
    assert answer.headers["cache-control"] == "no-store"


def test_no_registry_and_no_host(reuse: Start) -> None:
    service = reuse(REGISTRY_BASE_URL="http://127.0.0.1:9")
    assert service.ask("/").status == 502
    assert service.ask("/", {"host": ""}).status == 400
