"""The list of extensions and of invoices, and pages that are not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from algaenv.gateway.settings import GatewayConfig
from tests.gateway.pages.page_helpers import Shot
from tests.gateway.pages.stub_site import (
    BARE,
    CLIENT,
    HELLO,
    MARKUP,
    NASTY,
    NOTES,
    OFF,
    SERVED,
    SERVICE,
    TOKEN,
    Site,
    serving,
)
from tests.servers import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture
def client(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url) as made:
        yield made


def test_the_sidebars_show_what_the_product_would(site: Site, page: Page, shot: Shot) -> None:
    from playwright.sync_api import expect

    page.goto(site.url)
    msp = page.get_by_role("navigation", name="MSP sidebar")
    expect(msp.get_by_role("link", name="Hello World")).to_have_attribute(
        "href", f"/msp/extensions/{HELLO.registry_id}"
    )
    expect(msp.get_by_role("link", name="Switched off")).to_have_count(0)
    portal = page.get_by_role("navigation", name="Client portal sidebar")
    expect(portal.get_by_role("link")).to_have_text(["My notes"])
    listed = page.locator(".extensions tbody tr")
    expect(listed.filter(has_text="off 0.1.0")).to_contain_text("disabled (status disabled)")
    expect(listed.filter(has_text=BARE.name)).to_contain_text("It has no bundle.")
    shot(page, "extensions")
    msp.get_by_role("link", name="Notes", exact=True).click()
    expect(page).to_have_url(site.page(NOTES))


def test_names_of_manifests_are_text(site: Site, page: Page, client: httpx.Client) -> None:
    from playwright.sync_api import expect

    page.goto(site.url)
    expect(page.get_by_role("rowheader").filter(has_text=MARKUP)).to_be_visible()
    expect(page.locator("img")).to_have_count(0)
    page.goto(site.page(NASTY))
    expect(page.get_by_role("heading", level=1)).to_contain_text(MARKUP)
    expect(page.locator("main img")).to_have_count(0)
    assert page.title().startswith(f"\"'>{MARKUP}")
    missing = client.get(f"/msp/extensions/{MARKUP}")
    assert missing.status_code == 404
    assert "<img" not in missing.text


def test_invoices_are_listed(site: Site, page: Page, client: httpx.Client, shot: Shot) -> None:
    from playwright.sync_api import expect

    page.goto(f"{site.url}/invoices")
    expect(page.locator("main").get_by_role("status")).to_have_text(
        "No extension has created an invoice yet."
    )
    item = {"serviceId": SERVICE["serviceId"], "quantity": 2, "description": MARKUP, "rate": 950}
    made = client.post(
        f"/api/internal/ext-invoicing/install/{NOTES.install_id(site.tenant)}",
        headers={"x-runner-auth": TOKEN},
        json={
            "operation": "createManualInvoice",
            "clientId": CLIENT["clientId"],
            "items": [item],
            "dueDate": "2026-12-24",
        },
    )
    assert made.status_code == 201, made.text
    page.reload()
    row = page.get_by_role("row").nth(1)
    number = made.json()["invoice"]["invoiceNumber"]
    expect(row.get_by_role("rowheader")).to_have_text(number)
    expect(row.get_by_role("cell")).to_have_text(
        [
            "draft",
            "Emerald City",
            re.compile("due 2026-12-24"),
            f"2 × {MARKUP} at 950",
            *("1900", "0", "1900"),
        ]
    )
    shot(page, "invoices")


@pytest.mark.parametrize("path", ["/", "/invoices", f"/msp/extensions/{HELLO.registry_id}"])
def test_nothing_foreign_runs_on_our_pages(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
    assert "unsafe" not in policy
    assert not re.search(
        r"<script(?![^>]* src=\"/algaenv/assets/)|<style|\bstyle=|\bon\w+=\"", answer.text
    )
    for asset in set(re.findall(r"/algaenv/assets/[\w./]+", answer.text)):
        file = client.get(asset)
        assert file.status_code == 200
        assert file.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("ref", ["algaenv.hello", "Algaenv.Hello", HELLO.registry_id.upper()])
def test_other_names_lead_to_the_registry_id(client: httpx.Client, ref: str) -> None:
    answer = client.get(f"/client-portal/extensions/{ref}")
    assert answer.status_code == 307
    assert answer.headers["location"] == f"/client-portal/extensions/{HELLO.registry_id}"


@pytest.mark.parametrize(
    "path", ["/algaenv/assets/../rendering.py", "/algaenv/assets/%2e%2e/frame.py"]
)
def test_only_assets_are_served(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_an_unknown_extension(client: httpx.Client, page: Page, site: Site, shot: Shot) -> None:
    page.goto(f"{site.url}/msp/extensions/nobody")
    shot(page, "problem")
    answer = client.get("/msp/extensions/nobody")
    assert answer.status_code == 404
    assert "gateway-extension-unknown" in answer.text


def test_an_extension_without_a_bundle(client: httpx.Client) -> None:
    answer = client.get(f"/msp/extensions/{BARE.registry_id}")
    assert answer.status_code == 409
    assert "gateway-bundle-missing" in answer.text


def test_the_user_of_the_portal_is_kept_in_a_cookie(client: httpx.Client) -> None:
    path = f"/client-portal/extensions/{NOTES.registry_id}"
    answer = client.get(path)
    assert "algaenv-user=client; HttpOnly; Path=/; SameSite=lax" in answer.headers["set-cookie"]
    assert 'data-user="msp"' in client.get(path, params={"__user": "msp"}).text
    unknown = client.get(path, params={"__user": "nobody"})
    assert 'data-user="client"' in unknown.text


def test_a_disabled_extension_still_has_its_page(client: httpx.Client) -> None:
    answer = client.get(f"/msp/extensions/{OFF.registry_id}")
    assert answer.status_code == 200
    assert 'data-code="extension-disabled"' in answer.text


def test_the_bundle_of_an_extension_with_a_server(client: httpx.Client) -> None:
    path = f"/msp/extensions/{SERVED.registry_id}"
    assert 'data-address="/runner/ext-ui/' in client.get(path, params={"source": "bundle"}).text
    assert "/?path=/&amp;tenant=" in client.get(path).text


@pytest.mark.slow
def test_a_database_that_is_down(site: Site) -> None:
    from algaenv.gateway.app import create_app

    nowhere = f"postgresql://alga:secret@127.0.0.1:{free_port()}/alga"
    config = GatewayConfig.read({**site.variables, "DATABASE_URL": nowhere})
    with serving(create_app(config)) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}/", timeout=20)
    assert answer.status_code == 503
    assert "gateway-database-down" in answer.text
    assert "secret" not in answer.text
