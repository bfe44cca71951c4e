"""The loop over the application in memory: what each change leads to, and what failures do."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.dev import loop
from algaenv.dev.events import (
    DevEvent,
    ExtensionTurn,
    Ignored,
    SelfTriggered,
    TurnEnded,
    TurnStarted,
    Watching,
)
from algaenv.dev.loop import Loop, Message, Rebuild, Restart, Stop, Unanswered
from algaenv.dev.watcher import Changes, Targets
from algaenv.drivers.build.watched import Watched
from algaenv.model.event import Report, Reported
from algaenv.model.kind import PROCESS
from algaenv.model.probe import BrokenHandler
from algaenv.model.problem import (
    AlgaenvError,
    Conflict,
    EngineGone,
    Failed,
    NotReady,
    Problem,
    ResolveError,
    SpecError,
)
from algaenv.model.status import Status
from tests.reconcile.memory_dependencies import MemoryDependencies

PAGE, HANDLER = "/source/ui/index.html", "/source/src/handler.ts"


EVERYTHING = Watched((Path("/source"),), lambda _: True, lambda _: True)


class Surroundings:
    """Records what the loop says; `targets` is what the spec says."""

    def __init__(self, memory: MemoryDependencies) -> None:
        self._memory = memory
        self.events: queue.SimpleQueue[DevEvent] = queue.SimpleQueue()
        self.built: list[tuple[str, ...]] = []
        self.prepared: list[tuple[dict[str, Sequence[str]], tuple[str, ...], bool]] = []
        self.debts: list[tuple[str, ...]] = []
        self.reads = 0
        self.spec_error: AlgaenvError | None = None

    def targets(self) -> Targets:
        if self.spec_error is not None:
            raise self.spec_error
        self.reads += 1
        files = ("algaenv.yaml", f"read {self.reads}")
        return Targets(dict.fromkeys(self._memory.archives, EVERYTHING), files)

    def emit(self, event: DevEvent) -> None:
        self.events.put(event)

    def building(self, names: Sequence[str]) -> None:
        self.built.append(tuple(names))

    def ended(self, turn: TurnEnded, changed: Iterable[str], status: Status | None) -> None: ...

    def describe(self, turn: ExtensionTurn, status: Status) -> ExtensionTurn:
        return replace(turn, answer=f"{turn.name} answers")

    def prepare(
        self, changed: Mapping[str, Sequence[str]], names: Sequence[str], *, components: bool
    ) -> None:
        self.prepared.append((dict(changed), tuple(names), components))

    def owed(self) -> tuple[str, ...]:
        return (self.debts.pop(0) if len(self.debts) > 1 else self.debts[0]) if self.debts else ()

    def runs_from_source(self, name: str) -> bool:
        return False


class NoWatcher:
    """Tests put changes into the queue themselves."""

    directories = 3

    def __init__(self) -> None:
        self.watched: list[Targets] = []

    def watch(self, targets: Targets) -> None:
        self.watched.append(targets)

    def stop(self) -> None: ...


class Dev:
    """A loop in a thread."""

    def __init__(self, memory: MemoryDependencies) -> None:
        self.memory = memory
        self.surroundings = Surroundings(memory)
        self.watcher = NoWatcher()
        self.messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.result: list[Report | BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        loop = Loop(
            lambda: self.memory.application,
            self.memory.request,
            self.watcher,
            self.surroundings,
            messages=self.messages,
        )
        try:
            self.result.append(loop.run())
        except AlgaenvError as error:
            self.result.append(error)

    def start(self) -> Dev:
        self._thread.start()
        return self

    def wait_for(self, kind: type[DevEvent], seconds: float = 10) -> DevEvent:
        """The next event of this kind; others before it are dropped."""
        while True:
            event = self.surroundings.events.get(timeout=seconds)
            if isinstance(event, kind):
                return event

    def turn(self) -> TurnEnded:
        event = self.wait_for(TurnEnded)
        assert isinstance(event, TurnEnded)
        return event

    def edit(self, content: bytes, name: str = "hello", file: str = PAGE) -> None:
        self.memory.archives[name] = content
        self.messages.put(Changes((), {name: (file,)}))

    def end(self) -> Report | BaseException:
        self.messages.put(Stop())
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self.result[0]


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    made = Dev(MemoryDependencies(tmp_path))
    yield made
    made.messages.put(Stop())


@pytest.fixture
def watching(dev: Dev) -> Dev:
    dev.start().wait_for(Watching)
    return dev


def only(turn: TurnEnded) -> ExtensionTurn:
    (extension,) = turn.extensions
    return extension


def test_it_begins_with_everything_and_ends_when_asked(dev: Dev) -> None:
    dev.start()
    reported = dev.wait_for(Reported)
    assert isinstance(reported, Reported)
    assert reported.report.failed == 0
    assert reported.report.changed > 10
    assert dev.wait_for(Watching) == Watching(3, ("hello",))
    assert dev.end() == Report("dev")


def test_an_edit_is_a_turn_about_its_extension(watching: Dev) -> None:
    watching.memory.archives["other"] = b"other"
    calls = len(watching.memory.world.calls)
    watching.edit(b"second")
    started = watching.wait_for(TurnStarted)
    assert started == TurnStarted(1, "1 file changed", ("hello",), (PAGE,))
    turn = watching.turn()
    hello = only(turn)
    assert (turn.failed, turn.number, hello.name, hello.state) == (False, 1, "hello", "applied")
    assert hello.answer == "hello answers"
    assert len(hello.digest) == 64
    assert turn.status is not None
    changed = watching.memory.world.calls[calls:]
    assert [it.partition("@")[0] for it in changed] == [
        "create bundle/hello",
        "update release/hello",
    ]
    assert watching.surroundings.built == [("hello",)]


def test_changes_of_two_extensions_at_once_are_one_turn(watching: Dev) -> None:
    watching.memory.archives |= {"hello": b"second", "other": b"new"}
    both = {"hello": (PAGE,), "other": ("/other/ui/index.html",)}
    watching.messages.put(Changes(("algaenv.yaml",), both))
    turn = watching.turn()
    assert {it.name: it.state for it in turn.extensions} == {"hello": "applied", "other": "applied"}
    assert len(watching.watcher.watched) == 2  # The spec names another extension now.


def test_a_save_without_a_change_is_no_turn(watching: Dev) -> None:
    watching.messages.put(Changes((), {}, saved=(PAGE,)))
    assert watching.wait_for(Ignored) == Ignored((PAGE,))
    watching.edit(b"second")
    assert watching.turn().number == 1


def test_a_broken_build_leaves_the_last_good_version_and_recovers(watching: Dev) -> None:
    problem = Problem("build-failed", "cannot build hello")

    def fails() -> None:
        raise ResolveError(problem)

    before = dict(watching.memory.world.there)
    watching.memory.before_packing = fails
    watching.edit(b"broken")
    turn = watching.turn()
    assert only(turn).problems == (problem,)
    assert (turn.failed, only(turn).state, turn.retry_seconds) == (True, "failed", None)
    assert watching.memory.world.there == before
    watching.memory.before_packing = lambda: None
    watching.edit(b"good")
    turn = watching.turn()
    assert (turn.failed, only(turn).state) == (False, "applied")


def test_a_spec_that_cannot_be_read_keeps_the_one_before(watching: Dev) -> None:
    problem = Problem("spec-key-unknown", "cannot use the key bogus")
    watching.surroundings.spec_error = SpecError(problem)
    watching.messages.put(Changes(("algaenv.yaml",), {}))
    assert watching.turn().problems == (problem,)
    watching.edit(b"second")  # Sources are watched as before.
    assert only(watching.turn()).state == "applied"
    watching.surroundings.spec_error = None
    watching.messages.put(Changes(("algaenv.yaml",), {}))
    assert not watching.turn().failed


def test_a_spec_that_is_wrong_at_first_is_an_error(dev: Dev) -> None:
    dev.surroundings.spec_error = SpecError(Problem("spec-syntax", "cannot read it"))
    dev.start()
    assert dev.end() is dev.surroundings.spec_error


def test_an_engine_that_is_gone_at_first_ends_it(dev: Dev) -> None:
    gone = EngineGone(Problem("engine-unreachable", "cannot reach the engine"))
    dev.memory.world.failures["observe services"] = gone
    report = dev.start().end()
    assert isinstance(report, Report)
    assert (report.error, report.failed) == ("EngineGone", 1)


def test_a_service_that_is_gone_is_started_again(watching: Dev) -> None:
    watching.memory.world.stop("redis")
    watching.messages.put(Unanswered(("redis",)))
    started = watching.wait_for(TurnStarted)
    assert started == TurnStarted(1, "redis does not answer", ())
    assert not watching.turn().failed
    assert watching.memory.world.there[PROCESS.address("redis")].running


def test_what_no_file_caused_is_tried_again_until_it_works(
    watching: Dev, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("algaenv.dev.loop.RETRY_SECONDS", (0.01, 0.02))
    problem = Problem("host-silent", "cannot reach the database")
    watching.memory.world.failures["read content"] = Conflict(problem)
    watching.edit(b"second")
    pauses = [watching.turn().retry_seconds for _ in range(4)]
    assert pauses == [0.01, 0.02, 0.02, 0.02]
    watching.memory.world.failures.clear()
    while (turn := watching.turn()).failed:
        pass
    assert turn.retry_seconds is None
    assert {it.name: it.state for it in turn.extensions} == {"hello": "applied"}


def test_an_edit_gives_up_the_turn_before_it(watching: Dev) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        began.set()
        assert go_on.wait(10)
        watching.memory.before_packing = lambda: None

    watching.memory.before_packing = slow
    watching.edit(b"second")
    assert began.wait(10)
    watching.edit(b"third")
    go_on.set()
    turns = [watching.turn(), watching.turn()]
    assert [it.superseded for it in turns] == [True, False]
    assert only(turns[1]).state == "applied"
    assert f"create bundle/{_short(b'third')}" in watching.memory.world.calls
    assert f"create bundle/{_short(b'second')}" not in watching.memory.world.calls


def test_an_edit_of_another_extension_waits_for_the_turn_before_it(watching: Dev) -> None:
    watching.memory.archives["other"] = b"other"

    def slow() -> None:
        watching.memory.before_packing = lambda: None
        watching.edit(b"changed", "other")

    watching.memory.before_packing = slow
    watching.edit(b"second")
    turns = [watching.turn(), watching.turn()]
    assert [only(it).name for it in turns] == ["hello", "other"]
    assert not any(it.superseded or it.failed for it in turns)


def test_a_build_that_changes_its_sources_is_named_and_slowed_down(
    watching: Dev, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("algaenv.dev.loop._SLOW_SECONDS", 0.3)
    count = 0

    def writes_a_source() -> None:
        nonlocal count
        count += 1
        watching.edit(b"made by build %d" % count, file=HANDLER)

    watching.memory.before_packing = writes_a_source
    watching.edit(b"second", file=HANDLER)
    assert watching.wait_for(SelfTriggered) == SelfTriggered("hello", (HANDLER,))
    before, started = count, time.monotonic()
    for _ in range(2):
        watching.turn()
    assert time.monotonic() - started >= 0.3
    assert count <= before + 3
    watching.memory.before_packing = lambda: None
    watching.edit(b"of another file")  # Which waits for nothing.
    while (turn := watching.turn()).superseded or only(turn).state != "applied":
        pass


def test_who_saves_in_every_turn_loses_no_edit(
    watching: Dev, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("algaenv.dev.loop._SLOW_SECONDS", 0.1)
    saved = 0

    def saves() -> None:
        nonlocal saved
        if saved < 9:
            saved += 1
            watching.edit(b"edit %d" % saved, file=HANDLER)

    watching.memory.before_packing = saves
    watching.edit(b"first edit", file=HANDLER)
    last = f"create bundle/{_short(b'edit 9')}"
    while last not in watching.memory.world.calls:
        watching.turn()
    assert saved == 9


def test_the_extensions_that_were_asked_for_are_the_only_ones(tmp_path: Path) -> None:
    dev = Dev(MemoryDependencies(tmp_path))
    dev.memory.archives["other"] = b"other"
    dev.memory.request = replace(dev.memory.request, extensions=("hello",))
    dev.start().wait_for(Watching)
    assert "create release/other" not in dev.memory.world.calls
    for message in (Rebuild(), Changes(("algaenv.yaml",), {}), Unanswered(("redis",))):
        dev.messages.put(message)
        assert not dev.turn().failed
    assert "create release/other" not in dev.memory.world.calls
    dev.end()


def test_a_service_that_does_not_answer_is_tried_again_and_a_handler_is_not(
    watching: Dev,
) -> None:
    silent = NotReady(Problem("not-ready", "redis is not ready"))
    watching.memory.world.stop("redis")
    watching.memory.world.failures["update process/redis"] = silent
    watching.messages.put(Unanswered(("redis",)))
    assert watching.turn().retry_seconds is not None
    watching.memory.world.failures.clear()
    while watching.turn().failed:
        pass
    watching.memory.services.handler = BrokenHandler("no component", "build it anew")
    watching.edit(b"second")
    turn = watching.turn()
    assert (only(turn).state, turn.retry_seconds) == ("failed", None)


def test_a_component_follows_the_source_once_nothing_changes(
    watching: Dev, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("algaenv.dev.loop.COMPONENT_SECONDS", 0.05)
    watching.surroundings.debts = [("hello",), ("hello",), ()]
    watching.edit(b"from source", file=HANDLER)
    watching.turn()
    started = watching.wait_for(TurnStarted)
    assert isinstance(started, TurnStarted)
    assert (started.extensions, started.changed) == (("hello",), ())
    assert "component" in started.cause
    assert not watching.turn().failed
    prepared = watching.surroundings.prepared
    assert [it[2] for it in prepared] == [False, True]
    assert prepared[0][0] == {"hello": (HANDLER,)}


def test_a_component_waits_while_something_is_wrong(
    watching: Dev, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("algaenv.dev.loop.COMPONENT_SECONDS", 0.01)

    def fails() -> None:
        raise ResolveError(Problem("handler-bundle", "cannot bundle it"))

    watching.surroundings.debts = [("hello",)] * 3
    watching.memory.before_packing = fails
    watching.edit(b"broken", file=HANDLER)
    assert watching.turn().failed
    with pytest.raises(queue.Empty):
        watching.wait_for(TurnStarted, 0.3)


def test_a_bug_of_ours_ends_a_turn_and_not_the_loop(watching: Dev) -> None:
    def breaks() -> None:
        raise RuntimeError("no such thing")

    watching.memory.before_packing = breaks
    watching.edit(b"second")
    turn = watching.turn()
    assert turn.failed
    assert "no such thing" in str(turn.problems[0].summary)
    watching.memory.before_packing = lambda: None
    watching.edit(b"third")
    assert not watching.turn().failed


@pytest.mark.parametrize(
    "file", ["package.json", "tsconfig.app.json", "tailwind.config.js", "pnpm-workspace.yaml"]
)
def test_what_counts_is_read_anew_when_the_way_to_build_changes(watching: Dev, file: str) -> None:
    watching.edit(b"second", file=f"/source/{file}")
    started = watching.wait_for(TurnStarted)
    assert isinstance(started, TurnStarted)
    assert started.extensions == ()
    assert not watching.turn().failed
    assert len(watching.watcher.watched) == 2
    watching.edit(b"third")
    watching.turn()
    assert len(watching.watcher.watched) == 2


def test_rebuild_and_restart_are_about_everything(watching: Dev) -> None:
    watching.messages.put(Rebuild())
    assert watching.wait_for(TurnStarted) == TurnStarted(1, "asked for")
    assert not watching.turn().failed
    calls = len(watching.memory.world.calls)
    watching.messages.put(Restart())
    assert watching.wait_for(TurnStarted) == TurnStarted(2, "restart")
    assert not watching.turn().failed
    done = watching.memory.world.calls[calls:]
    assert {"delete process/runner", "create process/runner"} <= set(done)
    assert "delete folder/database" not in done


def test_it_ends_in_the_middle_of_a_turn(watching: Dev) -> None:
    def stop() -> None:
        watching.messages.put(Stop())

    watching.memory.before_packing = stop
    watching.edit(b"second")
    assert watching.end() == Report("dev")
    assert f"create bundle/{_short(b'second')}" not in watching.memory.world.calls


def test_a_watch_that_fails_is_told(watching: Dev) -> None:
    problem = Problem("watch-failed", "cannot watch 3 directories")
    watching.messages.put(Failed(problem))
    assert watching.turn().problems == (problem,)


def test_a_warning_is_shown_once(watching: Dev) -> None:
    original = watching.memory.load_spec
    warning = Problem("spec-engine-caution", "cannot recommend it")
    load: Callable[..., object] = lambda request: (original(request)[0], (warning,))  # noqa: E731
    watching.memory.load_spec = load  # type: ignore[method-assign,assignment]
    for content in (b"second", b"third"):
        watching.edit(content)
    seen: list[DevEvent] = []
    while sum(isinstance(it, TurnEnded) and not it.superseded for it in seen) < 1:
        seen.append(watching.surroundings.events.get(timeout=10))
    watching.edit(b"fourth")
    watching.turn()
    assert sum("Warned" in type(it).__name__ for it in seen) == 1


def _short(content: bytes) -> str:
    from algaenv.bundle.digest import Digest

    return f"hello@{Digest.of(content).short}"


def test_a_component_takes_the_place_after_a_pause_and_yields_to_an_edit(
    watching: Dev, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "COMPONENT_SECONDS", 0.05)
    surroundings, memory = watching.surroundings, watching.memory
    # Asked after the turn of an edit, and after the pause; nothing is owed in the end.
    surroundings.debts = [("hello",)] * 4

    def edit_again() -> None:
        """While the component is built."""
        if surroundings.prepared[-1][2]:
            memory.before_packing = lambda: None
            watching.edit(b"source 2", file=HANDLER)

    memory.before_packing = edit_again
    watching.edit(b"source 1", file=HANDLER)
    turns = [watching.turn() for _ in range(4)]
    assert [it.superseded for it in turns] == [False, True, False, False]
    assert not any(it.failed for it in turns)
    assert surroundings.prepared == [
        ({"hello": (HANDLER,)}, ("hello",), False),
        ({}, ("hello",), True),
        ({"hello": (HANDLER,)}, ("hello",), False),
        ({}, ("hello",), True),
    ]


def test_a_component_that_cannot_be_built_is_tried_again_after_an_edit_only(
    watching: Dev, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "COMPONENT_SECONDS", 0.05)
    memory, surroundings = watching.memory, watching.surroundings
    problem = Problem("build-failed", "cannot build hello", "mend it")

    def refuse() -> None:
        if surroundings.prepared[-1][2]:
            raise ResolveError(problem)

    memory.before_packing = refuse
    surroundings.debts = [("hello",)] * 2
    watching.edit(b"source", file=HANDLER)
    assert [watching.turn().failed for _ in range(2)] == [False, True]
    memory.before_packing = lambda: None
    watching.edit(b"source 2", file=HANDLER)
    assert not watching.turn().failed
    assert [it[2] for it in surroundings.prepared] == [False, True, False]


def test_an_edit_after_a_failed_service_is_a_turn_about_everything(watching: Dev) -> None:
    memory = watching.memory
    memory.archives["other"] = b"other"
    problem = Problem("host-silent", "cannot reach the database")
    memory.world.failures["read content"] = Conflict(problem)
    watching.messages.put(Rebuild())
    assert watching.turn().failed
    memory.world.failures.clear()
    watching.edit(b"second")
    turn = watching.turn()
    assert not turn.failed
    assert {it.name for it in turn.extensions} == {"hello", "other"}
