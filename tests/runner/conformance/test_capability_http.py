"""6.4: requests of guests to the rest of the world."""

from __future__ import annotations

import time
import uuid
from base64 import b64decode
from typing import Any

import pytest

from .calls import Caller, Json, b64, do
from .stub import Reply


class Place:
    """Somewhere on the web that only one case knows."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.path = f"/web/{uuid.uuid4().hex}"
        self.url = f"{caller.peers.web.url}{self.path}"
        self.answers(Reply(200))

    def answers(self, *replies: Reply) -> None:
        self.caller.peers.web.on(self.path, *replies)

    @property
    def asked(self) -> list[Any]:
        return list(self.caller.peers.web.seen(self.path))

    def fetch(self, url: str | None = None, **request: object) -> Any:
        return self.caller.gets(fetch(self.url if url is None else url, **request))


def fetch(url: str, *, method: object = "GET", **request: object) -> Json:
    return do("http.fetch", {"method": method, "url": url, **request})


@pytest.fixture
def place(caller: Caller) -> Place:
    return Place(caller)


def test_6_4_a_request_as_it_is(place: Place) -> None:
    place.fetch(
        f"{place.url}?b=c%20d&e#fragment",
        method="PUT",
        headers=[["X-Order", "1"], ["x-other", ""], ["X-Order", "2"], ["accept", "text/html"]],
        body=b64(b"\0\xff bytes"),
    )
    (asked,) = place.asked
    assert (asked.method, asked.target) == ("PUT", f"{place.path}?b=c%20d&e")
    assert asked.all("x-order") == ["1", "2"]
    assert asked.all("x-other") == [""]
    assert asked.all("accept") == ["text/html"]
    assert asked.body == b"\0\xff bytes"
    assert asked.header("host") == place.caller.peers.web.authority
    own = {name.lower() for name, _ in asked.headers}
    assert own <= {"x-order", "x-other", "accept", "host", "content-length", "connection"}


def test_6_4_nothing_of_the_runner_goes_along(place: Place) -> None:
    place.fetch()
    (asked,) = place.asked
    names = {name.lower() for name, _ in asked.headers}
    assert not {name for name in names if name.startswith(("x-", "authorization", "cookie"))}
    assert names <= {"host", "accept", "connection"}


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "DELETE", "PATCH", "OPTIONS", "PURGE", "get", "x-y"]
)
def test_6_4_methods(place: Place, method: str) -> None:
    assert place.fetch(method=method)["ok"]["status"] == 200
    assert [asked.method for asked in place.asked] == [method]


@pytest.mark.parametrize(
    ("body", "length"), [(None, {None, "0"}), ("", {"0"})], ids=["6.4-none", "6.4-empty"]
)
def test_6_4_empty_bodies(place: Place, *, body: str | None, length: set[str | None]) -> None:
    place.fetch(method="POST", body=body)
    (asked,) = place.asked
    assert asked.body == b""
    assert asked.header("content-length") in length


def test_6_4_a_host_of_its_own(place: Place) -> None:
    place.fetch(headers=[["Host", "other.example.test"]])
    assert place.asked[0].all("host") == ["other.example.test"]


@pytest.mark.parametrize(
    ("tail", "target"),
    [
        pytest.param("/a/../b/./c", "/b/c", id="6.4-dot-segments"),
        pytest.param("/ü x", "/%C3%BC%20x", id="6.4-encoded"),
        pytest.param("//a//", "//a//", id="6.4-empty-segments"),
        pytest.param("/%2e%41", "/%2e%41", id="6.4-encoded-already"),
    ],
)
def test_6_4_urls(place: Place, *, tail: str, target: str) -> None:
    place.fetch(f"{place.url}{tail}")
    assert [asked.target for asked in place.asked] == [f"{place.path}{target}"]


# The answer


def test_6_4_an_answer_as_it_is(place: Place) -> None:
    headers = (("Content-Type", "text/x"), ("X-Twice", "1"), ("x-twice", "2"), ("Empty", ""))
    place.answers(Reply(418, b"tea\0\xff", headers))
    given = place.fetch()["ok"]
    assert given["status"] == 418
    assert b64decode(given["body"]) == b"tea\0\xff"
    named = [tuple(pair) for pair in given["headers"] if pair[0] not in {"date", "content-length"}]
    assert named == [("content-type", "text/x"), ("x-twice", "1"), ("x-twice", "2"), ("empty", "")]


@pytest.mark.parametrize("status", [204, 301, 304, 404, 500, 599])
def test_6_4_any_status_is_an_answer(place: Place, status: int) -> None:
    place.answers(Reply(status))
    given = place.fetch()["ok"]
    assert (given["status"], given["body"]) == (status, "")


def test_6_4_header_values_that_are_no_visible_ascii(place: Place) -> None:
    place.answers(Reply(200, headers=(("x-odd", "caf\xe9"), ("x-tab", "a\tb"))))
    found = dict(place.fetch()["ok"]["headers"])
    assert found["x-odd"] == ""


def test_6_4_redirects_are_not_followed(place: Place) -> None:
    place.answers(Reply(302, headers=(("location", f"{place.url}/target"),)))
    given = place.fetch()["ok"]
    assert given["status"] == 302
    assert dict(given["headers"])["location"] == f"{place.url}/target"
    assert len(place.asked) == 1


def test_6_4_bodies_are_not_unpacked(place: Place) -> None:
    import gzip

    packed = gzip.compress(b"text", mtime=0)
    place.answers(Reply(200, packed, (("content-encoding", "gzip"),)))
    given = place.fetch(headers=[["accept-encoding", "gzip"]])["ok"]
    assert b64decode(given["body"]) == packed
    assert dict(given["headers"])["content-encoding"] == "gzip"


def test_6_4_a_large_body(place: Place) -> None:
    place.answers(Reply(200, b"x" * 1_000_000))
    found = place.caller.send({"calls": [fetch(place.url)], "respond": {"results": True}}).json[
        "results"
    ][0]
    assert b64decode(found["ok"]["body"]) == b"x" * 1_000_000


# Errors


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        pytest.param({"url": ""}, "invalid-url", id="6.4-empty-url"),
        pytest.param({"url": "/path"}, "invalid-url", id="6.4-relative"),
        pytest.param({"url": "example.test"}, "invalid-url", id="6.4-no-scheme"),
        pytest.param({"url": "http://"}, "invalid-url", id="6.4-no-host"),
        pytest.param({"url": "http://a:99999/"}, "invalid-url", id="6.4-port"),
        pytest.param({"url": "http://[::1/"}, "invalid-url", id="6.4-bracket"),
        pytest.param({"url": "{web}", "method": ""}, "invalid-url", id="6.4-empty-method"),
        pytest.param({"url": "{web}", "method": "A B"}, "invalid-url", id="6.4-method"),
        pytest.param(
            {"url": "{web}", "method": "GET\r\n"}, "invalid-url", id="6.4-method-line-end"
        ),
        pytest.param({"url": "ftp://127.0.0.1/"}, "transport", id="6.4-scheme"),
        pytest.param({"url": "file:///etc/passwd"}, "transport", id="6.4-file"),
        pytest.param({"url": "data:text/plain,x"}, "transport", id="6.4-data"),
        pytest.param({"url": "http://no-such-host.invalid/"}, "transport", id="6.4-no-such-host"),
        pytest.param({"url": "{nowhere}/"}, "transport", id="6.4-nobody-listens"),
        pytest.param({"url": "https://{authority}/"}, "transport", id="6.4-no-tls-there"),
        pytest.param(
            {"url": "{web}", "headers": [["bad name", "x"]]}, "transport", id="6.4-header-name"
        ),
        pytest.param(
            {"url": "{web}", "headers": [["", "x"]]}, "transport", id="6.4-no-header-name"
        ),
        pytest.param(
            {"url": "{web}", "headers": [["x", "a\r\nb: c"]]}, "transport", id="6.4-header-value"
        ),
        pytest.param({"url": "{web}", "headers": [["x", "a\0"]]}, "transport", id="6.4-header-nul"),
    ],
)
def test_6_4_errors(place: Place, *, request_: Json, error: str) -> None:
    peers = place.caller.peers
    url = request_["url"].format(
        web=place.url, nowhere=peers.nowhere, authority=peers.web.authority
    )
    assert place.fetch(**(request_ | {"url": url})) == {"err": error}
    assert place.asked == []


def test_6_4_an_answer_that_is_cut_is_internal(place: Place) -> None:
    place.answers(Reply(200, bytes(100_000), cut=True))
    assert place.fetch() == {"err": "internal"}


def test_6_4_failures_do_not_end_the_guest(place: Place) -> None:
    got = place.caller.does(
        fetch(f"{place.caller.peers.nowhere}/"), fetch(place.url), fetch("nonsense")
    )
    assert [list(one) for one in got] == [["err"], ["ok"], ["err"]]


def test_6_4_every_call_is_a_request(place: Place) -> None:
    place.caller.does(*[fetch(place.url)] * 30)
    assert len(place.asked) == 30


def test_6_4_waiting_for_one_does_not_delay_others(place: Place) -> None:
    from concurrent.futures import ThreadPoolExecutor

    place.answers(Reply(200, wait=0.5))
    place.caller.send()
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda _: place.fetch(), range(8)))
    assert all(one["ok"]["status"] == 200 for one in given)
    assert time.monotonic() - began < 2.5


# The allowlist: LOCALHOST, example.test, and entries that never match anything


@pytest.mark.profile("configured")
@pytest.mark.parametrize(
    ("url", "error"),
    [
        pytest.param("http://127.0.0.1:{port}/", "not-allowed", id="6.4-address-of-a-listed-name"),
        pytest.param("http://example.org/", "not-allowed", id="6.4-other"),
        pytest.param("http://notexample.test/", "not-allowed", id="6.4-ending"),
        pytest.param("http://example.test.evil.test/", "not-allowed", id="6.4-beginning"),
        pytest.param("http://example.test./", "not-allowed", id="6.4-dot-at-the-end"),
        pytest.param("http://dotted.test/", "not-allowed", id="6.4-entry-with-a-dot"),
        pytest.param("http://x.dotted.test/", "not-allowed", id="6.4-below-an-entry-with-a-dot"),
        pytest.param("http://x.star.test/", "not-allowed", id="6.4-below-a-star"),
        pytest.param("http://star.test/", "not-allowed", id="6.4-entry-with-a-star"),
        pytest.param("http://port.test:80/", "not-allowed", id="6.4-entry-with-a-port"),
        pytest.param("http://scheme.test/", "not-allowed", id="6.4-entry-with-a-scheme"),
        pytest.param("http://[::1]:{port}/", "not-allowed", id="6.4-ipv6"),
        pytest.param("data:text/plain,x", "not-allowed", id="6.4-no-host"),
        pytest.param("file:///etc/passwd", "not-allowed", id="6.4-file"),
        pytest.param("nonsense", "invalid-url", id="6.4-url-before-the-list"),
        pytest.param("http://user@example.org:80@example.org/", "not-allowed", id="6.4-login"),
        pytest.param("http://example.test@example.org/", "not-allowed", id="6.4-listed-login"),
        pytest.param("http://example.org\\@example.test/", "not-allowed", id="6.4-backslash"),
        pytest.param("http://example.org#@example.test/", "not-allowed", id="6.4-fragment"),
        pytest.param("http://example.org?@example.test/", "not-allowed", id="6.4-query"),
    ],
)
def test_6_4_not_on_the_list(place: Place, *, url: str, error: str) -> None:
    port = place.caller.peers.web.authority.rpartition(":")[2]
    assert place.fetch(url.format(port=port)) == {"err": error}
    assert place.asked == []


@pytest.mark.profile("configured")
@pytest.mark.parametrize(
    ("method", "error"), [("A B", "invalid-url"), ("GET", "transport")], ids=["method", "host"]
)
def test_6_4_the_list_comes_before_the_method(place: Place, *, method: str, error: str) -> None:
    assert place.fetch("http://example.org/", method=method) == {"err": "not-allowed"}
    for host in ("example.test", "deep.sub.Example.TEST"):
        assert place.fetch(f"http://{host}:9/", method=method) == {"err": error}


@pytest.mark.profile("configured")
def test_6_4_on_the_list(place: Place) -> None:
    elsewhere = place.caller.peers.elsewhere.replace("localhost", "LocalHost")
    url = f"{elsewhere}{place.path}"
    assert place.fetch(url)["ok"]["status"] == 200
    assert place.fetch(url.replace("//", "//user:pass@"))["ok"]["status"] == 200
