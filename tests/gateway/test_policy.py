"""Who may call what, in the product's order, through both gateways."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algaenv.gateway.db import MAX_CONNECTIONS
from algaenv.gateway.installs import Endpoint
from algaenv.gateway.javascript import trim
from algaenv.gateway.policy import match_endpoint
from algaenv.gateway.rules import override_method
from tests.drivers.alga import OZ, tenant
from tests.gateway.conftest import Start
from tests.gateway.gateway_process import Gateway
from tests.gateway.seed import Extension, install
from tests.gateway.stub_runner import StubRunner
from tests.gateway.test_calls import BOTH, DIRECT, PORTAL, denied
from tests.servers import Database

UNAVAILABLE = {"error": "extension_not_available"}
USERS = {
    "reader": {"permissions": ["extension:read"]},
    "writer": {"permissions": ["extension:write"]},
    "nobody": {"permissions": []},
    "portal": {"type": "client", "client_id": "c1", "client_name": "C"},
    "stray": {"type": "client"},
}


@BOTH
def test_users(start: Start, hello: Extension, runner: StubRunner, route_prefix: str) -> None:
    service = start({"users": USERS})
    url = f"{route_prefix}/{hello.slug}/hello"
    forbidden = {"error": "forbidden"}

    def asked(**how: str) -> str:
        query = f"?__user={how.pop('query')}" if "query" in how else ""
        assert service.call(url + query, **how).status == 200
        name: str = runner.last.json["user"]["user_name"]
        return name

    assert asked() == "reader"
    assert asked(cookie="algaenv-user=reader") == "reader"
    assert asked(cookie="algaenv-user=gone") == "reader"
    assert asked(query="reader", cookie="algaenv-user=nobody") == "reader"
    assert asked(x_algaenv_user="reader", cookie="algaenv-user=nobody") == "reader"
    for how in (
        {"x_algaenv_user": "who"},
        {"x_algaenv_user": "who", "cookie": "algaenv-user=reader"},
    ):
        answer = service.call(url, **how)
        denied(answer, 401, {"error": "Unauthorized"}, "gateway-user-unknown")
    assert service.call(f"{url}?__user=who").status == 401

    missing = "gateway-permission-missing"
    denied(service.call(url, b"", x_algaenv_user="reader"), 403, forbidden, missing)
    denied(service.call(url, x_algaenv_user="writer"), 403, forbidden, missing)
    denied(service.call(url, x_algaenv_user="nobody"), 403, forbidden, missing)
    assert service.call(url, b"", x_algaenv_user="writer").status == 200
    menu = service.call(url, x_algaenv_user="portal")
    denied(menu, 403, forbidden, "gateway-menu-missing")


@BOTH
@pytest.mark.parametrize("label", ["", "  ", None, 7])
def test_labels_that_are_none(
    service: Gateway, tables: Database, route_prefix: str, label: object
) -> None:
    it = install(tables, OZ, hooks={"clientPortalMenu": {"label": label}})
    answer = service.call(f"{route_prefix}/{it.slug}/hello", x_algaenv_user="client")
    denied(answer, 403, {"error": "forbidden"}, "gateway-menu-missing")


@BOTH
def test_the_portal(start: Start, tables: Database, route_prefix: str) -> None:
    it = install(tables, OZ, hooks=PORTAL)
    service = start({"users": USERS})
    assert service.call(f"{route_prefix}/{it.slug}/hello", x_algaenv_user="portal").status == 200
    assert (
        service.call(f"{route_prefix}/{it.slug}/hello", b"", x_algaenv_user="portal").status == 200
    )
    answer = service.call(f"{route_prefix}/{it.slug}/hello", x_algaenv_user="stray")
    denied(answer, 403, {"error": "forbidden"}, "gateway-client-unknown")


def test_checks_turned_off(start: Start, hello: Extension) -> None:
    off = ["extension:read", "extension:write", "client-portal-menu", "client-portal-client"]
    service = start({"users": USERS, "checks_off": off})
    for user in USERS:
        assert service.call(f"{DIRECT}/{hello.slug}/hello", x_algaenv_user=user).status == 200
        assert service.call(f"{DIRECT}/{hello.slug}/hello", b"", x_algaenv_user=user).status == 200


@BOTH
@pytest.mark.parametrize("header", ["x_alga_tenant", "x_tenant_id"])
def test_tenants(service: Gateway, hello: Extension, route_prefix: str, header: str) -> None:
    url = f"{route_prefix}/{hello.slug}/hello"
    assert service.call(url, **{header: OZ}).status == 200
    answer = service.call(url, **{header: "other"})
    denied(answer, 403, {"error": "tenant_mismatch"}, "gateway-tenant-mismatch")


@BOTH
def test_references(
    service: Gateway, hello: Extension, tables: Database, route_prefix: str
) -> None:
    for ref in (hello.registry, hello.install, hello.slug):
        for spelled in (ref, ref.upper()):
            assert service.call(f"{route_prefix}/{spelled}/hello").status == 200, spelled
    version_8 = hello.registry[:14] + "8" + hello.registry[15:]
    for ref in ("hello.world", "acme", version_8, "0" * 36, "a%2Fb", "%ff"):
        answer = service.call(f"{route_prefix}/{ref}/hello")
        denied(answer, 404, UNAVAILABLE, "gateway-extension-unknown")
    for ref in (f"%20{hello.registry}", "%00", "a%00b"):
        answer = service.call(f"{route_prefix}/{ref}/hello")
        denied(answer, 503, {"error": "access_policy_unavailable"}, "gateway-extension-unknown")


@BOTH
@pytest.mark.parametrize(
    ("enabled", "status"), [(False, "enabled"), (True, "disabled"), (True, "pending")]
)
def test_switched_off(
    service: Gateway, tables: Database, route_prefix: str, enabled: bool, status: str
) -> None:
    it = install(tables, OZ, enabled=enabled, status=status)
    answer = service.call(f"{route_prefix}/{it.slug}/hello")
    denied(answer, 404, UNAVAILABLE, "gateway-extension-disabled")


@BOTH
def test_another_tenants(service: Gateway, tables: Database, route_prefix: str) -> None:
    it = install(tables, tenant(tables, "Other"))
    for ref in (it.registry, it.install, it.slug):
        denied(
            service.call(f"{route_prefix}/{ref}/hello"),
            404,
            UNAVAILABLE,
            "gateway-extension-unknown",
        )


@BOTH
def test_products(service: Gateway, hello: Extension, tables: Database, route_prefix: str) -> None:
    tables.sql("UPDATE tenants SET product_code = 'algadesk'")
    answer = service.call(f"{route_prefix}/{hello.slug}/hello")
    assert (answer.status, answer.json["code"]) == (403, "PRODUCT_ACCESS_DENIED")
    tables.sql("DELETE FROM tenants")
    assert service.call(f"{route_prefix}/{hello.slug}/hello").status == 200


@BOTH
@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("GET", "/hello", True),
        ("GET", "/hello/", True),
        ("HEAD", "/hello", True),
        ("GET", "/headed", True),
        ("GET", "/items/a%20b", True),
        ("GET", "", True),
        ("GET", "/", True),
        ("DELETE", "/hello", False),
        ("GET", "/Hello", False),
        ("GET", "/hello/x", False),
        ("GET", "/items", False),
        ("GET", "/items/", False),
        ("GET", "/items/a%2Fb", False),
        ("GET", "/items%2Fa", True),
        ("GET", "/items/..", True),
        ("GET", "/items/%2e%2E", True),
        ("GET", "/items/../nothing", False),
        ("GET", "/items/./a", True),
        ("GET", "/items/a%5Cb", True),
        ("GET", "/hello%20", True),
        ("GET", "/hello%C2%A0", True),
        ("GET", "/%20hello", False),
        ("GET", "/items/%ff", False),
    ],
)
def test_endpoints(
    *, service: Gateway, hello: Extension, route_prefix: str, method: str, path: str, found: bool
) -> None:
    answer = service.call(f"{route_prefix}/{hello.slug}{path}", method=method)
    if found:
        assert answer.status == 200
    else:
        denied(answer, 404, {"error": "endpoint_not_found"}, "gateway-endpoint-undeclared")


@BOTH
def test_how_endpoints_are_declared(service: Gateway, tables: Database, route_prefix: str) -> None:
    it = install(tables, OZ)
    declared = [
        {"method": " get ", "path": " padded ", "handler": "h"},
        {"method": "GET", "path": "/colon/:", "handler": "h"},
        {"method": "GET", "path": "/without", "handler": ""},
        {"method": "GET", "path": "/nothing"},
        {"method": "GET", "path": " ", "handler": "h"},
        {"method": "BREW", "path": "/brew", "handler": "h"},
        None,
    ]
    text = json.dumps(declared)
    for column in (text, json.dumps(text)):
        tables.sql("UPDATE extension_version SET api_endpoints = %s", column)
        for path, status in (
            ("/padded", 200),
            ("/colon/x", 200),
            ("/colon/:", 200),
            ("/without", 404),
            ("/nothing", 404),
            ("/", 404),
            ("/brew", 404),
        ):
            assert service.call(f"{route_prefix}/{it.slug}{path}").status == status, path


@BOTH
def test_nothing_declared(service: Gateway, tables: Database, route_prefix: str) -> None:
    it = install(tables, OZ, endpoints=[])
    answer = service.call(f"{route_prefix}/{it.slug}/")
    denied(answer, 404, {"error": "endpoint_not_found"}, "gateway-endpoint-undeclared")


@BOTH
def test_the_database_goes_and_returns(
    service: Gateway, hello: Extension, tables: Database, route_prefix: str
) -> None:
    url = f"{route_prefix}/{hello.slug}/hello"
    # All that the pool may hold: every one of them is dead then.
    with ThreadPoolExecutor(2 * MAX_CONNECTIONS) as callers:
        answers = callers.map(lambda _: service.call(url).status, range(6 * MAX_CONNECTIONS))
        assert set(answers) == {200}
    tables.server.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{tables.name}'"
    )
    assert service.call(url).status == 200
    tables.sql("ALTER TABLE tenant_extension_install RENAME TO gone")
    try:
        answer = service.call(url, accept="application/problem+json")
    finally:
        tables.sql("ALTER TABLE gone RENAME TO tenant_extension_install")
    assert answer.status == 503
    assert answer.json["error"] == "access_policy_unavailable"
    assert answer.json["problem"]["code"] == "gateway-database-down"


SEGMENT = st.text(st.characters(exclude_characters="/", codec="utf-8"), max_size=6)


@given(st.lists(SEGMENT.filter(lambda it: not it.startswith(":")), min_size=1, max_size=4))
def test_a_path_matches_itself(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    assert match_endpoint([Endpoint("GET", path, "")], "GET", path)
    assert match_endpoint([Endpoint("GET", path, "")], "HEAD", path)
    assert match_endpoint([Endpoint("HEAD", path, "")], "GET", path)
    assert not match_endpoint([Endpoint("GET", path, "")], "POST", path)
    assert not match_endpoint([], "GET", path)


@given(
    st.lists(SEGMENT.filter(lambda it: it and it == trim(it)), min_size=1, max_size=4), st.data()
)
def test_a_name_takes_one_segment(segments: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(segments) - 1))
    plain = [part.lstrip(":") or "x" for part in segments]
    declared = Endpoint("GET", "/" + "/".join([*plain[:at], ":id", *plain[at + 1 :]]), "")
    assert match_endpoint([declared], "GET", "/" + "/".join(plain))
    assert not match_endpoint([declared], "GET", "/" + "/".join([*plain, "more"]))
    assert not match_endpoint(
        [declared], "GET", "/" + "/".join(plain[1:]) if len(plain) > 1 else "//"
    )


@pytest.mark.parametrize(
    ("body", "method", "rest"),
    [
        (b'{"__method":"put","a":1}', "PUT", b'{"a":1}'),
        (rb'{"\u005f_m\u0065thod":"PUT","a":1}', "PUT", b'{"a":1}'),
        (rb'{"a":"\u005f_method"}', "POST", rb'{"a":"\u005f_method"}'),
        (b'{"__METHOD":"PUT"}', "POST", b'{"__METHOD":"PUT"}'),
    ],
)
def test_a_body_names_the_method_however_it_is_spelled(
    body: bytes, method: str, rest: bytes
) -> None:
    assert override_method({}, body) == (method, {}, rest)
