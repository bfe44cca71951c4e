"""`storage` row by row."""

from __future__ import annotations

from typing import Any

import pytest

from algaenv.runner.execute.invocation import DEFAULT_CAPABILITIES
from algaenv.runner.host.storage import mask
from algaenv.runner.wasm.wit import Err

from .host import Host
from .stub import Stub, StubResponse

ENTRY = {"namespace": "ns", "key": "k", "value": b"\x00\xff", "revision": None}
CALLS: list[tuple[str, list[Any]]] = [
    ("storage.get", ["ns", "k"]),
    ("storage.put", [ENTRY]),
    ("storage.delete", ["ns", "k"]),
    ("storage.list-entries", ["ns", None]),
]


@pytest.mark.parametrize(("name", "arguments"), CALLS)
def test_refusals(host: Host, server: Stub, name: str, arguments: list[Any]) -> None:
    assert host.call(name, *arguments, capabilities=DEFAULT_CAPABILITIES) == Err("denied")
    assert host.call(name, *arguments, install=None) == Err("denied")
    assert host.call(name, *arguments, install="") == Err("denied")
    assert server.asked == []


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, "internal"), (401, "denied"), (403, "denied"), (404, "missing"), (409, "conflict"),
        (418, "internal"), (429, "denied"), (500, "internal"), (503, "internal"), (304, "internal"),
    ],
)  # fmt: skip
def test_statuses(
    host: Host, server: Stub, call: tuple[str, list[Any]], status: int, error: str
) -> None:
    name, arguments = call
    server.respond(StubResponse(status, b"" if status == 304 else b'{"error": "why"}'))
    assert host.call(name, *arguments) == Err(error)


def test_get(host: Host, server: Stub) -> None:
    server.respond_json(
        {
            "namespace": "ns",
            "key": "k",
            "value": "AP8=",
            "metadata": {"encoding": "base64-bytes"},
            "revision": 18446744073709551615,
            "ttlExpiresAt": None,
        }
    )
    text = host.call("storage.get", "ns", "k")
    assert text == ENTRY | {"revision": 2**64 - 1}
    assert server.last.json() == {"operation": "get", "namespace": "ns", "key": "k"}


def test_get_fills_in_what_was_asked(host: Host, server: Stub) -> None:
    server.respond_json({"value": "AP8="})
    assert host.call("storage.get", "ns", "k") == ENTRY
    server.respond_json({"namespace": "other", "key": 5, "value": "AP8="})
    assert host.call("storage.get", "ns", "k") == ENTRY | {"namespace": "other"}


@pytest.mark.parametrize("answer", [[], "x", 5, True, None])
def test_get_wants_an_object(host: Host, server: Stub, answer: object) -> None:
    server.respond_json(answer)
    assert host.call("storage.get", "ns", "k") == Err("internal")


@pytest.mark.parametrize("revision", [-1, 2**64, 1.0, "1", True, None, [1]])
def test_revisions_that_are_none(host: Host, server: Stub, revision: object) -> None:
    server.respond_json({"value": "", "revision": revision})
    assert host.call("storage.get", "ns", "k")["revision"] is None
    assert host.call("storage.put", ENTRY)["revision"] is None


OURS = {"encoding": "base64-bytes"}


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"value": "aGk=", "metadata": OURS}, b"hi"),
        ({"value": "", "metadata": OURS}, b""),
        ({"value": "aGk", "metadata": OURS}, None),
        ({"value": "aG k=", "metadata": OURS}, None),
        ({"value": {"a": 1}, "metadata": OURS}, None),
        ({"metadata": OURS}, None),
        ({"value": {"_bytes_b64": "aGk=", "x": 1}}, b"hi"),
        ({"value": {"_bytes_b64": "!"}}, None),
        ({"value": {"_bytes_b64": 5}}, b'{"_bytes_b64":5}'),
        ({"value": "aGk="}, b"hi"),
        ({"value": "test"}, b"\xb5\xeb-"),
        ({"value": "tes"}, b"tes"),
        ({"value": "ab=="}, b"ab=="),
        ({"value": "-_-_"}, b"-_-_"),
        ({"value": "grüß"}, "grüß".encode()),
        ({"value": {"a": [1, 2.5, None, "ü"]}}, '{"a":[1,2.5,null,"ü"]}'.encode()),
        ({"value": 7, "metadata": {"encoding": "other"}}, b"7"),
        ({"value": False, "metadata": "odd"}, b"false"),
        ({"value": None}, b"null"),
        ({}, b"null"),
    ],
)
def test_values(host: Host, server: Stub, fields: dict[str, Any], value: bytes | None) -> None:
    server.respond_json(fields)
    text = host.call("storage.get", "ns", "k")
    assert text == (Err("internal") if value is None else ENTRY | {"value": value})


def test_put(host: Host, server: Stub) -> None:
    server.respond_json({"namespace": "other", "key": "other", "revision": 8})
    assert host.call("storage.put", ENTRY) == ENTRY | {"revision": 8}
    body = {
        "operation": "put",
        "namespace": "ns",
        "key": "k",
        "value": "AP8=",
        "metadata": {"encoding": "base64-bytes"},
    }
    assert server.last.json() == body
    host.call("storage.put", ENTRY | {"revision": 0})
    assert server.last.json() == body | {"ifRevision": 0}


@pytest.mark.parametrize("answer", [None, [], "x", {}])
def test_put_wants_nothing_back(host: Host, server: Stub, answer: object) -> None:
    server.respond_json(answer)
    assert host.call("storage.put", ENTRY | {"revision": 7}) == ENTRY


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ({"success": True}, None), ({}, None), (None, None), ([], None), ({"success": "no"}, None),
        ({"success": False}, Err("conflict")),
    ],
)  # fmt: skip
def test_delete(host: Host, server: Stub, answer: object, result: Err | None) -> None:
    server.respond_json(answer)
    assert host.call("storage.delete", "ns", "k") == result
    assert server.last.json() == {"operation": "delete", "namespace": "ns", "key": "k"}


def test_list(host: Host, server: Stub) -> None:
    items = [
        {"namespace": "ns", "key": "a", "value": 1, "revision": 3},
        {"namespace": "ns", "key": "b", "value": "AP8=", "metadata": OURS, "other": True},
    ]
    server.respond_json({"items": items, "nextCursor": "n"})
    assert host.call("storage.list-entries", "ns", None) == [
        {"namespace": "ns", "key": "a", "value": b"1", "revision": 3},
        {"namespace": "ns", "key": "b", "value": b"\x00\xff", "revision": None},
    ]
    body = {"operation": "list", "namespace": "ns", "includeValues": True, "includeMetadata": True}
    assert server.last.json() == body
    host.call("storage.list-entries", "ns", "")
    assert server.last.json() == body | {"cursor": ""}


@pytest.mark.parametrize(
    "item",
    [
        5, None, {"key": "k"}, {"namespace": "ns"}, {"namespace": "ns", "key": 5},
        {"namespace": "ns", "key": "k", "value": "!", "metadata": OURS},
    ],
)  # fmt: skip
def test_one_bad_item_spoils_the_list(host: Host, server: Stub, item: object) -> None:
    server.respond_json({"items": [{"namespace": "ns", "key": "a", "value": 1}, item]})
    assert host.call("storage.list-entries", "ns", None) == Err("internal")


@pytest.mark.parametrize("items", [None, {}, "x", 5])
def test_no_items(host: Host, server: Stub, items: object) -> None:
    server.respond_json({"items": items})
    assert host.call("storage.list-entries", "ns", None) == []


def test_masked() -> None:
    assert [mask(name) for name in ("", "id", "four", "secret", "éé", "ééé")] == [
        "<empty>", "***", "***", "se…et", "***", "éé…éé"
    ]  # fmt: skip
