"""The pages that an author keeps open: overview, calls, logs, storage and schedules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from algaenv.gateway.pages.calls import steps
from algaenv.gateway.pages.rendering import line_path
from tests.gateway.pages.page_helpers import Shot, events
from tests.gateway.pages.stub_site import (
    HELLO,
    MARKUP,
    NASTY,
    NOTES,
    TOKEN,
    TROUBLE,
    Extension,
    Site,
)

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


@pytest.fixture
def client(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url) as made:
        yield made


def internal(site: Site, client: httpx.Client, api: str, extension: Extension, **body: Any) -> Any:
    answer = client.post(
        f"/api/internal/ext-{api}/install/{extension.install_id(site.tenant)}",
        headers={"x-runner-auth": TOKEN},
        json=body,
    )
    assert answer.status_code < 400, answer.text
    return answer.json()


def paths(chart: Locator) -> list[str]:
    """The lines of a timeline: the 95th percentile, and the median."""
    found = [it.get_attribute("d") or "" for it in chart.locator(".spark path").all()]
    assert len(found) == 2
    return found


@pytest.mark.slow
def test_the_page_of_an_extension_draws_its_calls(
    site: Site, page: Page, client: httpx.Client, shot: Shot
) -> None:
    from playwright.sync_api import expect

    page.goto(f"{site.url}/msp/extensions/{NASTY.registry_id}")
    load = page.get_by_role("region", name="Calls of the last 15 min")
    expect(load).to_contain_text("None. They are drawn here as they come.")
    page.goto(f"{site.url}/msp/extensions/{TROUBLE.registry_id}")
    before = load.locator("dd").first
    client.post(f"/api/ext-proxy/{TROUBLE.registry_id}/echo", json={})
    expect(before).to_have_text(re.compile(r"[1-9]\d*"))
    count = int(before.inner_text())
    client.get(f"/api/ext-proxy/{TROUBLE.registry_id}/trap")
    # The page is not loaded again.
    expect(before).to_have_text(str(count + 1))
    expect(load.locator(".spark rect.failed").first).to_be_attached()
    assert all(it.startswith("M") for it in paths(load))
    shot(page, "workbench-load")


def test_a_line_is_broken_where_nothing_is_known() -> None:
    found = line_path({0: 10.0, 1: 5.0, 3: None, 29: 20.0}, 30, 10.0)
    assert found == "M1.5 1.5L5.5 12.0M114.5 1.5h4"
    assert line_path({4: 0.0}, 30, 0.0) == "M15.6 22.5h4"
    assert line_path({}, 30, 1.0) == ""


def test_the_overview_counts_calls_and_follows_them(
    site: Site, page: Page, client: httpx.Client, shot: Shot
) -> None:
    from playwright.sync_api import expect

    page.goto(site.url)
    services = page.get_by_role("region", name="Services").get_by_role("listitem")
    expect(services.filter(has_text="database")).to_contain_text("ready")
    # The stub of the runner has no health.
    expect(services.filter(has_text="runner")).to_contain_text("does not answer: status 404")
    row = page.locator(f"tr[data-extension='{TROUBLE.registry_id}']")
    row.locator("summary").click()
    expect(row.get_by_text("POST /echo")).to_be_visible()
    client.post(f"/api/ext-proxy/{TROUBLE.registry_id}/echo", json={})
    client.get(f"/api/ext-proxy/{TROUBLE.registry_id}/trap")
    latest = page.get_by_role("region", name="Table of calls")
    expect(latest.get_by_role("row").filter(has_text="GET /trap").first).to_contain_text("500")
    expect(row.locator(".spark rect.failed").first).to_be_attached()
    picture = row.get_by_role("img", name="Calls of")
    expect(picture).to_have_accessible_name(
        re.compile(r"\d+ calls, \d+ errors?, median .* in 15 min")
    )
    assert all(it.startswith("M") for it in paths(row))
    # What was opened stays so.
    expect(row.get_by_text("POST /echo")).to_be_visible()
    shot(page, "workbench-overview")


def test_a_call_is_sent_as_a_user_and_explained(
    site: Site, page: Page, client: httpx.Client, shot: Shot
) -> None:
    from playwright.sync_api import expect

    page.goto(f"{site.url}/calls?extension={TROUBLE.registry_id}")
    form = page.locator("#send")
    expect(form.get_by_label("Path and query")).to_have_value("/echo")
    form.get_by_label("Body").fill(f'{{"text": {json.dumps(MARKUP)}}}')
    form.get_by_label("User").select_option("client")
    form.get_by_role("button", name="Send").click()
    answer = page.locator("#answer")
    # Its manifest asks for no place in the client portal.
    expect(answer.locator(".badge")).to_have_text("403")
    form.get_by_label("User").select_option("msp")
    form.get_by_role("button", name="Send").click()
    expect(answer.locator(".badge")).to_have_text("200")
    expect(answer.locator(".body")).to_contain_text("<img src=")
    expect(page.locator("img")).to_have_count(0)

    form.get_by_label("Endpoint").select_option("GET /trap")
    form.get_by_role("button", name="Send").click()
    expect(answer.locator(".badge")).to_have_text("500")
    expect(answer.locator(".why")).to_contain_text("unreachable was reached")
    shot(page, "workbench-calls")
    answer.get_by_role("link", name="What happened").click()
    tree = page.get_by_role("region", name="What happened").get_by_role("listitem")
    expect(tree.nth(0)).to_contain_text("The gateway let it through as msp")
    expect(tree.nth(1)).to_contain_text("The runner ran the handler")
    expect(tree.nth(2)).to_contain_text("about to give up")
    expect(tree.nth(3)).to_contain_text("The caller got 500")
    shot(page, "workbench-call")

    page.goto(f"{site.url}/calls")
    page.get_by_label("only those that failed").check()
    page.wait_for_url("**failed=1")
    rows = page.locator("#live tbody tr")
    expect(rows.filter(has_text="GET /trap").first).to_be_visible()
    expect(rows.filter(has_text="/echo")).to_have_count(0)


def test_a_call_that_is_not_there(client: httpx.Client) -> None:
    for named in ("0193a0c4-0000-7000-8000-000000000000", "nobody", "a%00b"):
        answer = client.get(f"/calls/{named}")
        assert answer.status_code == 404
        assert "gateway-call-unknown" in answer.text


def test_logs_show_the_past_and_what_happens(
    site: Site, page: Page, client: httpx.Client, shot: Shot
) -> None:
    from playwright.sync_api import expect

    client.get(f"/api/ext-proxy/{NOTES.registry_id}/notes", headers={"x-request-id": "before"})
    page.goto(f"{site.url}/logs?extension={NOTES.registry_id}")
    expect(events(page, "call", "GET /notes").first).to_be_visible()
    client.get(f"/api/ext-proxy/{NOTES.registry_id}/notes", headers={"x-request-id": f"r {MARKUP}"})
    page.get_by_label("Text").fill("onerror")
    expect(page.locator("#events li:visible")).to_have_count(1)
    expect(page.locator("img")).to_have_count(0)
    page.get_by_label("Text").fill("")
    internal(site, client, "storage", NOTES, operation="put", namespace="n", key="k", value=1)
    expect(events(page, "host", "n/k").first).to_contain_text("storage put")
    shot(page, "workbench-logs")


def test_records_are_read_edited_and_deleted(
    site: Site, page: Page, client: httpx.Client, shot: Shot
) -> None:
    from playwright.sync_api import expect

    for key, value in (("first", {"text": MARKUP}), ("second", [1, 2])):
        internal(
            site, client, "storage", HELLO,
            operation="put", namespace="notes", key=key, value=value,
        )  # fmt: skip
    page.goto(f"{site.url}/storage?extension={HELLO.registry_id}")
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="first"))
    expect(row.locator(".value")).to_have_text(json.dumps({"text": MARKUP}))
    expect(page.locator("img")).to_have_count(0)
    shot(page, "workbench-storage")
    row.get_by_text("Edit").click()
    row.get_by_label("Value (JSON)").fill('{"text": 7')
    row.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("the value is no JSON")
    row.get_by_text("Edit").click()
    row.get_by_label("Value (JSON)").fill('{"text": 7}')
    row.get_by_label("Time to live, s").fill("600")
    row.get_by_role("button", name="Save").click()
    expect(row.locator(".value")).to_have_text('{"text": 7}')
    expect(row.get_by_text("in 10 min")).to_be_visible()
    page.once("dialog", lambda it: it.dismiss())
    row.get_by_role("button", name="Delete first").click()
    expect(row).to_have_count(1)
    page.once("dialog", lambda it: it.accept())
    row.get_by_role("button", name="Delete first").click()
    expect(row).to_have_count(0)
    expect(page.get_by_role("rowheader", name="second")).to_be_visible()
    page.get_by_text("Add a record").click()
    added = page.locator("form").filter(has=page.get_by_role("button", name="Add", exact=True))
    added.get_by_label("Key", exact=True).fill("third")
    added.get_by_label("Value (JSON)").fill("3")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("rowheader", name="third")).to_be_visible()
    listed = internal(site, client, "storage", HELLO, operation="list", namespace="notes")
    assert [it["key"] for it in listed["items"]] == ["second", "third"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"key": "a/b", "value": "1"}, "must not contain"),
        ({"key": "k", "value": "1", "revision": "9"}, "ifRevision did not match"),
        ({"key": "", "value": "1"}, "key: "),
        ({"key": "k", "value": f'"{"x" * 70_000}"'}, "too large|64"),
        ({"key": "k", "value": "1", "ttl": "soon"}, "the time to live is no JSON"),
        ({"key": "k", "value": "1" * 600_000}, "512 KiB"),
    ],
)
def test_what_the_api_refuses_the_form_does(
    client: httpx.Client, fields: dict[str, str], reason: str
) -> None:
    answer = client.post(
        "/storage",
        params={"extension": NASTY.registry_id},
        data={"action": "put", "namespace": "n", **fields},
    )
    assert answer.status_code == 400
    assert any(it in answer.text for it in reason.split("|"))


def test_another_site_changes_nothing(client: httpx.Client) -> None:
    answer = client.post(
        "/storage",
        params={"extension": HELLO.registry_id},
        data={"action": "delete", "namespace": "notes", "key": "second"},
        headers={"origin": "http://127.0.0.1:1"},
    )
    assert answer.status_code == 403


def test_a_schedule_is_run_at_once(
    site: Site, page: Page, client: httpx.Client, shot: Shot
) -> None:
    from playwright.sync_api import expect

    internal(
        site, client, "scheduler", NOTES,
        operation="create", endpoint="GET /notes", cron="0 4 1 1 *", name=MARKUP, timezone="UTC",
    )  # fmt: skip
    page.goto(f"{site.url}/schedules")
    row = page.get_by_role("row").filter(has_text="0 4 1 1 *")
    expect(row).to_contain_text("never")
    expect(page.locator("img")).to_have_count(0)
    row.get_by_role("button").click()
    expect(page.locator("main").get_by_role("status")).to_contain_text("The run succeeded")
    expect(row).to_contain_text("success")
    row.locator("summary").click()
    shot(page, "workbench-schedules")
    row.get_by_role("link", name="events").click()
    expect(page.get_by_text("The run ended: success")).to_be_visible()
    for named in ("nobody", "0193a0c4-0000-7000-8000-000000000000"):
        answer = client.post(f"/schedules/{named}/run")
        assert "there is no such schedule" in answer.text


def test_settings_are_shown_without_secrets(site: Site, client: httpx.Client) -> None:
    answer = client.get("/environment")
    assert site.tenant in answer.text
    assert "storage-list-skips" in answer.text
    password = httpx.URL(site.variables["DATABASE_URL"]).password
    assert password
    assert password not in answer.text
    assert TOKEN not in answer.text


def test_an_address_that_is_none_gets_a_page_for_people(client: httpx.Client) -> None:
    answer = client.get("/nowhere", headers={"accept": "text/html,*/*"})
    assert answer.status_code == 404
    assert "gateway-page-unknown" in answer.text
    assert client.get("/nowhere").json() == {"error": "not_found"}


def test_all_of_it_is_reached_by_the_keyboard(site: Site, page: Page) -> None:
    from playwright.sync_api import expect

    page.goto(site.url)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Calls", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/calls")


def test_host_calls_are_parts_of_the_run() -> None:
    ended = {"type": "call-ended", "status": 200, "ms": 5.0, "runner_ms": 4.0}
    calls = [["storage.get", 1.0, 2.5, 11, 7, "missing", 0, "n/k"], ["http.fetch"]]
    trace = {"times": {"queued": 0.0, "run": 3.0}, "calls": calls, "more": 2}
    found = steps([{**ended, "trace": trace}])
    assert [(it.title, it.detail, it.tone, it.within) for it in found] == [
        ("The runner ran the handler", "run 3 ms", "", False),
        ("storage.get n/k", "missing (11 B sent, 7 B received)", "warn", True),
        ("2 more host calls", "", "", True),
        ("The caller got 200", "", "good", False),
    ]
    others: list[object] = [None, [], {"calls": 7}, {"times": {"run": "long"}}]
    for other in others:
        assert len(steps([{**ended, "trace": other}])) == 2
