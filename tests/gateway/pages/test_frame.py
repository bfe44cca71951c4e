"""Where frames point, and who looks at them."""

from __future__ import annotations

import dataclasses

import pytest

from algaenv.gateway.installs import Install
from algaenv.gateway.pages.extension import PORTALS, Frame, bundle_frame, dev_server_frame
from algaenv.gateway.responses import Problem
from algaenv.gateway.users import Users, default_users

INSTALL = Install(
    install_id="i",
    registry_id="r/1",
    tenant="t&2",
    slug="p.n",
    publisher="p",
    name="n",
    version="1.0.0",
    version_id="v",
    content_hash="sha256:" + "A" * 64,
    endpoints=(),
    ui={"hooks": {"appMenu": {"label": " Menu "}, "clientPortalMenu": {"label": " "}}},
    granted_caps=(),
    providers=(),
    config={},
    secret_envelope=None,
    config_version=None,
    secrets_version=None,
    config_updated_at=None,
    is_enabled=True,
    status="pending",
    runner_domain=None,
)


@pytest.mark.parametrize("runner", ["/runner", "https://runner.example"])
def test_the_page_of_a_bundle(runner: str) -> None:
    assert bundle_frame(INSTALL, runner) == Frame(
        f"{runner}/ext-ui/r%2F1/sha256%3A{'a' * 64}/index.html"
        "?path=/&tenant=t%262&extensionId=r%2F1",
        "bundle",
    )


@pytest.mark.parametrize("wrong", [None, "", "a" * 64, "sha256:" + "a" * 63, "md5:" + "a" * 64])
def test_a_hash_that_is_none(wrong: str | None) -> None:
    found = bundle_frame(dataclasses.replace(INSTALL, content_hash=wrong), "/runner")
    assert isinstance(found, Problem)
    assert found.code == "gateway-bundle-missing"


@pytest.mark.parametrize(
    ("server", "page"),
    [
        ("http://localhost:5173", "http://localhost:5173/"),
        ("http://localhost:5173/", "http://localhost:5173/"),
        ("http://localhost:5173/app/?x=1#y", "http://localhost:5173/app/"),
    ],
)
def test_the_page_of_a_server(server: str, page: str) -> None:
    found = dev_server_frame(INSTALL, server)
    assert found == Frame(f"{page}?path=/&tenant=t%262&extensionId=r/1", server)


@pytest.mark.parametrize(
    "server", ["javascript:alert(1)", "localhost:5173", "//host", "data:,", ""]
)
def test_a_server_that_is_none(server: str) -> None:
    assert isinstance(dev_server_frame(INSTALL, server), Problem)


def test_sidebars_differ_in_what_they_look_at() -> None:
    msp, client = PORTALS
    assert msp.label(INSTALL) == "Menu"  # although its status is pending
    assert msp.label(dataclasses.replace(INSTALL, is_enabled=False)) is None
    both = {"hooks": {"clientPortalMenu": {"label": "Here"}}}
    assert client.label(dataclasses.replace(INSTALL, ui=both)) is None
    assert client.label(dataclasses.replace(INSTALL, ui=both, status="enabled")) == "Here"
    assert client.label(dataclasses.replace(INSTALL, status="enabled")) is None


def test_who_visits() -> None:
    users = Users(default_users())
    admin, someone = users.all
    msp, client = PORTALS
    assert msp.visitor(users, admin, named=False) == admin
    assert client.visitor(users, admin, named=False) == someone
    assert client.visitor(users, admin, named=True) == admin
    assert client.visitor(Users((admin,)), None, named=True) == admin
