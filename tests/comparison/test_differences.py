"""What differs between two answers, and what may."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from algaenv.comparison.choice import (
    CHANGES,
    CUT,
    NO_NAME,
    NO_TEXT,
    PARAMETERS,
    declared_calls,
    recorded_calls,
)
from algaenv.comparison.differences import MOST, compare_answers, differences
from algaenv.comparison.volatile import (
    HOST_CALL,
    TOLD_HEADERS,
    VOLATILE_HEADERS,
    VOLATILE_KEYS,
    IgnoreRules,
    rule_problem,
    stable_text,
)
from algaenv.model.comparison import Answer, Call, Difference, LeftOut, Outcome
from tests.docs.pages import read

ID, OTHER_ID = "0b3c1f52-6a0c-4a63-9b0f-8a9f2c7b1d11", "9e2d7c1a-1111-5222-8333-444455556666"


def answer(body: Any = None, status: int = 200, **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, content, 1.0)


def found(here: Answer, there: Answer, *rules: str) -> list[Difference]:
    return list(differences(here, there, IgnoreRules.of(rules)))


def places(here: Any, there: Any, *rules: str) -> list[str]:
    return [each.at for each in found(answer(here), answer(there), *rules)]


def test_nothing_differs() -> None:
    assert (
        found(answer({"a": [1, None, True]}, etag="x"), answer({"a": [1, None, True]}, etag="x"))
        == []
    )


def test_status_headers_and_body_in_this_order() -> None:
    here = answer({"a": 1}, content_type="application/json", x_one="1")
    there = answer({"a": 2}, 404, content_type="text/plain")
    assert found(here, there) == [
        Difference("status", "", (200,), (404,)),
        Difference("header", "content-type", ("application/json",), ("text/plain",)),
        Difference("header", "x-one", ("1",), ()),
        Difference("body", "/a", (1,), (2,)),
    ]


@pytest.mark.parametrize(
    ("here", "there", "at"),
    [
        ({"a": 1}, {"a": 1, "b": None}, ["/b"]),
        ({"a": [1, 2, 3]}, {"a": [1, 2]}, ["/a/2"]),
        ({"a/b": {"~": 1}}, {"a/b": {"~": 2}}, ["/a~1b/~0"]),
        ({"a": True}, {"a": 1}, ["/a"]),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": "1"}, {"a": 1}, ["/a"]),
        ({"a": {}}, {"a": []}, ["/a"]),
        ([1], {"0": 1}, [""]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
        ({"date": "2026-01-05"}, {"date": "2026-01-06"}, ["/date"]),
    ],
)
def test_json_is_compared_by_value(here: Any, there: Any, at: list[str]) -> None:
    assert places(here, there) == at


NOW = time.time()


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ({"id": ID}, {"id": OTHER_ID}),
        ({"note": f"note-{ID}.txt"}, {"note": f"note-{OTHER_ID}.txt"}),
        ({"id": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}, {"id": "01BX5ZZKBKACTAV9WEVGEMMVRZ"}),
        ({"at": "2026-01-05T10:00:00Z"}, {"at": "2026-02-06T11:12:13.456+02:00"}),
        ({"at": "Mon, 05 Jan 2026 10:00:00 GMT"}, {"at": "Tue, 06 Jan 2026 11:00:00 GMT"}),
        ({"text": "took 12 ms"}, {"text": "took 3.5 ms"}),
        ({"requestId": "r-1"}, {"requestId": "other"}),
        ({"request_id": "r-1"}, {"request_id": "other"}),
        ({"durationMs": 12}, {"durationMs": 13.5}),
        ({"at": int(NOW)}, {"at": int(NOW) + 5}),
        ({"at": int(NOW * 1000)}, {"at": int(NOW * 1000) + 999}),
    ],
)
def test_volatile_values_are_no_difference(here: Any, there: Any) -> None:
    assert places(here, there) == []


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ({"id": ID}, {"id": "none"}),
        ({"id": 1}, {"id": 2}),
        ({"text": f"{ID} is new"}, {"text": f"{ID} is old"}),
        ({"requestId": "r-1"}, {"requestId": None}),
        ({"durationMs": 12}, {"durationMs": "12"}),
        ({"count": 12}, {"count": 13}),
        ({"at": int(NOW)}, {"at": 0}),
        ({"text": "for 45 s"}, {"text": "for 60 s"}),
    ],
)
def test_what_only_looks_volatile_is_one(here: Any, there: Any) -> None:
    assert len(places(here, there)) == 1


def test_headers_of_a_moment_and_of_ours() -> None:
    here = answer(date="a", x_request_id="1", content_length="2", x_algaenv_runner_ms="3")
    there = answer(date="b", x_request_id="2", server="x", x_algaenv_product_fault="y")
    assert found(here, there) == []
    here = answer(x_algaenv_error="e1", x_algaenv_reason="r1", x_algaenv_host_call="h1: ok")
    assert found(here, answer()) == []
    there = answer(x_algaenv_error="e2", x_algaenv_reason="r1", x_algaenv_host_call="h2: ok")
    assert found(here, there) == [
        Difference("header", "x-algaenv-error", ("e1",), ("e2",)),
        Difference("host-call", "", ("h1: ok",), ("h2: ok",)),
    ]


def test_text_and_bytes() -> None:
    assert found(answer(b"a\nb\nc"), answer(b"a\nX\nY")) == [
        Difference("body", "line 2", ("b",), ("X",))
    ]
    assert found(answer(b"a"), answer(b"a\nb")) == [Difference("body", "line 2", (), ("b",))]
    assert found(answer(f"at {ID}".encode()), answer(f"at {OTHER_ID}".encode())) == []
    (bytes_differ,) = found(answer(b"\xff\x00"), answer(b"\xff\x01\x02"))
    assert (bytes_differ.at, str(bytes_differ.here[0])[:7]) == ("", "2 bytes")
    assert found(answer(b""), answer(b"")) == []
    assert found(answer(f'[NaN, "{ID}"]'.encode()), answer(f'[NaN, "{OTHER_ID}"]'.encode())) == []


@pytest.mark.parametrize(
    ("here", "there", "ending", "other"),
    [
        (b"a\r\nb\n", b"a\nb\n", "\r\n", "\n"),
        (b"a\nb\n", b"a\nb", "\n", ""),
        (f"{ID}\n".encode(), f"{OTHER_ID}\r".encode(), "\n", "\r"),
    ],
)
def test_the_ends_of_lines(here: bytes, there: bytes, ending: str, other: str) -> None:
    assert found(answer(here), answer(there)) == [
        Difference("body", "line endings", (ending,), (other,))
    ]
    assert found(answer(here), answer(there), "body") == []


def test_of_cookies_only_the_names_are_compared_and_told() -> None:
    here = answer(set_cookie="session=secret-1; Path=/\ntheme=dark")
    assert found(here, answer(set_cookie="theme=light\nsession=secret-2")) == []
    assert found(here, answer(set_cookie="theme=light")) == [
        Difference("header", "set-cookie", ("session, theme",), ("theme",))
    ]


def test_no_body_is_kept_of_what_was_compared() -> None:
    here, there = answer({"a": 1, "b": "long text"}), answer({"a": 2, "b": "long text"}, 201)
    one = compare_answers(Call("GET", "/x"), here, there, IgnoreRules.of(()))
    assert (one.here, one.there) == (Outcome(200, 1.0), Outcome(201, 1.0))
    assert [each.at for each in one.differences] == ["", "/a"]
    assert "long text" not in repr(one)


@pytest.mark.parametrize(
    ("rules", "kinds"),
    [
        ((), ["status", "header", "header", "body", "body", "host-call"]),
        (("status",), ["header", "header", "body", "body", "host-call"]),
        (("headers", "host-call"), ["status", "body", "body"]),
        (("header:X-One",), ["status", "header", "body", "body", "host-call"]),
        (("body",), ["status", "header", "header", "host-call"]),
        (("body:/items/*/rank",), ["status", "header", "header", "body", "host-call"]),
        (("body:/items", "body:/a"), ["status", "header", "header", "host-call"]),
        (("body:/",), ["status", "header", "header", "body", "body", "host-call"]),
    ],
)
def test_what_is_ignored(rules: tuple[str, ...], kinds: list[str]) -> None:
    here = answer(
        {"items": [{"rank": 1}], "a": 1}, x_one="1", x_two="1", x_algaenv_host_call="a: ok"
    )
    there = answer(
        {"items": [{"rank": 2}], "a": 2}, 201, x_one="2", x_two="2", x_algaenv_host_call="b: ok"
    )
    assert [each.what for each in found(here, there, *rules)] == kinds


@pytest.mark.parametrize("rule", ["", "statuses", "header:", "body:", "body:items", "time"])
def test_rules_that_cannot_be_used(rule: str) -> None:
    assert rule_problem(rule)


def test_there_is_an_end_to_what_is_listed_and_to_what_nests() -> None:
    assert len(places([0] * 1000, [1] * 1000)) == MOST
    deep = "[" * 900 + "{}" + "]" * 900
    (only,) = found(
        answer(deep.replace("{}", "1").encode()), answer(deep.replace("{}", "2").encode())
    )
    assert only.at == "/0" * 900


def test_the_rules_are_documented() -> None:
    _, _, section = read("docs/reference/commands.md").partition("### What is compared")
    section, _, _ = section.partition("### A file of calls")
    words = set(re.findall(r"`([^`]+)`", section))
    assert words >= VOLATILE_HEADERS | set(TOLD_HEADERS) | {HOST_CALL}
    assert {word.lower() for word in words} >= VOLATILE_KEYS


def test_words_around_what_is_volatile_stay() -> None:
    assert stable_text(f"{ID} at 2026-01-05 10:00 in 3 ms") == "<id> at <time> in <duration>"


def test_declared_calls_change_nothing() -> None:
    listed = declared_calls([("GET", "/a"), ("get", "/b"), ("POST", "/a"), ("GET", "/c/:id")], "u")
    assert listed.calls == (Call("GET", "/a", user="u"), Call("GET", "/b", user="u"))
    assert listed.left_out == (LeftOut("POST", "/a", CHANGES), LeftOut("GET", "/c/:id", PARAMETERS))


def test_recorded_calls_are_made_once() -> None:
    ended = {"type": "call-ended", "gateway": "proxy", "method": "GET", "path": "/a", "user": "msp"}
    events = [
        ended,
        {**ended, "type": "call-started"},
        {**ended, "gateway": "direct"},
        {**ended, "user": "client"},
        {**ended, "method": "POST"},
        {**ended, "path": "/" + "x" * 299},
        {**ended, "gateway": "schedule", "path": "/scheduled"},
        {"type": "page-error", "path": "/p"},
    ]
    listed = recorded_calls(events, None)
    assert listed.calls == (Call("GET", "/a", user="msp"), Call("GET", "/a", user="client"))
    assert [it.why for it in listed.left_out] == [CHANGES, CUT]
    assert recorded_calls(events, "other").calls == (Call("GET", "/a", user="other"),)


@pytest.mark.parametrize(
    ("recorded", "sent"),
    [
        ("/a?b 50%/é", "/a%3Fb%2050%25/%C3%A9"),
        ("/a#b", "/a%23b"),
        ("/a:b@c/d,e;f=g", "/a:b@c/d,e;f=g"),
        ("/%2F", "/%252F"),
    ],
)
def test_a_path_without_escapes_gets_them(recorded: str, sent: str) -> None:
    event = {"type": "call-ended", "gateway": "proxy", "method": "GET", "path": recorded}
    (call,) = recorded_calls([event], None).calls
    (declared,) = declared_calls([("GET", recorded)], None).calls
    assert (call.path, declared.path) == (sent, sent)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"path": "/\N{REPLACEMENT CHARACTER}"}, NO_TEXT),
        ({"path": f"/{chr(0xD800)}"}, NO_TEXT),
        ({"user": "\u20ac"}, NO_NAME),
        ({"user": "a\nb"}, NO_NAME),
    ],
)
def test_what_cannot_be_asked_again_is_left_out(changed: dict[str, str], why: str) -> None:
    event = {"type": "call-ended", "gateway": "proxy", "method": "GET", "path": "/a", **changed}
    listed = recorded_calls([event], None)
    assert (listed.calls, [it.why for it in listed.left_out]) == ((), [why])
