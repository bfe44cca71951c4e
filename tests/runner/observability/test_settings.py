"""What the variables of the debug stream mean."""

from __future__ import annotations

import pytest

from algaenv.runner.settings import DebugStreamSettings

URL = "RUNNER_DEBUG_REDIS_URL"
PASSWORD = "RUNNER_DEBUG_REDIS_PASSWORD"


def test_off_unless_there_is_a_url() -> None:
    for env in ({}, {URL: ""}, {URL: "  ", PASSWORD: "p"}):
        assert DebugStreamSettings.read(env) == DebugStreamSettings(None, "ext-debug:", 2000, 8192)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h:1/2", "redis://:p%40%2F%3A%20%C3%A9@h:1/2"),
        ("rediss://h", "rediss://:p%40%2F%3A%20%C3%A9@h"),
        ("redis://h/0?x=a@b", "redis://:p%40%2F%3A%20%C3%A9@h/0?x=a@b"),
        ("redis://h?x=a@b", "redis://:p%40%2F%3A%20%C3%A9@h?x=a@b"),
        ("redis://user:own@h", "redis://user:own@h"),
        ("redis://user@h", "redis://user@h"),
        ("unix:///run/redis", "unix:///run/redis"),
        ("nonsense", "nonsense"),
    ],
)
def test_the_password_becomes_part_of_the_url(url: str, expected: str) -> None:
    assert DebugStreamSettings.read({URL: url, PASSWORD: "p@/: é"}).url == expected
    assert DebugStreamSettings.read({URL: url, PASSWORD: ""}).url == url


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "x", " 7", "٣", "9" * 19, "9" * 30])
def test_numbers_that_are_none(text: str) -> None:
    read = DebugStreamSettings.read(
        {"RUNNER_DEBUG_REDIS_MAXLEN": text, "RUNNER_DEBUG_MAX_EVENT_BYTES": text}
    )
    assert (read.maxlen, read.event_bytes) == (2000, 8192)


def test_numbers_and_the_prefix() -> None:
    read = DebugStreamSettings.read(
        {
            "RUNNER_DEBUG_REDIS_MAXLEN": "7",
            "RUNNER_DEBUG_MAX_EVENT_BYTES": "1",
            "RUNNER_DEBUG_REDIS_STREAM_PREFIX": "",
        }
    )
    assert (read.maxlen, read.event_bytes, read.prefix) == (7, 1, "")


def test_the_password_is_not_shown() -> None:
    assert "hidden" not in repr(DebugStreamSettings.read({URL: "redis://h", PASSWORD: "hidden"}))
