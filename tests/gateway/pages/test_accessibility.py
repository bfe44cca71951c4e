"""What axe finds on our pages, in light and dark, and whether they fit a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import httpx
import pytest

from tests.gateway.pages.page_helpers import Shot, events, inside
from tests.gateway.pages.stub_site import NOTES, TROUBLE, Site
from tests.params import slow_params

if TYPE_CHECKING:
    from playwright.sync_api import Page

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PAGES = {
    "overview": "/",
    "calls": "/calls",
    "logs": f"/logs?extension={NOTES.registry_id}",
    "storage": f"/storage?extension={NOTES.registry_id}",
    "schedules": "/schedules",
    "invoices": "/invoices",
    "environment": "/environment",
    "msp": f"/msp/extensions/{TROUBLE.registry_id}",
    "client-portal": f"/client-portal/extensions/{NOTES.registry_id}",
    "problem": "/msp/extensions/nobody",
}


@pytest.mark.parametrize(
    "name", ["problem", *slow_params(*(it for it in PAGES if it != "problem"))]
)
def test_no_serious_fault_and_all_is_shown_without_scrolling_sideways(
    site: Site, page: Page, shot: Shot, name: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.goto(site.url + PAGES[name])
        if name in {"msp", "client-portal"}:
            inside(page)
            events(page, "message").first.wait_for() if name != "msp" else events(
                page, "policy"
            ).first.wait_for()
        else:
            # Its feed never rests.
            page.locator("#feed[data-tone=good]").wait_for()
        shot(page, f"axe-{name}-{scheme}")
        found = axe.Axe().run(page, options={"iframes": False}).response["violations"]
        serious = [it for it in found if it["impact"] in {"serious", "critical"}]
        details = [(it["id"], [node["html"] for node in it["nodes"]]) for it in serious]
        assert details == [], scheme

    page.set_viewport_size({"width": 375, "height": 720})
    page.goto(site.url + PAGES[name])
    shot(page, f"phone-{name}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


WIDTHS = (420, 1280)


@pytest.mark.slow
@pytest.mark.parametrize("user", ["msp", "client"])
@pytest.mark.parametrize("name", PAGES)
def test_every_page_fits_phones_and_desks_in_light_and_dark(
    site: Site, page: Page, shot: Shot, name: str, user: str
) -> None:
    from playwright.sync_api import expect

    # There is something to show.
    for path in ("echo", "echo?again=1", "trap"):
        method = "GET" if path == "trap" else "POST"
        httpx.request(method, f"{site.url}/api/ext-proxy/{TROUBLE.registry_id}/{path}")
    httpx.get(f"{site.url}/api/ext-proxy/{NOTES.registry_id}/notes")
    separator = "&" if "?" in PAGES[name] else "?"
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            page.goto(f"{site.url}{PAGES[name]}{separator}__user={user}")
            if name in {"msp", "client-portal"}:
                inside(page)
            else:
                page.locator("#feed[data-tone=good]").wait_for()
            for it in page.locator(".side [aria-current]").all():
                expect(it).to_be_in_viewport(ratio=0.9)
            shot(page, f"{name}-{user}-{width}-{scheme}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, scheme
