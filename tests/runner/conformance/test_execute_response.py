"""5.2, 5.3: what a handler is given, and what becomes of its answer."""

from __future__ import annotations

from base64 import b64decode, b64encode
from urllib.parse import parse_qsl, urlsplit

import pytest

from . import components as wat
from .calls import Caller, Json, b64, do
from .guests import holding

# 5.2


def test_5_2_the_context(caller: Caller) -> None:
    told = caller.send(None, {"context.config": {"never": "seen"}}).json
    assert told["context"] == {
        "request_id": caller.request_id,
        "tenant_id": caller.tenant,
        "extension_id": caller.extension,
        "install_id": caller.install,
        "version_id": "v-1",
    }


@pytest.mark.parametrize("absent", [None, ...], ids=["5.2-null", "5.2-absent"])
def test_5_2_options_of_the_context(caller: Caller, absent: object) -> None:
    names = ("request_id", "install_id", "version_id")
    told = caller.send(None, {f"context.{name}": absent for name in names}).json
    assert [told["context"][name] for name in names] == [None, None, None]


@pytest.mark.parametrize("text", ["", "ü 𝄞 \u0000 \n", "x" * 100_000], ids=["empty", "odd", "long"])
def test_5_2_strings_of_the_context(caller: Caller, text: str) -> None:
    told = caller.send(None, {"context.install_id": text, "context.tenant_id": text}).json
    assert (told["context"]["install_id"], told["context"]["tenant_id"]) == (text, text)


@pytest.mark.parametrize("method", ["GET", "post", "", "a b", "ü"])
def test_5_2_methods_go_through(caller: Caller, method: str) -> None:
    assert caller.send(None, {"http.method": method}).json["request"]["method"] == method


@pytest.mark.parametrize(
    ("path", "query", "url"),
    [
        pytest.param("/a", {}, "/a", id="5.2-no-query"),
        pytest.param("/dynamic/echo", {"foo": "bar"}, "/dynamic/echo?foo=bar", id="5.2-query"),
        pytest.param("/a?b=c", {"d": "e"}, "/a?b=c&d=e", id="5.2-query-in-the-path"),
        pytest.param("/a?", {"d": "e"}, "/a?&d=e", id="5.2-question-mark-in-the-path"),
        pytest.param("", {}, "", id="5.2-empty-path"),
        pytest.param("../x ü#y", {}, "../x ü#y", id="5.2-path-is-not-touched"),
        pytest.param("/a", {"b c": "d&e=f+g"}, "/a?b+c=d%26e%3Df%2Bg", id="5.2-form-encoding"),
        pytest.param("/a", {"ü": "*-._~/"}, "/a?%C3%BC=*-._%7E%2F", id="5.2-form-alphabet"),
        pytest.param("/a", {"b": ""}, "/a?b=", id="5.2-empty-value"),
        pytest.param("/a", {"": "b"}, "/a?=b", id="5.2-empty-name"),
    ],
)
def test_5_2_urls(caller: Caller, *, path: str, query: dict[str, str], url: str) -> None:
    told = caller.send(None, {"http.path": path, "http.query": query}).json
    assert told["request"]["url"] == url


def test_5_2_pairs_in_any_order(caller: Caller) -> None:
    query = {f"k{number}": f"v {number}" for number in range(20)}
    url = caller.send(None, {"http.query": query}).json["request"]["url"]
    assert dict(parse_qsl(urlsplit(url).query)) == query


def test_5_2_headers_in_any_order(caller: Caller) -> None:
    headers = {"Content-Type": "a", "x-Ü": "ö", "": "", "x-b": "c\nd", "X-B": "e"}
    told = caller.send(None, {"http.headers": headers}).json["request"]["headers"]
    assert sorted(map(tuple, told)) == sorted(headers.items())


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        pytest.param(..., None, id="5.2-absent"),
        pytest.param(None, None, id="5.2-null"),
        pytest.param("", b"", id="5.2-empty"),
        pytest.param(b64(b"no script"), b"no script", id="5.2-text"),
        pytest.param(b64(bytes(range(256))), bytes(range(256)), id="5.2-every-byte"),
        pytest.param(f" \n{b64(b'trimmed')}\t ", b"trimmed", id="5.2-blanks-around-it"),
        pytest.param("  ", b"", id="5.2-blanks"),
        pytest.param("+/+/", b"\xfb\xff\xbf", id="5.2-standard-alphabet"),
    ],
)
def test_5_2_bodies(caller: Caller, *, body: object, seen: bytes | None) -> None:
    told = caller.send(None, {"http.body_b64": body}).json["request"]["body_b64"]
    assert (None if told is None else b64decode(told)) == seen


def test_5_2_a_large_body(caller: Caller) -> None:
    body = bytes(range(256)) * 4096
    told = caller.send(None, {"http.body_b64": b64encode(body).decode()}).json
    assert b64decode(told["request"]["body_b64"]) == body


# 5.3


@pytest.mark.parametrize(
    ("respond", "fields"),
    [
        pytest.param({}, {"status": 200, "headers": {}, "body_b64": None}, id="5.3-nothing"),
        pytest.param({"body": ""}, {"body_b64": ""}, id="5.3-empty-body"),
        pytest.param({"body": "hé"}, {"body_b64": b64("hé")}, id="5.3-text"),
        pytest.param({"body_b64": "/+8="}, {"body_b64": "/+8="}, id="5.3-bytes"),
        pytest.param(
            {"headers": [["x-a", "1"], ["X-A", "2"], ["x-a", "3"]]},
            {"headers": {"x-a": "3", "X-A": "2"}},
            id="5.3-equal-names",
        ),
        pytest.param(
            {"headers": [["set-cookie", "a=b"], ["connection", "close"], ["content-length", "9"]]},
            {"headers": {"set-cookie": "a=b", "connection": "close", "content-length": "9"}},
            id="5.3-no-filter",
        ),
        pytest.param(
            {"headers": [["", ""], ["é x", "a\r\nb"]]},
            {"headers": {"": "", "é x": "a\r\nb"}},
            id="5.3-odd-headers",
        ),
    ],
)
def test_5_3_answers(caller: Caller, *, respond: Json, fields: Json) -> None:
    found = caller.send({"respond": respond}).fields
    assert found["error"] is None
    assert {name: found[name] for name in fields} == fields


def test_5_3_many_headers(caller: Caller) -> None:
    headers = {f"x-{number}": "v" * 100 for number in range(1000)}
    assert caller.send({"respond": {"headers": list(headers.items())}}).headers == headers


def test_5_3_a_large_body(caller: Caller) -> None:
    outcome = caller.send({"respond": {"body_size": 1_500_000}})
    assert outcome.body == b"x" * 1_500_000


def test_5_3_a_status_beyond_http(caller: Caller) -> None:
    assert caller.of(holding(wat.GREATEST_STATUS)).send().status == 65_535


# 5.1


def test_5_1_no_state_from_call_to_call(caller: Caller) -> None:
    for _ in range(6):
        before, _, after = caller.does(do("memory.size"), do("memory.grow", 7), do("memory.size"))
        assert after["ok"] == before["ok"] + 7
        assert caller.gets(do("memory.size"))["ok"] == before["ok"]


def test_5_1_calls_at_once_do_not_mix(caller: Caller) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def told(number: int) -> bool:
        changes = {
            "context.request_id": f"r-{number}",
            "http.path": f"/{number}",
            "http.headers": {"x": str(number)},
        }
        script: Json = {"calls": [do("context.get-context"), do("spin", number % 5)]}
        if number % 7 == 0:
            return caller.send(script | {"then": "trap"}, changes).status == 500
        found = caller.send(script, changes).json
        return bool(
            found["context"]["request_id"] == f"r-{number}"
            and found["results"][0]["ok"]["request_id"] == f"r-{number}"
            and found["request"]["url"] == f"/{number}"
            and found["request"]["headers"] == [["x", str(number)]]
        )

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(told, range(120)))
