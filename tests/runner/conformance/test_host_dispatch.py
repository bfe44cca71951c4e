"""1.4 and 8: `GET /`, from a host name to a page, and what the registry is asked."""

from __future__ import annotations

import time
import uuid
from urllib.parse import parse_qs, urlsplit

import pytest

from .asking import Runner
from .kinds import Kind, differs, settle
from .pages import NO_STORE
from .peers import AUTH_KEY, FILE_KEY, Peers
from .stub import Reply, said

FOUND = {"tenant_id": "T & 1", "extension_id": "ext-1", "content_hash": "sha256:" + "a" * 64}


@pytest.fixture
def host() -> str:
    return f"h{uuid.uuid4().hex[:12]}.example.test"


def test_1_4_redirects_to_the_page(runner: Runner, peers: Peers, kind: Kind, host: str) -> None:
    peers.app.on(host, said(FOUND))
    answer = runner.ask("/?parentOrigin=dropped", {"host": f"{host}:8080"})
    assert (answer.status, answer.body) == (307, b"")
    assert answer.headers["location"] == (
        f"/ext-ui/ext-1/{FOUND['content_hash']}/index.html?tenant=T+%26+1&extensionId=ext-1"
    )
    assert answer.headers["cache-control"] == settle(kind, NO_STORE)


def test_1_4_head_redirects_too(runner: Runner, peers: Peers, host: str) -> None:
    peers.app.on(host, said(FOUND, 203))
    assert runner.ask("/", {"host": host}, method="HEAD").status == 307


def test_8_the_lookup(runner: Runner, peers: Peers, host: str) -> None:
    peers.app.on(host, said(FOUND))
    before = time.time() * 1000
    runner.ask("/", {"host": f"{host}:1234"})
    (asked,) = peers.app.seen(host)
    assert (asked.method, asked.path) == ("GET", "/api/installs/lookup-by-host")
    assert set(asked.query) == {"host", "ts"}
    assert asked.query["host"] == [host]
    assert before - 1000 <= int(asked.query["ts"][0]) <= time.time() * 1000 + 1000
    assert asked.header("x-api-key") == AUTH_KEY
    assert asked.header("x-runner-auth") is None


@pytest.mark.profile("strict")
def test_8_the_key_may_come_from_a_file(runner: Runner, peers: Peers, host: str) -> None:
    peers.app.on(host, said(FOUND))
    runner.ask("/", {"host": host})
    assert peers.app.seen(host)[0].header("x-api-key") == FILE_KEY


def test_8_lookups_are_not_remembered(runner: Runner, peers: Peers, host: str) -> None:
    peers.app.on(host, said(FOUND), Reply(404), said(FOUND))
    assert [runner.ask("/", {"host": host}).status for _ in range(3)] == [307, 404, 307]


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        pytest.param(Reply(404), 404, id="1.4-404"),
        pytest.param(Reply(403), 404, id="1.4-403"),
        pytest.param(Reply(500, b"oops"), 404, id="1.4-500"),
        pytest.param(Reply(200, b"no json"), 502, id="1.4-no-json"),
        pytest.param(Reply(200), 502, id="1.4-empty"),
        pytest.param(said([]), 502, id="1.4-array"),
        pytest.param(said({}), 502, id="1.4-no-fields"),
        pytest.param(said(FOUND | {"tenant_id": 5}), 502, id="1.4-number-for-a-string"),
        pytest.param(said(FOUND | {"content_hash": None}), 502, id="1.4-null-for-a-string"),
        pytest.param(said({"tenant_id": "t", "extension_id": "e"}), 502, id="1.4-no-hash"),
    ],
)
def test_1_4_what_the_registry_may_say(
    runner: Runner, peers: Peers, kind: Kind, *, host: str, reply: Reply, status: int
) -> None:
    peers.app.on(host, reply)
    answer = runner.ask("/", {"host": host})
    assert (answer.status, answer.body) == (status, b"")
    assert answer.headers["cache-control"] == settle(kind, NO_STORE)


@pytest.mark.parametrize("headers", [b"host:\r\n", b""], ids=["1.4-empty-host", "1.4-no-host"])
def test_1_4_without_a_host_it_is_400(runner: Runner, headers: bytes) -> None:
    version = b"1.1" if headers else b"1.0"
    with runner.raw(
        b"GET / HTTP/" + version + b"\r\n" + headers + b"connection: close\r\n\r\n"
    ) as link:
        answer = b"".join(iter(lambda: link.recv(65_536), b""))
    assert b" 400 " in answer.split(b"\r\n", 1)[0] + b" "
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.profile("dead")
def test_1_4_a_registry_that_is_not_there_is_502(runner: Runner) -> None:
    answer = runner.ask("/", {"host": "any.example.test"})
    assert (answer.status, answer.body) == (502, b"")


def test_1_4_an_answer_that_is_cut_is_502(runner: Runner, peers: Peers, host: str) -> None:
    peers.app.on(host, Reply(200, b'{"tenant_id": "t"' + b" " * 1000, cut=True))
    assert runner.ask("/", {"host": host}).status == 502


@pytest.mark.parametrize(
    ("extension", "location"),
    [
        pytest.param(
            "a b",
            differs("the-redirect-is-encoded", ours="/ext-ui/a%20b/", original="/ext-ui/a b/"),
            id="1.4-space",
        ),
        pytest.param(
            "a/b",
            differs("the-redirect-is-encoded", ours="", original="/ext-ui/a/b/"),
            id="1.4-slash",
        ),
    ],
)
def test_1_4_odd_extension_ids(
    runner: Runner, peers: Peers, kind: Kind, *, host: str, extension: str, location: str
) -> None:
    peers.app.on(host, said(FOUND | {"extension_id": extension}))
    answer = runner.ask("/", {"host": host})
    if expected := settle(kind, location):
        assert answer.status == 307
        assert answer.headers["location"].startswith(expected)
        query = parse_qs(urlsplit(answer.headers["location"]).query)
        assert query == {"tenant": ["T & 1"], "extensionId": [extension]}
    else:
        assert answer.status == 502


@pytest.mark.slow
def test_8_a_registry_that_is_silent(runner: Runner, peers: Peers, kind: Kind, host: str) -> None:
    peers.app.on(host, said(FOUND, wait=6.5))
    answer = runner.ask("/", {"host": host})
    assert answer.status == settle(kind, differs("lookups-have-limits", ours=502, original=307))


def test_8_the_key_stays_with_the_registry(
    runner: Runner, peers: Peers, kind: Kind, host: str
) -> None:
    peers.app.on(host, Reply(307, headers=(("location", f"{peers.elsewhere}/stolen/{host}"),)))
    peers.web.on(host, said(FOUND))
    runner.ask("/", {"host": host})
    seen = [asked.header("x-api-key") for asked in peers.web.seen(host)]
    assert seen == settle(kind, differs("redirects-carry-no-secrets", ours=[], original=[AUTH_KEY]))


def test_8_redirects_within_the_registry_are_followed(
    runner: Runner, peers: Peers, host: str
) -> None:
    peers.app.on(host, Reply(307, headers=(("location", f"/moved/{host}"),)))
    peers.app.on(f"/moved/{host}", said(FOUND))
    assert runner.ask("/", {"host": host}).status == 307
