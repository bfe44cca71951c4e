"""Which endpoints a manifest declares, and what an extension is asked when."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.bundle.digest import Digest
from algaenv.bundle.manifest.model import Endpoint, Manifest
from algaenv.model.intent import EndpointProbe, ExtensionIntent, GatewayUser, NoGateway
from algaenv.model.lock import Lock, LockedExtension
from algaenv.model.probe import ExtensionProbe, PageProbe
from algaenv.model.problem import Where
from algaenv.plan.desired import bundle_address, predicted_ids
from algaenv.plan.readiness import declares_endpoint, readiness_checks
from tests.plan.builders import parse_address
from tests.runtimes.locks import GATEWAY, make_lock

HOSTS = {
    name: parse_address(f"process/{name}") for name in ("store", "database", "runner", "gateway")
}
PLACE = Where("algaenv.yaml", 1, 1)
MANIFEST = Manifest(
    name="com.example.hello",
    publisher="Example",
    version="1.0.0",
    runtime="wasm-js@1",
    endpoints=(
        Endpoint("GET", "/items/:id", "handler"),
        Endpoint("HEAD", "/health/", "handler"),
        Endpoint("POST", "/posted", "handler"),
    ),
)
BUNDLE = Digest.of(b"an archive")


@pytest.mark.parametrize("path", ["/items/42", "/items/a%20b?all=1", "/health", "/items/42/"])
def test_declared(path: str) -> None:
    assert declares_endpoint(MANIFEST, path)


@pytest.mark.parametrize("path", ["/items", "/items/", "/items/1/2", "/posted", "/", "/Health"])
def test_undeclared(path: str) -> None:
    assert not declares_endpoint(MANIFEST, path)


def locked(tmp_path: Path, *paths: str, page: str | None = "ab" * 32, enabled: bool = True) -> Lock:
    intent = ExtensionIntent(
        name="hello",
        source=str(tmp_path),
        build=None,
        config={},
        secrets={},
        capabilities=None,
        enabled=enabled,
        ui_dev_server=None,
        where=PLACE,
        probes=tuple(EndpointProbe(path, PLACE) for path in paths),
    )
    extension = LockedExtension(intent, MANIFEST, BUNDLE, 1, tmp_path, page)
    return replace(make_lock(tmp_path, gateway=GATEWAY), extensions=(extension,))


def asked(lock: Lock, *written: str) -> ExtensionProbe | None:
    found = tuple(
        readiness_checks(lock, predicted_ids(lock), HOSTS, {parse_address(it) for it in written})
    )
    if not found:
        return None
    (same,) = found
    assert str(same.resource.address) == "extension/hello"
    probe = same.resource.probe
    assert isinstance(probe, ExtensionProbe)
    return probe


@pytest.mark.parametrize(
    "written",
    [
        "release/hello",
        str(bundle_address("hello", BUNDLE.short)),
        "process/runner",
        "process/gateway",
    ],
)
def test_its_page_is_asked_for_after_a_change(tmp_path: Path, written: str) -> None:
    lock = locked(tmp_path)
    assert asked(lock) is None
    assert asked(lock, "release/other", "process/store") is None
    probe = asked(lock, written)
    assert probe is not None
    assert probe.paths == ()
    assert isinstance(probe.page, PageProbe)
    registry = predicted_ids(lock).registry["hello"]
    origin = f"http://127.0.0.1:{lock.ports.gateway}"
    assert probe.page.url.startswith(f"{origin}/runner/ext-ui/{registry}/sha256%3A{BUNDLE.hex}/")
    assert "tenant=" in probe.page.url
    assert (probe.page.status, probe.page.body_sha256) == (200, "ab" * 32)
    assert probe.base == f"{origin}/api/ext-proxy/{registry}"


def test_an_endpoint_that_is_named_is_always_asked(tmp_path: Path) -> None:
    probe = asked(locked(tmp_path, "/health", "/items/42", page=None))
    assert probe is not None
    assert (probe.paths, probe.page, probe.user) == (("/health", "/items/42"), None, "")
    assert probe.seconds > GATEWAY.timeout_ms / 1000


def test_one_that_is_switched_off_only_shows_its_page(tmp_path: Path) -> None:
    lock = locked(tmp_path, "/health", enabled=False)
    assert asked(lock) is None
    probe = asked(lock, "release/hello")
    assert probe is not None
    assert probe.paths == ()


def test_the_first_user_of_the_msp_asks(tmp_path: Path) -> None:
    lock = locked(tmp_path, "/health")
    toto = GatewayUser("toto", "client", None, None, None, None, None, None, {})
    users = (toto, replace(toto, key="glinda", type="internal"))
    gateway = replace(GATEWAY, users=users)
    probe = asked(replace(lock, intent=replace(lock.intent, gateway=gateway)))
    assert probe is not None
    assert probe.user == "glinda"


def test_nobody_is_asked_without_a_gateway_of_ours(tmp_path: Path) -> None:
    lock = locked(tmp_path, "/health")
    lock = replace(lock, intent=replace(lock.intent, gateway=NoGateway()))
    assert asked(lock, "release/hello") is None
