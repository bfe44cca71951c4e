"""6.5: storage."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest

from .calls import Caller, Json, b64, do
from .internal import Api
from .stub import Reply, said

BYTES = {"encoding": "base64-bytes"}
GET = do("storage.get", "ns", "key")
LIST = do("storage.list-entries", "ns", None)
STATUSES = {
    400: "internal",
    401: "denied",
    403: "denied",
    404: "missing",
    409: "conflict",
    422: "internal",
    429: "denied",
    500: "internal",
    503: "internal",
}
CALLS = {
    "get": GET,
    "put": do("storage.put", {"namespace": "ns", "key": "key", "value": b64("v")}),
    "delete": do("storage.delete", "ns", "key"),
    "list": LIST,
}


@pytest.fixture
def api(caller: Caller) -> Api:
    return Api(caller, "ext-storage")


def entry(value: bytes, *, revision: int | None = None, key: str = "key") -> Json:
    return {"namespace": "ns", "key": key, "value": b64(value), "revision": revision}


@pytest.mark.parametrize(
    ("call", "body"),
    [
        pytest.param(GET, {"operation": "get", "namespace": "ns", "key": "key"}, id="6.5-get"),
        pytest.param(
            do("storage.get", "", "a/b ü"),
            {"operation": "get", "namespace": "", "key": "a/b ü"},
            id="6.5-get-odd",
        ),
        pytest.param(
            do("storage.put", entry(b"\0\xff")),
            {
                "operation": "put",
                "namespace": "ns",
                "key": "key",
                "value": b64(b"\0\xff"),
                "metadata": BYTES,
            },
            id="6.5-put",
        ),
        pytest.param(
            do("storage.put", entry(b"", revision=0)),
            {
                "operation": "put",
                "namespace": "ns",
                "key": "key",
                "value": "",
                "metadata": BYTES,
                "ifRevision": 0,
            },
            id="6.5-put-revision",
        ),
        pytest.param(
            do("storage.put", entry(b"", revision=2**53)),
            {
                "operation": "put",
                "namespace": "ns",
                "key": "key",
                "value": "",
                "metadata": BYTES,
                "ifRevision": 2**53,
            },
            id="6.5-put-large-revision",
        ),
        pytest.param(
            do("storage.delete", "ns", "key"),
            {"operation": "delete", "namespace": "ns", "key": "key"},
            id="6.5-delete",
        ),
        pytest.param(
            LIST,
            {
                "operation": "list",
                "namespace": "ns",
                "includeValues": True,
                "includeMetadata": True,
            },
            id="6.5-list",
        ),
        pytest.param(
            do("storage.list-entries", "ns", "cursor"),
            {
                "operation": "list",
                "namespace": "ns",
                "includeValues": True,
                "includeMetadata": True,
                "cursor": "cursor",
            },
            id="6.5-list-cursor",
        ),
        pytest.param(
            do("storage.list-entries", "ns", ""),
            {
                "operation": "list",
                "namespace": "ns",
                "includeValues": True,
                "includeMetadata": True,
                "cursor": "",
            },
            id="6.5-list-empty-cursor",
        ),
    ],
)
def test_6_5_what_is_asked(api: Api, *, call: Json, body: Json) -> None:
    api.gives({}, call)
    assert api.bodies == [body]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", CALLS)
def test_6_5_statuses(api: Api, *, name: str, status: int) -> None:
    assert api.gives(Reply(status, b"why"), CALLS[name]) == {"err": STATUSES[status]}


# get and its entries


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        pytest.param({"value": b64(b"\0\xff"), "metadata": BYTES}, b"\0\xff", id="6.5-bytes"),
        pytest.param({"value": "", "metadata": BYTES}, b"", id="6.5-empty-bytes"),
        pytest.param({"value": "aGk="}, b"hi", id="6.5-string-that-is-base64"),
        pytest.param({"value": "hello"}, b"hello", id="6.5-string"),
        pytest.param({"value": "four"}, b64decode("four"), id="6.5-string-that-could-be-base64"),
        pytest.param({"value": "ü"}, "ü".encode(), id="6.5-string-unicode"),
        pytest.param({"value": ""}, b"", id="6.5-empty-string"),
        pytest.param({"value": {"_bytes_b64": "aGk="}}, b"hi", id="6.5-object-of-bytes"),
        pytest.param(
            {"value": {"_bytes_b64": 5}}, b'{"_bytes_b64":5}', id="6.5-object-of-a-number"
        ),
        pytest.param({"value": {"a": [1, None]}}, b'{"a":[1,null]}', id="6.5-object"),
        pytest.param({"value": {"ü": "é"}}, '{"ü":"é"}'.encode(), id="6.5-object-unicode"),
        pytest.param({"value": [1, 2.5]}, b"[1,2.5]", id="6.5-array"),
        pytest.param({"value": 7}, b"7", id="6.5-number"),
        pytest.param({"value": False}, b"false", id="6.5-boolean"),
        pytest.param({"value": None}, b"null", id="6.5-null"),
        pytest.param({}, b"null", id="6.5-absent"),
        pytest.param({"value": "hi", "metadata": {"encoding": "other"}}, b"hi", id="6.5-encoding"),
        pytest.param({"value": 7, "metadata": None}, b"7", id="6.5-no-metadata"),
    ],
)
def test_6_5_values(api: Api, *, answer: Json, value: bytes) -> None:
    given = api.gives(answer, GET)["ok"]
    assert b64decode(given["value"]) == value
    assert (given["namespace"], given["key"], given["revision"]) == ("ns", "key", None)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"value": 5, "metadata": BYTES}, id="6.5-bytes-of-a-number"),
        pytest.param({"metadata": BYTES}, id="6.5-bytes-of-nothing"),
        pytest.param({"value": "no base64!", "metadata": BYTES}, id="6.5-bytes-of-no-base64"),
        pytest.param({"value": {"_bytes_b64": "!"}}, id="6.5-object-of-no-base64"),
        pytest.param([], id="6.5-array"),
        pytest.param("text", id="6.5-string"),
        pytest.param(None, id="6.5-null"),
    ],
)
def test_6_5_entries_that_cannot_be_read(api: Api, answer: object) -> None:
    assert api.gives(said(answer), GET) == {"err": "internal"}


@pytest.mark.parametrize("blank", [b"", b" \r\n\t"])
def test_6_5_an_empty_answer_is_null(api: Api, blank: bytes) -> None:
    assert api.gives(Reply(200, blank), GET) == {"err": "internal"}


@pytest.mark.parametrize(
    ("revision", "seen"),
    [
        (3, 3),
        (0, 0),
        (2**53, 2**53),
        (None, None),
        (-1, None),
        (1.5, None),
        ("3", None),
        (True, None),
    ],
)
def test_6_5_revisions(api: Api, *, revision: object, seen: int | None) -> None:
    given = api.gives({"value": "", "revision": revision}, GET)["ok"]
    assert given["revision"] == seen
    given = api.gives({"revision": revision}, do("storage.put", entry(b"v")))["ok"]
    assert given["revision"] == seen


def test_6_5_the_answer_names_the_entry(api: Api) -> None:
    given = api.gives({"namespace": "other", "key": "another", "value": ""}, GET)["ok"]
    assert (given["namespace"], given["key"]) == ("other", "another")
    given = api.gives({"namespace": 5, "key": None, "value": ""}, GET)
    assert given in ({"err": "internal"}, {"ok": entry(b"") | {"revision": None}})


# put


def test_6_5_put_echoes_what_it_was_given(api: Api) -> None:
    given = api.gives(
        {"namespace": "x", "key": "x", "value": "x", "revision": 9},
        do("storage.put", entry(b"\0v", revision=8)),
    )
    assert given == {"ok": entry(b"\0v", revision=9)}
    assert api.gives({}, do("storage.put", entry(b"v", revision=8))) == {"ok": entry(b"v")}


@pytest.mark.parametrize("answer", [Reply(200), said(None), said([]), said("x")])
def test_6_5_put_needs_no_answer(api: Api, answer: Reply) -> None:
    assert api.gives(answer, do("storage.put", entry(b"v"))) == {"ok": entry(b"v")}


def test_6_5_a_large_value(api: Api) -> None:
    value = bytes(range(256)) * 256
    api.gives({}, do("storage.put", entry(value)))
    assert b64decode(api.bodies[0]["value"]) == value


# delete


@pytest.mark.parametrize(
    ("answer", "given"),
    [
        pytest.param(said({"success": True}), {"ok": None}, id="6.5-success"),
        pytest.param(said({}), {"ok": None}, id="6.5-absent"),
        pytest.param(said(None), {"ok": None}, id="6.5-null"),
        pytest.param(Reply(204), {"ok": None}, id="6.5-204"),
        pytest.param(Reply(200), {"ok": None}, id="6.5-empty"),
        pytest.param(said({"success": False}), {"err": "conflict"}, id="6.5-no-success"),
    ],
)
def test_6_5_delete(api: Api, *, answer: Reply, given: object) -> None:
    assert api.gives(answer, CALLS["delete"]) == given


# list


def test_6_5_all_items_in_their_order(api: Api) -> None:
    items = [
        {"namespace": "ns", "key": f"k{n}", "value": b64(f"v{n}"), "metadata": BYTES, "revision": n}
        for n in range(50)
    ]
    given = api.gives({"items": items, "nextCursor": "dropped"}, LIST)["ok"]
    assert given == [entry(f"v{n}".encode(), revision=n, key=f"k{n}") for n in range(50)]


@pytest.mark.parametrize(
    "answer", [{}, {"items": []}, {"nextCursor": None}], ids=["6.5-none", "6.5-empty", "6.5-cursor"]
)
def test_6_5_no_items(api: Api, answer: Json) -> None:
    assert api.gives(answer, LIST) == {"ok": []}


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"key": "k", "value": ""}, id="6.5-no-namespace"),
        pytest.param({"namespace": "ns", "value": ""}, id="6.5-no-key"),
        pytest.param({"namespace": "ns", "key": 5, "value": ""}, id="6.5-key-is-a-number"),
        pytest.param("text", id="6.5-no-object"),
        pytest.param(
            {"namespace": "ns", "key": "k", "value": 5, "metadata": BYTES}, id="6.5-no-bytes"
        ),
    ],
)
def test_6_5_one_broken_item_breaks_the_list(api: Api, broken: Any) -> None:
    good = {"namespace": "ns", "key": "k", "value": ""}
    assert api.gives({"items": [good, broken]}, LIST) == {"err": "internal"}
    assert "ok" in api.gives({"items": [good, good | {"more": 1}]}, LIST)
