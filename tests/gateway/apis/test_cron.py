"""The pure parts of schedules: rules, times, the rate and the number of the lock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from algaenv.gateway.apis.scheduler import cron
from algaenv.gateway.apis.scheduler.api import ChangeLimiter
from algaenv.gateway.apis.scheduler.cron import CronError, next_run
from algaenv.gateway.apis.scheduler.loop import POLL_SECONDS, due_runs, pause
from algaenv.gateway.apis.scheduler.runs import lock_key

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "*/5 * * * *",
        "0 3 * * *",
        " 0  3 1 * * ",
        "0 0 * * 1-5",
        "* 3 * * *",
        "0,1 * * * *",
        "5/10 * * * *",
    ],
)
def test_cron(text: str) -> None:
    assert cron.check_cron(text) == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "0 0 0 * * *",
        "@daily",
        "0 0 * * MON",
        "0 0 L * *",
        "0 0 1 * 1",
        *(f"{often} * * * *" for often in ("*", "*/1", "*/2", "*/3", "*/4")),
        f"{','.join(['0'] * 64)} * * * *",
    ],
)
def test_bad_cron(text: str) -> None:
    with pytest.raises(cron.InvalidField) as raised:
        cron.check_cron(text)
    assert raised.value.field == "cron"


@pytest.mark.parametrize(
    "text", ["61 * * * *", "5-1 * * * *", "*/0 * * * *", "1,,2 * * * *", "0 0 31 2 *"]
)
def test_nonsense_is_only_refused_where_it_should_run(text: str) -> None:
    assert cron.check_cron(text) == text
    with pytest.raises(cron.InvalidField):
        cron.check_fires(text, "UTC")


@pytest.mark.parametrize("name", ["UTC", "utc", "Europe/Berlin", "america/new_york", "", " "])
def test_timezone(name: str) -> None:
    assert cron.check_timezone(name) == (name.strip() or "UTC")


@pytest.mark.parametrize(
    "name",
    [
        *("Mars/Base", "../../etc/passwd", "/etc/localtime", "x" * 65, "Europe", "UTC0", "+02:00"),
        *("localtime", "Factory", "posixrules", "posix/UTC", "right/UTC", "Z"),
    ],
)
def test_bad_timezone(name: str) -> None:
    """Files beside those of the zones are none."""
    with pytest.raises(cron.InvalidField):
        cron.check_timezone(name)


@pytest.mark.parametrize("value", [1, "x", True, ["x" * 100_000], {"a": "𝄞" * 50_000}])
def test_bad_payload(value: object) -> None:
    with pytest.raises(cron.InvalidField):
        cron.check_payload(value)


def test_payload_at_the_limit() -> None:
    assert cron.check_payload({"a": "x" * 99_992})


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        ("*/5 * * * *", "UTC", NOON, NOON + timedelta(minutes=5)),
        ("*/5 * * * *", "UTC", NOON - timedelta(seconds=0.5), NOON),
        ("0 9 * * *", "America/New_York", NOON, NOON + timedelta(hours=2)),
        ("0 9 * * *", "Asia/Kolkata", NOON, NOON + timedelta(hours=15.5)),
        # In Berlin 02:30 is left out on 29 March 2026, and comes twice on 25 October.
        (
            "30 2 * * *",
            "Europe/Berlin",
            datetime(2026, 3, 28, 12, tzinfo=UTC),
            datetime(2026, 3, 29, 1, tzinfo=UTC),
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            datetime(2026, 10, 24, 12, tzinfo=UTC),
            datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
            datetime(2026, 10, 26, 1, 30, tzinfo=UTC),
        ),
    ],
)
def test_following(cron: str, zone: str, after: datetime, expected: datetime) -> None:
    assert next_run(cron, zone, after) == expected


def test_nonsense_has_no_time() -> None:
    for expression, zone in (("x", "UTC"), ("0 0 * * *", "Nowhere")):
        with pytest.raises(CronError):
            next_run(expression, zone, NOON)


def _row(
    cron: str = "*/5 * * * *", changed: datetime = NOON - timedelta(days=1)
) -> dict[str, object]:
    return {"id": "s", "cron": cron, "timezone": "UTC", "updated_at": changed}


@pytest.mark.parametrize(
    ("since", "now", "changed", "count"),
    [
        (-1, 0, -3600, 1),
        (-1, 2, -3600, 1),
        (0, 2, -3600, 0),
        (-1, 2, 1, 0),
        (-1, 2, 0, 0),
        (-7200, 30, -86400, 1),
        (-7200, 90, -86400, 0),
    ],
)
def test_due(since: int, now: int, changed: int, count: int) -> None:
    """Seconds from noon: of the last poll, of this one, and of the last change of the row."""
    at = [NOON + timedelta(seconds=it) for it in (since, now, changed)]
    found = list(due_runs([_row(changed=at[2])], at[0], at[1]))
    assert [it.moment for it in found] == [NOON] * count


def test_rows_nobody_understands_are_passed_over() -> None:
    assert not list(due_runs([_row("nonsense")], NOON - timedelta(seconds=1), NOON))
    assert pause([_row("nonsense")], NOON) == POLL_SECONDS


def test_pause_ends_when_something_is_due() -> None:
    assert pause([_row()], NOON - timedelta(seconds=2)) == 2
    assert pause([], NOON) == POLL_SECONDS


def test_rate() -> None:
    now = [0.0]
    rate = ChangeLimiter(lambda: now[0])
    assert [rate.allows("a") for _ in range(11)] == [True] * 10 + [False]
    assert rate.allows("b")
    now[0] = 60.0
    assert not rate.allows("a")
    now[0] = 60.1
    assert rate.allows("a")


@pytest.mark.parametrize(
    ("text", "key"),
    [("", 0), ("a", 97), ("ab", 97 * 31 + 98), ("00000000-0000-0000-0000-000000000000", None)],
)
def test_lock_key(text: str, key: int | None) -> None:
    found = lock_key(text)
    assert -(2**31) <= found < 2**31
    if key is None:
        whole = sum(ord(it) * 31**power for power, it in enumerate(reversed(text)))
        key = (whole + 2**31) % 2**32 - 2**31
    assert found == key
