"""Resolving bundles: a broken extension does not stop the others; other work goes on meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.bundle.digest import Digest
from algaenv.bundle.manifest.model import parse
from algaenv.model.event import Event, Warned
from algaenv.model.intent import BuildIntent, ExtensionIntent
from algaenv.model.lock import LockedExtension
from algaenv.model.problem import Failed, Problem, ResolveError, Where
from algaenv.reconcile.protocols import OnProgress
from algaenv.reconcile.resolve import BackgroundResolver, BundleBuilder, Resolution, resolve

DEADLINE = 20.0


def intent(name: str) -> ExtensionIntent:
    return ExtensionIntent(
        name=name,
        source=f"/{name}",
        build=None,
        config={},
        secrets={},
        capabilities=None,
        enabled=True,
        ui_dev_server=None,
        where=Where("algaenv.yaml", 1, 1),
    )


class Packer(BundleBuilder):
    """Packs every extension except those in `broken`, whose error it raises.

    `same` name extensions that share a manifest.
    """

    def __init__(self, broken: dict[str, Exception], same: tuple[str, ...] = ()) -> None:
        self.broken = broken
        self.same = same

    def pack(
        self, intent: ExtensionIntent, on_progress: OnProgress
    ) -> tuple[LockedExtension, tuple[Problem, ...]]:
        if intent.name in self.broken:
            raise self.broken[intent.name]
        name = "same" if intent.name in self.same else intent.name
        manifest = parse(
            f'{{"name": "dev.{name}", "publisher": "p", "version": "1.0.0", "runtime": "ui-only@1",'
            ' "ui": {"type": "iframe", "entry": "ui/index.html"}}'
        ).manifest
        archive = Path(f"/{intent.name}.tar.zst")
        return LockedExtension(intent, manifest, Digest("0" * 64), 1, archive, None), ()

    def registry_id(self, intent: ExtensionIntent) -> str | None:
        return None


def names(resolution: Resolution) -> tuple[list[str], list[str]]:
    return [it.name for it in resolution.extensions], [it.name for it in resolution.broken]


def test_what_is_broken_keeps_no_other_back_and_its_warnings_are_told() -> None:
    wrong, full = Problem("manifest-json", "cannot read it"), Problem("disk-full", "cannot write")
    warned = Problem("manifest-icon", "a warning")
    events: list[Event] = []
    packer = Packer({"b": ResolveError(wrong, wrong, warnings=[warned]), "d": Failed(full)})
    found = resolve([intent(it) for it in "abcd"], packer, events.append)
    assert names(found) == (["a", "c"], ["b", "d"])
    assert [(it.problems, it.error) for it in found.broken] == [
        ((wrong, wrong), "ResolveError"),
        ((full,), "Failed"),
    ]
    assert [it for it in events if isinstance(it, Warned)] == [Warned(warned)]


def test_of_two_that_are_the_same_extension_the_first_is_sound() -> None:
    found = resolve([intent(it) for it in "abc"], Packer({}, same=("a", "c")), lambda _: None)
    assert names(found) == (["a", "b"], ["c"])
    assert [it.problems[0].code for it in found.broken] == ["extension-twice"]


class Meeting(Packer):
    """Each build waits until `parties` are under way."""

    def __init__(self, parties: int, broken: dict[str, Exception]) -> None:
        super().__init__(broken)
        self.barrier = threading.Barrier(parties)
        self.at_once = 0
        self.most = 0
        self.counting = threading.Lock()

    def pack(
        self, intent: ExtensionIntent, on_progress: OnProgress
    ) -> tuple[LockedExtension, tuple[Problem, ...]]:
        with self.counting:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        self.barrier.wait(DEADLINE)
        with self.counting:
            self.at_once -= 1
        return super().pack(intent, on_progress)


def built(name: str) -> ExtensionIntent:
    return replace(intent(name), build=BuildIntent((), f"/{name}", {}, 1.0))


def test_builds_run_side_by_side_and_no_more_of_them_than_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    packer = Meeting(2, {"c": Failed(Problem("disk-full", "cannot write"))})
    found = resolve([built(it) for it in "abcd"], packer, lambda _: None)
    assert names(found) == (["a", "b", "d"], ["c"])
    assert packer.most == 2


def test_one_core_builds_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    packer = Meeting(1, {})
    found = resolve([built("a"), intent("b"), built("c")], packer, lambda _: None)
    assert names(found) == (["a", "b", "c"], [])
    assert packer.most == 1


def test_what_is_only_packed_does_not_wait_for_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    packer = Meeting(3, {})
    found = resolve([built("a"), intent("b"), built("c")], packer, lambda _: None)
    assert names(found) == (["a", "b", "c"], [])


def test_beside_other_work_it_is_begun_at_once_and_waited_for() -> None:
    go, begun = threading.Event(), threading.Event()

    def run(_: Callable[[], bool]) -> Resolution:
        begun.set()
        assert go.wait(DEADLINE)
        return Resolution()

    resolver = BackgroundResolver(run, lambda: False, in_background=True)
    assert begun.wait(DEADLINE)
    assert not resolver.ready_within(0.0)
    go.set()
    assert resolver.result() == Resolution()
    assert resolver.ready_within(0.0)


def test_what_goes_wrong_beside_other_work_is_raised_where_it_is_asked_for() -> None:
    def run(_: Callable[[], bool]) -> Resolution:
        raise ZeroDivisionError

    resolver = BackgroundResolver(run, lambda: False, in_background=True)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            resolver.result()


def test_a_run_that_ends_early_ends_the_builds() -> None:
    ended = threading.Event()

    def run(cancelled: Callable[[], bool]) -> Resolution:
        while not cancelled():
            ended.wait(0.01)
        ended.set()
        return Resolution()

    BackgroundResolver(run, lambda: False, in_background=True).stop()
    assert ended.is_set()


def test_alone_it_is_done_when_first_asked_for_and_once() -> None:
    done: list[None] = []

    def run(_: Callable[[], bool]) -> Resolution:
        done.append(None)
        return Resolution()

    resolver = BackgroundResolver(run, lambda: False, in_background=False)
    assert resolver.ready_within(0.0)
    assert done == []
    assert resolver.result() is resolver.result()
    assert len(done) == 1


def test_of_a_kind_of_warning_the_first_is_told_with_the_places_of_the_others() -> None:
    def warning(code: str, line: int) -> Problem:
        return Problem(code, "cannot load it", "mend it", Where("a.html", line, 1))

    warnings = [warning("x", 1), warning("y", 1), *(warning("x", line) for line in range(2, 7))]
    events: list[Event] = []
    packer = Packer({"a": ResolveError(warning("z", 1), warnings=warnings)})
    resolve([intent("a")], packer, events.append)
    problems = [it.problem for it in events if isinstance(it, Warned)]
    places = "a.html:2:1, a.html:3:1, a.html:4:1, …"
    summary = f"cannot load it (and 5 more of this kind: {places})"
    assert problems == [replace(warnings[0], summary=summary), warnings[1]]
