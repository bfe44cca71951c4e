"""What `http.fetch` may ask of this machine and of the environment it runs in."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from algaenv.runner.host.settings import LocalEgress
from algaenv.runner.wasm.wit import Err

from .conftest import Begin
from .stub import Stub, StubResponse
from .test_fetch import request

DENIED = Err("not-allowed")


def resolved(patch: pytest.MonkeyPatch, **names: str) -> None:
    """Have the system resolve names so; a dot in a name is written as `__`."""
    known = {name.replace("__", "."): address for name, address in names.items()}
    genuine = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: Any, **more: Any) -> Any:
        return genuine(known.get(host, host), port, *args, **more)

    patch.setattr(socket, "getaddrinfo", getaddrinfo)


def own_address() -> str:
    """An address that an interface of this machine has, other than loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        return str(probe.getsockname()[0])


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "[fe80::1]",
        "rebound.test",
    ],
)
def test_this_machine_is_closed(
    begin: Begin, server: Stub, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    resolved(monkeypatch, rebound__test="127.0.0.1")
    port = server.url.rpartition(":")[2]
    closed = begin(RUNNER_LOCAL_EGRESS="deny")
    assert closed.call("http.fetch", request(f"http://{host}:{port}/")) == DENIED
    assert not server.asked


def test_an_address_of_this_machine_is_closed(begin: Begin) -> None:
    url = f"http://{own_address()}:9/"
    assert begin(RUNNER_LOCAL_EGRESS="deny").call("http.fetch", request(url)) == DENIED


def test_a_redirect_leads_no_further(begin: Begin, server: Stub, other: Stub) -> None:
    """It is an answer like others, and what the guest does about it is a request like others."""
    server.respond(StubResponse(302, headers=[(b"location", other.url.encode())]))
    host = begin(RUNNER_LOCAL_EGRESS=server.url.removeprefix("http://"))
    assert host.call("http.fetch", request(server.url))["status"] == 302
    assert host.call("http.fetch", request(other.url)) == DENIED
    assert not other.asked


@pytest.mark.parametrize("way", ["*", "{port}", "localhost", "127.0.0.1:{port}"])
def test_what_is_opened_is_open(begin: Begin, server: Stub, way: str) -> None:
    server.respond(StubResponse(200))
    port = server.url.rpartition(":")[2]
    name = f"localhost:{port}" if way == "{port}" else way.format(port=port)
    host = begin(RUNNER_LOCAL_EGRESS=name)
    assert host.call("http.fetch", request(f"http://localhost:{port}/"))["status"] == 200


def test_another_port_stays_closed(begin: Begin, server: Stub, other: Stub) -> None:
    host = begin(RUNNER_LOCAL_EGRESS=server.url.removeprefix("http://"))
    assert host.call("http.fetch", request(other.url)) == DENIED


def test_a_runner_that_is_told_nothing_asks_anything(begin: Begin, server: Stub) -> None:
    server.respond(StubResponse(200))
    assert begin().call("http.fetch", request(server.url))["status"] == 200


def test_services_of_the_environment_are_closed_by_every_name(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved(monkeypatch, store="192.0.2.7", alias__test="192.0.2.7")
    host = begin(RUNNER_LOCAL_EGRESS="deny", RUNNER_OWN_ADDRESSES="store:9000,database:5432")
    for name in ("store", "alias.test", "192.0.2.7", "[::ffff:192.0.2.7]"):
        assert host.call("http.fetch", request(f"http://{name}:9000/")) == DENIED
    opened = begin(RUNNER_LOCAL_EGRESS="store", RUNNER_OWN_ADDRESSES="store:9000")
    assert opened.call("http.fetch", request("http://store:9000/")) == DENIED
    read = LocalEgress.read(
        {"RUNNER_LOCAL_EGRESS": "[::1]:80, x:1", "RUNNER_OWN_ADDRESSES": "store:9000"}
    )
    assert read.allowed == {("::1", 80), ("x", 1)}
    assert read.own_addresses == {("store", 9000)}


def test_the_connection_goes_where_the_look_led(
    begin: Begin, server: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is answered differently the second time leads nowhere."""
    answers = ["192.0.2.1", "127.0.0.1"]
    genuine = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: Any, **more: Any) -> Any:
        if host == "turns.test":
            host = answers.pop(0) if len(answers) > 1 else answers[0]
        return genuine(host, port, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    port = server.url.rpartition(":")[2]
    host = begin(RUNNER_LOCAL_EGRESS="deny")
    monkeypatch.setattr("algaenv.runner.host.fetch.SECONDS", 0.5)
    assert host.call("http.fetch", request(f"http://turns.test:{port}/")) == Err("transport")
    assert not server.asked
