"""What the page does with messages of its frame, as the product's page was seen to do."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.gateway.pages.page_helpers import inside
from tests.gateway.pages.stub_site import SILENT, Site
from tests.gateway.recorded_cases import cases

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

QUIET_MS = 250
"""For a request or an answer that should not come."""
ANSWER_MS = 10_000
ANSWERED = "count => answers.length >= count"
RESIZED = "() => frameElement.style.height"
COLLECT = """
() => {
  window.answers = [];
  addEventListener("message", ({data}) => {
    if (data?.type !== "apiproxy_response") return;
    const {error, body} = data.payload ?? {};
    answers.push({request_id: data.request_id, error: Boolean(error), body: body ?? null});
  });
}"""


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    return {case["id"]: case["fact"] for case in cases("bridge-facts")}


def test_messages_are_answered_as_by_the_product(
    site: Site, page: Page, facts: dict[str, Any]
) -> None:
    from playwright.sync_api import TimeoutError

    requests: list[dict[str, Any]] = []

    def answer(route: Route) -> None:
        asked = route.request
        at = urlsplit(asked.url)
        url = at.path + (f"?{at.query}" if at.query else "")
        requests.append(
            {
                "method": asked.method,
                "url": re.sub(rf"/{SILENT.registry_id}(?=[/?]|$)", "/{extension}", url),
                "content_type": asked.headers.get("content-type"),
                "body": bool(asked.post_data_buffer),
            }
        )
        route.fulfill(status=200, body="ok")

    page.route("**/api/ext-proxy/**", answer)
    page.goto(site.page(SILENT))
    frame = inside(page)
    frame.evaluate(COLLECT)
    seen, expected = {}, {}
    for name, fact in facts.items():
        requests.clear()
        frame.evaluate("() => { answers.length = 0; frameElement.style.height = ''; }")
        frame.evaluate("message => parent.postMessage(message, location.origin)", fact["message"])
        with suppress(TimeoutError):
            if fact["answers"]:
                count = len(fact["answers"])
                frame.wait_for_function(ANSWERED, arg=count, timeout=ANSWER_MS)
            elif fact["height"]:
                frame.wait_for_function(RESIZED, timeout=ANSWER_MS)
            else:
                page.wait_for_timeout(QUIET_MS)
        expected[name] = {key: fact[key] for key in ("requests", "answers", "height")}
        seen[name] = {
            "requests": list(requests),
            "answers": frame.evaluate("() => answers"),
            "height": frame.evaluate("() => frameElement.style.height || null"),
        }
    assert seen == expected
