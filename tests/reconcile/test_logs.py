"""Logs: what lines mean, which are chosen, and in which order they come."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from algaenv.model.intent import Intent
from algaenv.model.log import LogEntry, LogLine, LogQuery
from algaenv.model.problem import NotReady, Problem, Refused, Unavailable
from algaenv.model.secret import Secret
from algaenv.model.secret_mask import SecretMask, secrets_in
from algaenv.reconcile.log_records import LineParser, entry_text
from algaenv.reconcile.logs import MergedLog, select_sources
from tests.reconcile.memory_dependencies import MemoryDependencies
from tests.reconcile.memory_runtime import MemoryDriver

NAMES = {"id-of-hello": "hello"}
MASK = SecretMask([Secret('sec"ret-value'), Secret("postgres://u:pass%20word@h/db"), Secret("ab")])


class FakeReader:
    """Lines that are kept, and lines that follow; `error` is raised instead of the latter."""

    def __init__(
        self,
        kept: Sequence[LogLine] = (),
        following: Sequence[LogLine] = (),
        error: Unavailable | None = None,
    ) -> None:
        self.lines, self.following, self.error = kept, following, error
        self.asked: list[int | None] = []
        self.closed = threading.Event()

    def kept(self, last: int | None, since: float | None) -> Iterator[LogLine]:
        self.asked.append(last)
        yield from self.lines

    def follow(self, stop: Callable[[], bool]) -> Iterator[LogLine]:
        if self.error:
            raise self.error
        yield from self.following
        while not (stop() or self.closed.wait(0.01)):
            pass

    def unfinished(self) -> Iterator[LogLine]:
        return iter(())

    def close(self) -> None:
        self.closed.set()


def at(second: float, text: str) -> LogLine:
    return LogLine(text, second)


def json_line(second: int, event: str, **fields: object) -> LogLine:
    stamp = f"1970-01-01T00:00:{second:02}.000Z"
    return LogLine(json.dumps({"time": stamp, "level": "info", "event": event, **fields}))


def guest(second: int, message: str, request: str = "r-1", **more: object) -> LogLine:
    fields = {"stream": "log", "message": message, "request_id": request, "tenant": "t"}
    return json_line(second, "guest", extension="id-of-hello", logger="ext", **fields, **more)


def parse(text: str, service: str = "store", stamp: float | None = None) -> LogEntry:
    return LineParser(service, lambda id_: NAMES.get(id_, id_)).parse(LogLine(text, stamp))


@pytest.mark.parametrize(
    ("text", "seconds", "level", "message"),
    [
        ("2026-11-30 18:57:21.200 UTC [2] LOG:  up", 1796065041.2, "", "[2] LOG:  up"),
        ("2026-11-30 18:57:21 UTC [2] ERROR:  no", 1796065041.0, "error", "[2] ERROR:  no"),
        ("[algaenv] 2026-11-30T18:57:21+0000 started", 1796065041.0, "", "[algaenv] started"),
        ("2026-11-30T19:57:21.5+01:00 x", 1796065041.5, "", "x"),
        ("API: http://127.0.0.1", 0.0, "", "API: http://127.0.0.1"),
        ('{"no": "event"}', 0.0, "", '{"no": "event"}'),
        ("{broken", 0.0, "", "{broken"),
        ("[" * 100_000, 0.0, "", "[" * 100_000),
        ("2026-99-30 18:57:21 UTC x", 0.0, "", "x"),
    ],
)
def test_lines_of_services_have_their_own_times(
    text: str, seconds: float, level: str, message: str
) -> None:
    entry = parse(text)
    assert (entry.at, entry.level, entry.message) == (seconds, level, message)


def test_redis_has_levels_and_the_engines_time_goes_before_its_own() -> None:
    entry = parse("7:M 30 Nov 2026 18:57:21.166 # low memory", "redis", 5.0)
    assert (entry.at, entry.level, entry.message) == (5.0, "warning", "7:M # low memory")


def test_a_line_without_a_time_stays_after_the_one_before() -> None:
    parser = LineParser("store", str)
    first = parser.parse(LogLine("2026-11-30 18:57:21 UTC x"))
    assert parser.parse(LogLine("  more")).at == first.at
    assert parser.parse(LogLine("2026-11-30 18:57:20 UTC late")).at == first.at


def test_messages_of_guests_and_requests_are_known() -> None:
    entry = LineParser("runner", lambda id_: NAMES.get(id_, id_)).parse(guest(3, "hi\nthere"))
    assert (entry.kind, entry.source, entry.at) == ("guest", "hello", 3.0)
    assert (entry.request_id, entry.stream, entry.message) == ("r-1", "log", "hi\nthere")
    assert entry.fields == {}
    line = json_line(
        4, "request", method="GET", path="/x", status=500, ms=1.5, why="a b", user="msp"
    )
    entry = LineParser("gateway", str).parse(line)
    assert entry_text(entry) == 'GET /x 500 1.5 ms  why="a b" user=msp'
    other = LineParser("runner", str).parse(json_line(4, "compiled", tier="quick", n=[1]))
    assert entry_text(other) == "compiled  tier=quick n=[1]"
    lost = LineParser("runner", str).parse(json_line(4, "lines lost", lines=3))
    assert (lost.kind, lost.message) == ("gap", "the service could not write 3 lines")


def entries(
    memory: MemoryDependencies,
    readers: dict[str, FakeReader],
    query: LogQuery,
    most: int | None = None,
) -> list[LogEntry]:
    """What comes; with `most` so many are taken of a log that is followed."""
    readers = {name: readers.get(name, FakeReader()) for name in SERVICES}
    merged = MergedLog(readers.__getitem__, intent(memory), query, NAMES, MASK)
    found: list[LogEntry] = []
    for entry in merged.entries(lambda: False):
        found.append(entry)
        if len(found) == most:
            break
    return found


SERVICES = ("store", "redis", "database", "runner", "gateway")


@pytest.fixture
def memory(tmp_path: Path) -> MemoryDependencies:
    return MemoryDependencies(tmp_path)


def intent(memory: MemoryDependencies) -> Intent:
    return memory.load_spec(memory.request)[0]


def said(found: Sequence[LogEntry]) -> list[str]:
    return [f"{it.source}: {entry_text(it)}" for it in found]


def test_lines_are_merged_by_time_and_those_of_a_service_stay_in_order(
    memory: MemoryDependencies,
) -> None:
    readers = {
        "store": FakeReader([at(1, "a"), at(5, "b"), at(3, "c")]),
        "redis": FakeReader([at(2, "x"), at(4, "y")]),
    }
    found = entries(memory, readers, LogQuery())
    assert said(found) == ["store: a", "redis: x", "redis: y", "store: b", "store: c"]
    assert said(entries(memory, readers, LogQuery(last=2))) == ["store: b", "store: c"]
    assert readers["store"].asked == [None, 2]
    assert all(it.closed.is_set() for it in readers.values())


def test_names_choose_services_and_what_is_about_an_extension(memory: MemoryDependencies) -> None:
    call = {"method": "GET", "path": "/x", "status": 200, "ms": 1, "request_id": "r-1"}
    readers = {
        "store": FakeReader([at(1, "a")]),
        "runner": FakeReader([json_line(1, "listening"), guest(2, "hi")]),
        "gateway": FakeReader(
            [json_line(3, "request", extension="slug", extension_id="id-of-hello", **call)]
        ),
    }
    assert said(entries(memory, readers, LogQuery(("store",)))) == ["store: a"]
    assert said(entries(memory, readers, LogQuery(("hello",)))) == [
        "hello: hi",
        "gateway: GET /x 200 1 ms",
    ]
    found = entries(memory, readers, LogQuery(("hello", "runner"), last=2))
    assert said(found) == ["hello: hi", "gateway: GET /x 200 1 ms"]
    assert said(entries(memory, readers, LogQuery(("runner",)))) == [
        "runner: listening",
        "hello: hi",
    ]


def test_time_pattern_and_request_choose_entries_but_never_hide_a_gap(
    memory: MemoryDependencies,
) -> None:
    readers = {
        "runner": FakeReader(
            [guest(1, "one"), guest(2, "two", "q-2"), LogLine("", 3.0, gap="lost"), guest(4, "own")]
        )
    }
    gap = "runner: lost"
    assert said(entries(memory, readers, LogQuery(since=2.0)))[0] == "hello: two"
    assert said(entries(memory, readers, LogQuery(pattern="^o"))) == [
        "hello: one",
        gap,
        "hello: own",
    ]
    assert said(entries(memory, readers, LogQuery(request_id="q"))) == ["hello: two", gap]
    # A filter counts before the last lines do.
    assert said(entries(memory, readers, LogQuery(pattern="one", last=2))) == ["hello: one", gap]


def test_secrets_are_masked_before_anything_looks_at_a_line(memory: MemoryDependencies) -> None:
    readers = {
        "store": FakeReader([at(1, 'with sec"ret-value and pass%20word, ab')]),
        "runner": FakeReader(
            [json_line(2, "x", why='a sec"ret-value', deep=[{"k": "pass%20word"}])]
        ),
    }
    found = entries(memory, readers, LogQuery())
    assert said(found) == [
        "store: with *** and ***, ab",
        'runner: x  why="a ***" deep=[{"k": "***"}]',
    ]
    assert entries(memory, readers, LogQuery(pattern="ret-value")) == []


def test_every_secret_of_the_model_is_found(memory: MemoryDependencies) -> None:
    lock = memory.lock
    found = set(secrets_in((lock.intent, lock.credentials, {"a": [Secret("deep")]})))
    assert {lock.credentials.secret_key, lock.credentials.service_token, Secret("deep")} <= found


def test_what_follows_is_put_in_order_and_the_others_go_on_without_one(
    memory: MemoryDependencies,
) -> None:
    late = FakeReader([at(1, "kept")], [at(9, "second"), at(10, "third")])
    early = FakeReader([], [at(8, "first")])
    gone = FakeReader(error=Unavailable(Problem("x", "cannot read it", "")))
    query = LogQuery(follow=True)
    readers = {"store": late, "redis": early, "database": gone}
    found = entries(memory, readers, query, most=5)
    assert said([it for it in found if it.kind != "gap"]) == [
        "store: kept",
        "redis: first",
        "store: second",
        "store: third",
    ]
    (gap,) = [it for it in found if it.kind == "gap"]
    assert gap.service == "database"
    assert "cannot read it" in gap.message
    assert all(it.closed.is_set() for it in (late, early, gone))


def test_a_name_that_is_neither_is_refused_with_the_nearest(memory: MemoryDependencies) -> None:
    with pytest.raises(Refused) as caught:
        select_sources(("stoer", "hallo", "zzz"), intent(memory))
    hints = [problem.hint for problem in caught.value.problems]
    assert hints[:2] == ["did you mean `store`?", "did you mean `hello`?"]
    assert hints[2] == "there are store, redis, database, runner, gateway, hello"


def test_the_application_reads_the_services_of_the_last_run(
    memory: MemoryDependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    def logs(query: LogQuery) -> list[LogEntry]:
        return list(memory.application.logs(memory.request, query, lambda: True))

    with pytest.raises(NotReady, match="has not been brought up"):
        logs(LogQuery())
    assert not memory.application.up(memory.request, memory.events.append).failed
    with pytest.raises(Refused, match="keeps none"):
        logs(LogQuery())
    token = memory.lock.credentials.service_token.reveal()

    def log_reader(_self: object, address: object) -> FakeReader:
        return FakeReader([at(1, f"I am {address} with {token}")])

    monkeypatch.setattr(MemoryDriver, "log_reader", log_reader, raising=False)
    found = said(logs(LogQuery(("redis",))))
    assert found == ["redis: I am process/redis with ***"]
