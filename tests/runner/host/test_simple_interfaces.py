"""The functions that ask nobody: context, logging, secrets, user; and the table itself."""

from __future__ import annotations

import pytest

from algaenv.runner.execute.invocation import (
    DEFAULT_CAPABILITIES,
    KNOWN_CAPABILITIES,
    UnknownCapabilities,
    granted_capabilities,
)
from algaenv.runner.execute.request_models import User
from algaenv.runner.host.functions import host_functions
from algaenv.runner.host.settings import HostSettings
from algaenv.runner.outbound import Outbound
from algaenv.runner.wasm.wit import Err

from .host import Host

FUNCTIONS = {
    "context": ["get-context"],
    "secrets": ["get", "list-keys"],
    "http": ["fetch"],
    "storage": ["get", "put", "delete", "list-entries"],
    "logging": ["log-info", "log-warn", "log-error"],
    "ui-proxy": ["call-route"],
    "user": ["get-user"],
    "user-v2": ["get-user"],
    "scheduler": [
        "list-schedules", "get-schedule", "create-schedule", "update-schedule",
        "delete-schedule", "get-endpoints",
    ],
    "invoicing": ["create-manual-invoice"],
    "clients": ["list-clients", "get-client"],
    "services": ["list-services", "get-service"],
}  # fmt: skip


def test_the_table() -> None:
    found = host_functions(HostSettings.read({}), Outbound())
    assert {interface: list(functions) for interface, functions in found.items()} == FUNCTIONS
    assert sum(map(len, found.values())) == 25


def test_grants() -> None:
    assert len(KNOWN_CAPABILITIES) == 11
    assert (
        granted_capabilities([])
        == DEFAULT_CAPABILITIES
        == {"cap:context.read", "cap:log.emit", "cap:user.read"}
    )
    assert granted_capabilities(
        [" CAP:HTTP.fetch ", "", "  ", "cap:http.fetch"]
    ) == DEFAULT_CAPABILITIES | {"cap:http.fetch"}


def test_unknown_grants() -> None:
    with pytest.raises(UnknownCapabilities) as caught:
        granted_capabilities(["cap:log.emit", "Http.Fetch", " cap:nope", "http.fetch"])
    assert str(caught.value) == "unknown_capabilities: http.fetch, cap:nope"
    assert caught.value.names == ("http.fetch", "cap:nope")


def test_context(host: Host) -> None:
    assert host.call("context.get-context") == {
        "request_id": "r1",
        "tenant_id": "t1",
        "extension_id": "e1",
        "install_id": "i1",
        "version_id": "v1",
    }
    bare = host.call("context.get-context", request_id=None, install=None, version=None)
    assert bare == {
        "request_id": None,
        "tenant_id": "t1",
        "extension_id": "e1",
        "install_id": None,
        "version_id": None,
    }


def test_logging(host: Host) -> None:
    for level in ("info", "warn", "error"):
        assert host.call(f"logging.log-{level}", f"a {level}") is None
        assert host.call(f"logging.log-{level}", "dropped", capabilities=frozenset()) is None
    assert host.listener.words == [
        ("log", "info", "a info"),
        ("log", "warn", "a warn"),
        ("log", "error", "a error"),
    ]


def test_secrets(host: Host) -> None:
    secrets = {"ALGA_API_KEY": "sk", "EMPTY": ""}
    assert host.call("secrets.get", "ALGA_API_KEY", secrets=secrets) == "sk"
    assert host.call("secrets.get", "EMPTY", secrets=secrets) == ""
    assert host.call("secrets.get", "other", secrets=secrets) == Err("missing")
    assert host.call("secrets.get", "ALGA_API_KEY") == Err("missing")
    assert host.call("secrets.get", "ALGA_API_KEY", secrets={}) == Err("missing")
    assert host.call("secrets.list-keys", secrets=secrets) == ["ALGA_API_KEY", "EMPTY"]
    assert host.call("secrets.list-keys") == []


def test_secrets_not_granted(host: Host) -> None:
    fields = {"secrets": {"a": "b"}, "capabilities": DEFAULT_CAPABILITIES}
    assert host.call("secrets.get", "a", **fields) == Err("denied")
    assert host.call("secrets.list-keys", **fields) == []


def test_user(host: Host, user: User) -> None:
    known = {
        "tenant_id": "t1",
        "client_name": "ACME",
        "user_id": "u1",
        "user_email": "müller@example.com",
        "user_name": "Ann",
        "user_type": "internal",
    }
    assert host.call("user.get-user", user=user) == known
    assert host.call("user-v2.get-user", user=user) == known | {
        "client_id": "c1",
        "additional_fields": [("Z", "0"), ("a", "1"), ("b", "2"), ("é", "4")],
    }


@pytest.mark.parametrize("name", ["user.get-user", "user-v2.get-user"])
def test_no_user(host: Host, user: User, name: str) -> None:
    assert host.call(name) == Err("not-available")
    assert host.call(name, user=user, capabilities=frozenset()) == Err("not-allowed")


def test_peers_of_an_empty_environment() -> None:
    peers = HostSettings.read({})
    assert (peers.egress, peers.ui_proxy, peers.ui_proxy_seconds) == (frozenset(), None, 5.0)
    assert (peers.internal, peers.internal_token, peers.vault) == (None, None, None)
    assert str(peers.vault_token_file) == "/run/secrets/alga_vault_token"
    assert (peers.vault_namespace, peers.vault_mount) == (None, "transit")
    assert peers.warnings == ()


@pytest.mark.parametrize(
    ("env", "base"),
    [
        (
            {"STORAGE_API_BASE_URL": " http://s/x/api/ ", "REGISTRY_BASE_URL": "http://r"},
            "http://s/x",
        ),
        ({"REGISTRY_BASE_URL": "http://r//"}, "http://r"),
        ({"REGISTRY_BASE_URL": "http://r/api/api"}, "http://r/api"),
        ({"STORAGE_API_BASE_URL": "", "REGISTRY_BASE_URL": "http://r/API"}, "http://r/API"),
    ],
)
def test_the_internal_base(env: dict[str, str], base: str) -> None:
    assert HostSettings.read(env).internal == base


@pytest.mark.parametrize(
    ("env", "token"),
    [
        ({"RUNNER_STORAGE_API_TOKEN": " a ", "RUNNER_SERVICE_TOKEN": "b"}, " a "),
        ({"RUNNER_SERVICE_TOKEN": "b"}, "b"),
        ({"RUNNER_STORAGE_API_TOKEN": "", "RUNNER_SERVICE_TOKEN": "b"}, "b"),
        ({"RUNNER_STORAGE_API_TOKEN": ""}, ""),
        ({"RUNNER_SERVICE_TOKEN": ""}, ""),
    ],
)
def test_the_internal_token(env: dict[str, str], token: str) -> None:
    peers = HostSettings.read(env)
    assert peers.internal_token == token
    assert "token=" not in repr(peers)


@pytest.mark.parametrize(
    ("text", "seconds", "warnings"),
    [("", 5, 0), ("250", 0.25, 0), ("0", 5, 1), ("-1", 5, 1), ("2s", 5, 1), ("9" * 30, 5, 1)],
)
def test_the_time_of_the_ui_proxy(text: str, seconds: float, warnings: int) -> None:
    peers = HostSettings.read({"UI_PROXY_TIMEOUT_MS": text})
    assert peers.ui_proxy_seconds == seconds
    assert len(peers.warnings) == warnings


def test_other_variables() -> None:
    peers = HostSettings.read(
        {
            "EXT_EGRESS_ALLOWLIST": " Example.com ,, b.org,",
            "UI_PROXY_BASE_URL": "nonsense",
            "ALGA_VAULT_ADDR": "http://v",
            "ALGA_VAULT_TOKEN_FILE": "/t",
            "VAULT_NAMESPACE": "n",
            "ALGA_VAULT_TRANSIT_MOUNT": "m",
        }
    )
    assert peers.egress == {"example.com", "b.org"}
    assert (peers.ui_proxy, len(peers.warnings)) == (None, 1)
    assert (peers.vault, str(peers.vault_token_file)) == ("http://v", "/t")
    assert (peers.vault_namespace, peers.vault_mount) == ("n", "m")
    assert (
        HostSettings.read({"VAULT_ADDR": "http://a", "ALGA_VAULT_ADDR": "http://b"}).vault
        == "http://a"
    )
