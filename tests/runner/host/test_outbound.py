"""The shared clients: proxies of the environment, and pools that do not share."""

from __future__ import annotations

import pytest

from algaenv.runner.wasm.wit import Err

from .conftest import without_proxies
from .host import Host, running_loop
from .stub import Stub, StubResponse


def test_a_proxy_of_the_environment(
    server: Stub, other: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address is the environment's; what guests may ask is still decided by their URL."""
    without_proxies(monkeypatch)
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server.respond(StubResponse(200, b"by proxy"))
    wanted: dict[str, object] = {
        "method": "GET",
        "url": "http://far.example/x",
        "headers": [],
        "body": None,
    }
    env = {
        "EXT_EGRESS_ALLOWLIST": "far.example,127.0.0.1",
        "UI_PROXY_BASE_URL": "http://ui.example/base",
    }
    with running_loop() as running:
        host = Host(running, env)
        assert host.call("http.fetch", wanted)["body"] == b"by proxy"
        assert server.last.target == "http://far.example/x"
        assert server.last.one("host") == "far.example"
        assert host.call("ui-proxy.call-route", "r", None) == b"by proxy"
        assert server.last.target == "http://ui.example/base/e1/r"
        near = server.url.rpartition(":")[2]
        assert host.call("http.fetch", wanted | {"url": f"http://localhost:{near}"}) == Err(
            "not-allowed"
        )
        assert host.call("http.fetch", wanted | {"url": other.url})["status"] == 200
    assert [asked.target for asked in other.asked] == ["/"]


def test_each_purpose_has_its_own_pool() -> None:
    with running_loop() as running:
        outbound = running.outbound
        clients = [running.run(ask()) for ask in (outbound.client, outbound.peers, outbound.guests)]
        assert len({id(client) for client in clients}) == 3
        assert running.run(outbound.peers()) is clients[1]
        assert all(not client.is_closed for client in clients)
    assert all(client.is_closed for client in clients)
