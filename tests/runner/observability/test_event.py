"""Keys, fields and the cutting of messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from algaenv.runner.observability.guest_log import DebugEvent, EventOrigin, truncate_utf8

FULL = EventOrigin("Tenant-A", "Demo-Ext", "i-1", "r-1", "v-1")


def event(origin: EventOrigin) -> DebugEvent:
    return DebugEvent(1, "info", "log", origin, b"said", truncated=False)


@pytest.mark.parametrize(
    ("origin", "key"),
    [
        (FULL, "P:tenant-a:demo-ext"),
        (EventOrigin("ÄB", "İ"), "P:Äb:İ"),
        (EventOrigin("T", None), "P:t"),
        (EventOrigin(None, "E"), "P:e"),
        (EventOrigin(None, None), "P:unknown"),
    ],
)
def test_keys(origin: EventOrigin, key: str) -> None:
    assert event(origin).key("P:") == key


def test_fields_in_their_order() -> None:
    assert list(event(FULL).fields().items()) == [
        ("ts", "1"),
        ("level", "info"),
        ("stream", "log"),
        ("tenant", b"Tenant-A"),
        ("extension", b"Demo-Ext"),
        ("install", b"i-1"),
        ("request", b"r-1"),
        ("version", b"v-1"),
        ("message", b"said"),
        ("truncated", "0"),
    ]
    assert list(event(EventOrigin("t", "e")).fields()) == [
        *("ts", "level", "stream", "tenant", "extension", "message", "truncated"),
    ]


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("abc", 3, (b"abc", False)),
        ("abcd", 3, (b"abc", True)),
        ("aé", 2, (b"a", True)),
        ("aé", 3, ("aé".encode(), False)),
        ("😀", 3, (b"", True)),
        ("", 1, (b"", False)),
    ],
)
def test_cuts(text: str, most: int, expected: tuple[bytes, bool]) -> None:
    assert truncate_utf8(text, most) == expected


@given(some.text(alphabet="aé€😀\n"), some.integers(1, 40))
def test_no_character_is_cut(text: str, most: int) -> None:
    content, truncated = truncate_utf8(text, most)
    assert text.startswith(content.decode())
    assert len(content) <= most
    assert truncated == (len(text.encode()) > most)
    if truncated:
        # Nor is more taken away than has to be.
        assert len(content) > most - 4
