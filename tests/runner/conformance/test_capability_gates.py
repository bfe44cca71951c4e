"""6.0: what each function gives without its capability and without an installation."""

from __future__ import annotations

from typing import Any

import pytest

from .calls import ALL, DEFAULTS, USER, Caller, Json, do, envelope
from .internal import Api
from .kinds import Kind, differs, settle
from .stub import Reply, said

SCHEDULE = {"endpoint": "e", "cron": "* * * * *"}
INVOICE = {
    "client_id": "c",
    "items": [{"service_id": "s", "quantity": 1.0, "description": "d", "rate": 2.0}],
}
NO_SCHEDULER = "Permission denied: cap:scheduler.manage not granted"
NO_INVOICING = "Permission denied: cap:invoice.manual.create not granted"
ENTRY = {"namespace": "n", "key": "k", "value": "", "revision": None}

CALLS: dict[str, Json] = {
    "secrets.get": do("secrets.get", "k"),
    "secrets.list-keys": do("secrets.list-keys"),
    "http.fetch": do("http.fetch", {"method": "GET", "url": "http://127.0.0.1:9/"}),
    "storage.get": do("storage.get", "n", "k"),
    "storage.put": do("storage.put", ENTRY),
    "storage.delete": do("storage.delete", "n", "k"),
    "storage.list-entries": do("storage.list-entries", "n", None),
    "ui-proxy.call-route": do("ui-proxy.call-route", "/r", None),
    "scheduler.list-schedules": do("scheduler.list-schedules"),
    "scheduler.get-schedule": do("scheduler.get-schedule", "i"),
    "scheduler.get-endpoints": do("scheduler.get-endpoints"),
    "scheduler.create-schedule": do("scheduler.create-schedule", SCHEDULE),
    "scheduler.update-schedule": do("scheduler.update-schedule", "i", {}),
    "scheduler.delete-schedule": do("scheduler.delete-schedule", "i"),
    "invoicing.create-manual-invoice": do("invoicing.create-manual-invoice", INVOICE),
    "clients.list-clients": do("clients.list-clients", {}),
    "clients.get-client": do("clients.get-client", "i"),
    "services.list-services": do("services.list-services", {}),
    "services.get-service": do("services.get-service", "i"),
}
CAPABILITY = {
    "secrets": "cap:secrets.get",
    "http": "cap:http.fetch",
    "storage": "cap:storage.kv",
    "ui-proxy": "cap:ui.proxy",
    "scheduler": "cap:scheduler.manage",
    "invoicing": "cap:invoice.manual.create",
    "clients": "cap:client.read",
    "services": "cap:service.read",
}


def refused(result: Any, **expected: object) -> None:
    """A record that says no; all it does not say is none."""
    fields = result["ok"]
    assert fields["success"] is False
    rest = {name: value for name, value in fields.items() if name not in {"success", *expected}}
    assert {name: fields[name] for name in expected} == expected
    assert not any(rest.values()), rest


@pytest.mark.parametrize(
    ("function", "given"),
    [
        pytest.param("secrets.get", {"err": "denied"}, id="6.0-secrets-get"),
        pytest.param("secrets.list-keys", {"ok": []}, id="6.0-secrets-list-keys"),
        pytest.param("http.fetch", {"err": "not-allowed"}, id="6.0-http"),
        pytest.param("storage.get", {"err": "denied"}, id="6.0-storage-get"),
        pytest.param("storage.put", {"err": "denied"}, id="6.0-storage-put"),
        pytest.param("storage.delete", {"err": "denied"}, id="6.0-storage-delete"),
        pytest.param("storage.list-entries", {"err": "denied"}, id="6.0-storage-list"),
        pytest.param("ui-proxy.call-route", {"err": "denied"}, id="6.0-ui-proxy"),
        pytest.param("scheduler.list-schedules", {"err": "denied"}, id="6.0-scheduler-list"),
        pytest.param("scheduler.get-schedule", {"err": "denied"}, id="6.0-scheduler-get"),
        pytest.param("scheduler.get-endpoints", {"err": "denied"}, id="6.0-scheduler-endpoints"),
        pytest.param("scheduler.create-schedule", NO_SCHEDULER, id="6.0-scheduler-create"),
        pytest.param("scheduler.update-schedule", NO_SCHEDULER, id="6.0-scheduler-update"),
        pytest.param("scheduler.delete-schedule", NO_SCHEDULER, id="6.0-scheduler-delete"),
        pytest.param("invoicing.create-manual-invoice", NO_INVOICING, id="6.0-invoicing"),
        pytest.param("clients.list-clients", {"err": "not-allowed"}, id="6.0-clients-list"),
        pytest.param("clients.get-client", {"err": "not-allowed"}, id="6.0-clients-get"),
        pytest.param("services.list-services", {"err": "not-allowed"}, id="6.0-services-list"),
        pytest.param("services.get-service", {"err": "not-allowed"}, id="6.0-services-get"),
    ],
)
@pytest.mark.parametrize("providers", ["none", "all-others"])
def test_6_0_not_granted(caller: Caller, *, function: str, given: object, providers: str) -> None:
    own = CAPABILITY[function.partition(".")[0]]
    granted = [] if providers == "none" else [name for name in ALL if name != own]
    result = caller.gets(
        CALLS[function], providers=granted, secret_envelope=envelope({"k": "v"}), user=USER
    )
    if isinstance(given, str):
        refused(result, error=given)
    else:
        assert result == given
    for stub in (caller.peers.app, caller.peers.proxy):
        assert stub.seen(caller.install) == []
        assert stub.seen(caller.extension) == []


@pytest.mark.parametrize("providers", [[], ..., list(DEFAULTS)], ids=["empty", "absent", "given"])
def test_6_0_what_every_handler_has(caller: Caller, providers: object) -> None:
    results = caller.does(
        do("context.get-context"),
        do("logging.log-info", "said"),
        do("user.get-user"),
        do("user-v2.get-user"),
        providers=providers,
        user=USER,
    )
    assert results[0]["ok"]["tenant_id"] == caller.tenant
    assert results[1] == {"ok": None}
    assert results[2]["ok"]["user_id"] == USER["user_id"]
    assert results[3]["ok"]["user_id"] == USER["user_id"]
    assert caller.peers.redis.events(caller.key())[0]["message"] == "said"


@pytest.mark.parametrize(
    ("function", "given"),
    [
        pytest.param("storage.get", {"err": "denied"}, id="6.5-get"),
        pytest.param("storage.put", {"err": "denied"}, id="6.5-put"),
        pytest.param("storage.delete", {"err": "denied"}, id="6.5-delete"),
        pytest.param("storage.list-entries", {"err": "denied"}, id="6.5-list"),
        pytest.param("scheduler.list-schedules", {"err": "denied"}, id="6.8-list"),
        pytest.param("scheduler.get-schedule", {"err": "denied"}, id="6.8-get"),
        pytest.param("scheduler.get-endpoints", {"err": "denied"}, id="6.8-endpoints"),
        pytest.param("scheduler.create-schedule", "Install ID missing", id="6.8-create"),
        pytest.param("scheduler.update-schedule", "Install ID missing", id="6.8-update"),
        pytest.param("scheduler.delete-schedule", "Install ID missing", id="6.8-delete"),
        pytest.param(
            "invoicing.create-manual-invoice", "Permission denied: install_id missing", id="6.9"
        ),
        pytest.param("clients.list-clients", {"err": "not-allowed"}, id="6.10-list"),
        pytest.param("clients.get-client", {"err": "not-allowed"}, id="6.10-get"),
        pytest.param("services.list-services", {"err": "not-allowed"}, id="6.11-list"),
        pytest.param("services.get-service", {"err": "not-allowed"}, id="6.11-get"),
    ],
)
def test_6_without_an_installation(caller: Caller, *, function: str, given: object) -> None:
    before = len(caller.peers.app.seen("/install/"))
    for absent in (None, ...):
        result = caller.gets(CALLS[function], context__install_id=absent)
        if isinstance(given, str):
            refused(result, error=given)
        else:
            assert result == given
    assert len(caller.peers.app.seen("/install/")) == before


@pytest.mark.parametrize(
    "function",
    [
        "scheduler.list-schedules",
        "scheduler.delete-schedule",
        "invoicing.create-manual-invoice",
        "clients.list-clients",
        "services.list-services",
    ],
)
def test_6_an_empty_installation_passes(caller: Caller, function: str) -> None:
    api = {
        "scheduler": "ext-scheduler",
        "invoicing": "ext-invoicing",
        "clients": "ext-clients",
        "services": "ext-services",
    }[function.partition(".")[0]]
    caller.gets(CALLS[function], context__install_id="")
    (asked,) = caller.peers.app.seen(f"/{api}/install/")
    assert asked.target == f"/api/internal/{api}/install/"


@pytest.mark.parametrize("name", ["storage.get", "storage.put", "storage.list-entries"])
def test_6_5_an_empty_installation_is_denied(caller: Caller, name: str) -> None:
    assert caller.gets(CALLS[name], context__install_id="") == {"err": "denied"}
    assert caller.peers.app.seen("/ext-storage/install/") == []


# The shape of a call to an internal API


@pytest.mark.parametrize(
    ("api", "function"),
    [
        ("ext-storage", "storage.get"),
        ("ext-scheduler", "scheduler.list-schedules"),
        ("ext-invoicing", "invoicing.create-manual-invoice"),
        ("ext-clients", "clients.list-clients"),
        ("ext-services", "services.list-services"),
    ],
)
class TestInternalCalls:
    def test_6_0_how_they_are_made(self, caller: Caller, api: str, function: str) -> None:
        server = Api(caller, api)
        server.answers({})
        caller.gets(CALLS[function], user=USER)
        (asked,) = server.asked
        assert (asked.method, asked.target) == ("POST", server.path)
        assert asked.header("content-type") == "application/json"
        assert asked.all("x-runner-auth") == ["conformance-token"]
        assert isinstance(asked.json, dict)
        for name in ("x-api-key", "x-tenant-id", "x-alga-tenant", "x-request-id"):
            assert asked.header(name) is None

    @pytest.mark.parametrize(
        ("install", "path"),
        [
            pytest.param("{own} ü", "{own}%20%C3%BC", id="6.0-encoded"),
            pytest.param(
                "{own}/ 1",
                differs(
                    "installations-are-one-segment", ours="{own}%2F%201", original="{own}/%201"
                ),
                id="6.0-slash",
            ),
            pytest.param(
                "{own}?a#b",
                differs("installations-are-one-segment", ours="{own}%3Fa%23b", original="{own}?a"),
                id="6.0-query",
            ),
        ],
    )
    def test_6_0_odd_installations(
        self, caller: Caller, kind: Kind, *, api: str, function: str, install: str, path: object
    ) -> None:
        caller.peers.app.on(caller.install, said({}))
        caller.gets(CALLS[function], context__install_id=install.format(own=caller.install))
        (asked,) = caller.peers.app.seen(caller.install)
        tail = settle(kind, path).format(own=caller.install)
        assert asked.target == f"/api/internal/{api}/install/{tail}"

    @pytest.mark.parametrize("install", ["..", "../../../v1"])
    def test_6_0_installations_that_would_leave_their_place(
        self, caller: Caller, kind: Kind, api: str, function: str, install: str
    ) -> None:
        caller.gets(CALLS[function], context__install_id=install)
        inside = f"/api/internal/{api}/install/"
        left = any(not asked.target.startswith(inside) for asked in caller.peers.app.seen("/"))
        assert left == settle(
            kind, differs("installations-are-one-segment", ours=False, original=True)
        )

    def test_6_0_failures_are_not_tried_again(
        self, caller: Caller, api: str, function: str
    ) -> None:
        server = Api(caller, api)
        server.answers(Reply(503, b"broken"))
        caller.gets(CALLS[function])
        assert len(server.asked) == 1

    @pytest.mark.profile("configured")
    def test_2_another_base_and_token(self, caller: Caller, api: str, function: str) -> None:
        server = Api(caller, api)
        server.answers({})
        caller.gets(CALLS[function])
        (asked,) = server.asked
        assert asked.target == f"/inner{server.path}"
        assert asked.all("x-runner-auth") == ["conformance-service-token"]

    @pytest.mark.profile("closed")
    def test_6_0_without_a_token(self, caller: Caller, api: str, function: str) -> None:
        result = caller.gets(CALLS[function])
        if api == "ext-invoicing":
            refused(result, error="runner auth token not configured")
        else:
            assert result == {"err": "internal"}
        assert Api(caller, api).asked == []
