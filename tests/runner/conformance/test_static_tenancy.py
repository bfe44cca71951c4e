"""4.2, 4.3, 8: whose page it is, and whether they may see it."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest

from tests.runner.archives import INDEX

from .asking import Runner
from .conftest import Runners
from .kinds import Kind, differs, settle
from .pages import NO_STORE, Page
from .peers import AUTH_KEY, FILE_KEY, Peers
from .stub import Reply, said

YES, NO = said({"valid": True}), said({"valid": False})


@pytest.fixture
def page(runner: Runner, peers: Peers) -> Page:
    return Page.fresh(runner, peers)


def _key(page: Page, tenant: str) -> str:
    digest = page.bundle.digest.hex
    return f"/bundles/tenants/{tenant}/extensions/{page.extension}/sha256/{digest}/bundle.tar.zst"


# Who it is: without validation, the key in the store tells


@pytest.mark.parametrize(
    ("query", "header", "tenant"),
    [
        pytest.param("?tenant=q", "h", "q", id="4.3-query-before-header"),
        pytest.param("?tenant=q", None, "q", id="4.3-query"),
        pytest.param("", "h", "h", id="4.3-header"),
        pytest.param("?tenant=a%20b%2Bc", None, "a b+c", id="4.3-query-encoded"),
        pytest.param("?tenant=a+b", None, "a b", id="4.3-query-plus"),
    ],
)
def test_4_3_query_and_header(page: Page, *, query: str, header: str | None, tenant: str) -> None:
    who = {"x-tenant-id": header} if header else {}
    answer = page.get(f"index.html{query}", who, tenant=False)
    assert (answer.status, answer.body) == (200, INDEX)
    assert [path.replace("%20", " ").replace("%2B", "+") for path in page.downloads] == [
        _key(page, tenant)
    ]


def test_4_3_an_empty_query_hides_the_header(page: Page, peers: Peers) -> None:
    host = f"h{uuid.uuid4().hex}.test"
    peers.app.on(host, said({"tenant_id": "of-host"}))
    page.get("index.html?tenant=", {"x-tenant-id": "of-header", "host": f"{host}:80"}, tenant=False)
    assert page.downloads == [_key(page, "of-host")]


def test_4_3_the_host_tells_when_nothing_else_does(page: Page, peers: Peers) -> None:
    host = f"h{uuid.uuid4().hex}.test"
    peers.app.on(host, said({"tenant_id": "of-host"}))
    assert page.get(headers={"host": f"{host}:8080"}, tenant=False).status == 200
    assert page.downloads == [_key(page, "of-host")]
    (asked,) = peers.app.seen(host)
    assert (asked.path, asked.query["host"]) == ("/api/installs/lookup-by-host", [host])
    assert asked.header("x-api-key") == AUTH_KEY


@pytest.mark.profile("strict")
def test_8_the_key_of_the_fallback_lookup(page: Page, peers: Peers, kind: Kind) -> None:
    host = f"h{uuid.uuid4().hex}.test"
    peers.app.on(host, said({"tenant_id": "of-host"}))
    page.get(headers={"host": host}, tenant=False)
    (asked,) = peers.app.seen(host)
    expected = differs("the-key-goes-along", ours=FILE_KEY, original=None)
    assert asked.header("x-api-key") == settle(kind, expected)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(404), id="4.3-404"),
        pytest.param(Reply(500), id="4.3-500"),
        pytest.param(Reply(200, b"no json"), id="4.3-no-json"),
        pytest.param(said({"tenant_id": 5}), id="4.3-number"),
        pytest.param(said({}), id="4.3-no-field"),
    ],
)
def test_4_3_failures_of_the_lookup_are_silent(page: Page, peers: Peers, reply: Reply) -> None:
    host = f"h{uuid.uuid4().hex}.test"
    peers.app.on(host, reply)
    answer = page.get(headers={"host": host}, tenant=False)
    assert (answer.status, answer.body) == (500, b'{"code":"extract_failed"}')


def test_4_2_without_validation_and_tenant(page: Page, kind: Kind) -> None:
    page.peers.store.forget()
    answer = page.get(tenant=False)
    assert (answer.status, answer.json) == (500, {"code": "extract_failed"})
    expected: Any = differs("no-fetch-without-a-tenant", ours=[], original=[_key(page, "")])
    assert page.downloads == settle(kind, expected)


# Hints


def test_4_3_assets_follow_their_page(page: Page) -> None:
    assert page.get(f"index.html?tenant={page.tenant}", tenant=False).status == 200
    host = f"h{uuid.uuid4().hex}.test"
    assert page.get("assets/app.js", {"host": host}, tenant=False).status == 200
    assert page.peers.app.seen(host) == []


@pytest.mark.profile("strict")
def test_4_3_assets_follow_their_page_when_the_registry_decides(page: Page) -> None:
    page.peers.app.on(page.tenant, YES)
    assert page.get(f"index.html?tenant={page.tenant}", tenant=False).status == 200
    for _ in range(4):
        assert page.get("assets/app.js", tenant=False).status == 200
    upper = page.bundle.digest.hex.upper()
    answer = page.runner.ask(f"/ext-ui/{page.extension}/sha256:{upper}/assets/app.js")
    assert answer.status == 200


@pytest.mark.profile("strict")
def test_4_3_hints_belong_to_an_extension_and_a_hash(page: Page) -> None:
    page.peers.app.on(page.tenant, YES)
    page.get(f"index.html?tenant={page.tenant}", tenant=False)
    other = f"/ext-ui/{page.extension}-other/{page.bundle.digest.prefixed}/index.html"
    assert page.runner.ask(other).status == 404


@pytest.mark.profile("strict")
def test_4_3_who_may_break_an_open_page(page: Page, kind: Kind) -> None:
    page.peers.app.on(page.tenant, YES)
    page.get(f"index.html?tenant={page.tenant}", tenant=False)
    intruder = f"intruder-{uuid.uuid4().hex}"
    page.peers.app.on(intruder, NO)
    assert page.get(f"index.html?tenant={intruder}", tenant=False).status == 404
    expected = differs("tenants-are-remembered-once-served", ours=200, original=404)
    assert page.get("assets/app.js", tenant=False).status == settle(kind, expected)


@pytest.mark.profile("strict")
def test_4_3_the_last_tenant_that_was_served_counts(page: Page) -> None:
    second = f"second-{page.tenant}"
    page.peers.app.on(page.tenant, YES)
    for tenant in (page.tenant, second):
        assert page.get(f"index.html?tenant={tenant}", tenant=False).status == 200
    page.peers.app.on(f"tenant={page.tenant}&", NO)
    for _ in range(4):
        assert page.get("assets/app.js", tenant=False).status == 200
    asked = page.peers.app.seen("validate")
    assert [one.query["tenant"] for one in asked[2:]] == [[second]] * len(asked[2:])


# Whether they may see it


@pytest.mark.profile("strict")
def test_8_the_validation(page: Page) -> None:
    page.peers.app.on(page.tenant, YES)
    before = time.time() * 1000
    upper = f"sha256:{page.bundle.digest.hex.upper()}"
    target = f"/ext-ui/{page.extension}/{upper}/index.html"
    assert page.runner.ask(target, {"x-tenant-id": page.tenant}).status == 200
    (asked,) = page.peers.app.seen(page.tenant)
    assert (asked.method, asked.path) == ("GET", "/api/installs/validate")
    assert set(asked.query) == {"tenant", "extension", "hash", "ts"}
    assert asked.query["tenant"] == [page.tenant]
    assert asked.query["extension"] == [page.extension]
    assert asked.query["hash"] == [upper]
    assert before - 1000 <= int(asked.query["ts"][0]) <= time.time() * 1000 + 1000
    assert asked.header("x-api-key") == FILE_KEY


@pytest.mark.profile("strict")
@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(NO, id="8-no"),
        pytest.param(said({}), id="8-no-field"),
        pytest.param(said({"valid": "true"}), id="8-text"),
        pytest.param(said({"valid": 1}), id="8-number"),
        pytest.param(said({"valid": None}), id="8-null"),
        pytest.param(Reply(200, b"no json"), id="8-no-json"),
        pytest.param(said({"valid": True}, 404), id="8-404"),
        pytest.param(said({"valid": True}, 500), id="8-500"),
        pytest.param(said({"valid": True}, wait=1.2), id="8-after-750-ms"),
    ],
)
def test_8_everything_but_yes_is_no(page: Page, kind: Kind, reply: Reply) -> None:
    page.peers.app.on(page.tenant, reply)
    answer = page.get()
    assert (answer.status, answer.body) == (404, b"")
    assert answer.headers["cache-control"] == settle(kind, NO_STORE)
    assert page.downloads == []


@pytest.mark.profile("strict")
def test_8_any_2xx_may_say_yes(page: Page) -> None:
    page.peers.app.on(page.tenant, said({"valid": True, "more": 1}, 203))
    assert page.get().status == 200


@pytest.mark.profile("strict")
def test_8_yes_is_remembered(page: Page, runners: Runners) -> None:
    page.peers.app.on(page.tenant, YES)
    for _ in range(12):
        assert page.get().status == 200
    # Once for each process that answers.
    assert 1 <= len(page.peers.app.seen(page.tenant)) <= 8
    page.peers.app.on(page.tenant, NO)
    asked = len(page.peers.app.seen(page.tenant))
    for _ in range(4):
        page.get("assets/app.js")
    assert len(page.peers.app.seen(page.tenant)) <= asked + 7


@pytest.mark.profile("strict")
@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        pytest.param(NO, 6.0, id="8-after-a-no"),
        pytest.param(Reply(500), 0.0, id="8-after-a-failure"),
    ],
)
def test_8_how_long_a_no_lasts(page: Page, kind: Kind, *, reply: Reply, seconds: float) -> None:
    page.peers.app.on(page.tenant, reply)
    assert page.get().status == 404
    page.peers.app.on(page.tenant, YES)
    until = time.monotonic() + seconds
    while (status := page.get().status) != 200 and time.monotonic() < until:
        time.sleep(0.05)
    assert status == settle(kind, differs("refusals-are-short", ours=200, original=404))


@pytest.mark.profile("strict")
def test_4_2_strict_pages_need_a_tenant(page: Page, kind: Kind) -> None:
    answer = page.get(tenant=False)
    assert (answer.status, answer.body) == (404, b"")
    assert answer.headers["cache-control"] == settle(kind, NO_STORE)
    assert page.downloads == []


@pytest.mark.profile("strict")
def test_4_1_the_registry_comes_before_the_path(page: Page) -> None:
    page.peers.app.on(page.tenant, NO)
    assert page.get("../secret.txt").status == 404


@pytest.mark.profile("dead")
def test_8_no_registry_is_no(page: Page) -> None:
    assert page.get().status == 404


# The two parsers of one flag


@pytest.mark.profile("configured")
def test_4_2_yes_needs_a_tenant_but_asks_nobody(page: Page) -> None:
    page.peers.app.on(page.tenant, NO)
    assert page.get(tenant=False).status == 404
    assert page.get().status == 200
    assert page.peers.app.seen("validate") == []


@pytest.mark.profile("closed")
def test_4_2_true_with_blanks_is_not_strict_for_pages(page: Page) -> None:
    page.peers.app.on(page.tenant, NO)
    assert page.get().status == 200
    assert page.peers.app.seen("validate") == []


@pytest.mark.parametrize(
    ("value", "without_tenant", "asks"),
    [
        pytest.param("true", 404, True, id="4.2-true"),
        pytest.param("TRUE", 404, True, id="4.2-TRUE"),
        pytest.param("1", 404, False, id="4.2-1"),
        pytest.param("no", 500, False, id="4.2-no"),
        pytest.param("", 500, False, id="4.2-empty"),
    ],
)
def test_4_2_values_of_the_flag(
    runners: Runners, peers: Peers, *, value: str, without_tenant: int, asks: bool
) -> None:
    service = runners.start(
        EXT_STATIC_STRICT_VALIDATION=value, EXT_CACHE_ROOT=str(peers.folder / f"flag-{value}")
    )
    runner = Runner("127.0.0.1", service.port, peers.folder)
    page = Page.fresh(runner, peers)
    peers.app.on(page.tenant, YES)
    peers.store.on(page.bundle.digest.hex, Reply(404))
    assert page.get(tenant=False).status == without_tenant
    peers.store.on(page.bundle.digest.hex, Reply(body=page.bundle.archive))
    assert page.get().status == 200
    assert bool(peers.app.seen(page.tenant)) is asks
