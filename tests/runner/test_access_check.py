"""Who may have handlers run."""

from __future__ import annotations

import pytest

from .archives import TENANT, Bundle
from .conftest import Start
from .service import Answer, Service

ROUTES = ("/v1/execute", "/warmup")
TOKEN = {"x-runner-service-token": "right"}


def ask(service: Service, route: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.post(route, {}, named)


@pytest.fixture
def bare(reuse: Start) -> Service:
    return reuse()


@pytest.fixture
def guarded(reuse: Start) -> Service:
    return reuse(RUNNER_INBOUND_TOKEN="right", RUNNER_ALLOWED_HOSTS="Dev.Example.com")


def test_pages_of_others_cannot_call(bare: Service) -> None:
    for headers in (
        {"host": "attacker.example"},
        {"host": "attacker.example:8085", "origin": "http://attacker.example:8085"},
        {"host": "127.0.0.1.nip.io"},
        {"host": "user@localhost"},
        {"host": "localhost#x"},
        {"host": "localhost?"},
        {"host": "localhost\\x"},
        {"origin": "https://attacker.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": "http://localhost:1"},
        {"sec_fetch_site": "cross-site"},
    ):
        assert [ask(bare, route, **headers).status for route in ROUTES] == [403, 403], headers
    assert bare.ask("/healthz", {"host": "attacker.example"}).status == 200


def test_callers_of_this_machine_and_network_can(bare: Service) -> None:
    for host in (
        "localhost:1",
        "127.0.0.1",
        "[::1]:80",
        "10.1.2.3:8080",
        "runner:8080",
        "host.docker.internal:8085",
        "runner.apps.svc",
        "a.localhost",
    ):
        assert [ask(bare, route, host=host).status for route in ROUTES] == [422, 422], host
    origin = f"http://127.0.0.1:{bare.port}"
    assert ask(bare, ROUTES[0], origin=origin).status == 422


def test_a_token_that_is_configured_is_demanded(guarded: Service) -> None:
    for route in ROUTES:
        assert ask(guarded, route).status == 401
        assert ask(guarded, route, content_type="application/wasm").status == 401
        assert ask(guarded, route, x_runner_service_token="wrong").status == 401
        assert ask(guarded, route, x_runner_service_token="right").status == 422
        assert ask(guarded, route, host="dev.example.com:80", **TOKEN).status == 422
        assert ask(guarded, route, host="other.example.com", **TOKEN).status == 403
        assert ask(guarded, route.replace("w", "%77").replace("v", "%76")).status == 401
    assert guarded.ask("/healthz").status == 200


def test_pages_need_no_token(guarded: Service, demo: Bundle) -> None:
    assert guarded.ask(f"{demo.path()}?tenant={TENANT}").status == 200
