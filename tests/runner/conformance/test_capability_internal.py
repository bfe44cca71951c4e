"""6.0: redirects of the application server, and servers that do not answer well."""

from __future__ import annotations

from typing import Any

import pytest

from .calls import Caller
from .internal import Api
from .kinds import Kind, differs, settle
from .stub import Reply, said
from .test_capability_gates import CALLS, refused

BY_API = {
    "ext-storage": "storage.get",
    "ext-scheduler": "scheduler.list-schedules",
    "ext-clients": "clients.list-clients",
    "ext-services": "services.list-services",
}
FOUND: dict[str, Any] = {
    "ext-storage": {"value": "aGk=", "revision": 1},
    "ext-scheduler": {"schedules": []},
    "ext-clients": {"items": []},
    "ext-services": {"items": []},
}


@pytest.mark.parametrize(("api", "function"), BY_API.items())
class TestAnswers:
    @pytest.mark.parametrize(
        "reply",
        [
            pytest.param(Reply(200, b"no json"), id="6.0-no-json"),
            pytest.param(Reply(200, b'{"items": ['), id="6.0-cut-json"),
            pytest.param(Reply(200, b'{"a": "b"}', cut=True), id="6.0-cut-body"),
        ],
    )
    def test_6_0_what_cannot_be_read_is_internal(
        self, caller: Caller, api: str, function: str, reply: Reply
    ) -> None:
        assert Api(caller, api).gives(reply, CALLS[function]) == {"err": "internal"}

    def test_6_0_any_2xx_is_success(self, caller: Caller, api: str, function: str) -> None:
        given = Api(caller, api).gives(said(FOUND[api], 201), CALLS[function])
        assert "ok" in given

    def test_6_0_redirects_to_the_same_server(
        self, caller: Caller, api: str, function: str
    ) -> None:
        moved = f"/moved/{caller.install}"
        caller.peers.app.on(moved, said(FOUND[api]))
        server = Api(caller, api)
        given = server.gives(Reply(307, headers=(("location", moved),)), CALLS[function])
        assert "ok" in given
        (asked,) = caller.peers.app.seen(moved)
        assert asked.method == "POST"
        assert asked.body == server.asked[0].body
        assert asked.all("x-runner-auth") == ["conformance-token"]

    def test_6_0_a_303_makes_a_get(self, caller: Caller, api: str, function: str) -> None:
        moved = f"/moved/{caller.install}"
        caller.peers.app.on(moved, said(FOUND[api]))
        Api(caller, api).gives(Reply(303, headers=(("location", moved),)), CALLS[function])
        (asked,) = caller.peers.app.seen(moved)
        assert (asked.method, asked.body) == ("GET", b"")

    def test_6_0_redirects_to_another_server(
        self, caller: Caller, kind: Kind, api: str, function: str
    ) -> None:
        moved = f"/stolen/{caller.install}"
        caller.peers.web.on(moved, said(FOUND[api]))
        location = (("location", f"{caller.peers.elsewhere}{moved}"),)
        Api(caller, api).gives(Reply(307, headers=location), CALLS[function])
        tokens = [asked.header("x-runner-auth") for asked in caller.peers.web.seen(moved)]
        details = [asked.header("referer") for asked in caller.peers.web.seen(moved)]
        leaked = "conformance-token" in tokens or any(details)
        assert leaked == settle(
            kind, differs("redirects-carry-no-secrets", ours=False, original=True)
        )


def test_6_9_invoices_meet_redirects_too(caller: Caller) -> None:
    moved = f"/moved/{caller.install}"
    caller.peers.app.on(moved, said({"success": True}))
    given = Api(caller, "ext-invoicing").gives(
        Reply(308, headers=(("location", moved),)), CALLS["invoicing.create-manual-invoice"]
    )
    assert given["ok"]["success"] is True


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        pytest.param(Reply(200, b"no json"), "invalid JSON response", id="6.9-no-json"),
        pytest.param(Reply(200), "invalid response", id="6.9-empty"),
        pytest.param(Reply(200, b" \n"), "invalid response", id="6.9-blank"),
        pytest.param(Reply(200, b"[1]"), "invalid response", id="6.9-array"),
        pytest.param(Reply(200, b"null"), "invalid response", id="6.9-null"),
        pytest.param(Reply(500, b"out of order"), "http 500: out of order", id="6.9-500"),
        pytest.param(Reply(404), "http 404: ", id="6.9-404-empty"),
        pytest.param(
            said({"success": False, "error": "x"}, 400),
            'http 400: {"success": false, "error": "x"}',
            id="6.9-400",
        ),
    ],
)
def test_6_9_failures_of_invoices(caller: Caller, *, reply: Reply, error: str) -> None:
    given = Api(caller, "ext-invoicing").gives(reply, CALLS["invoicing.create-manual-invoice"])
    refused(given, error=error)
