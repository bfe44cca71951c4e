"""The measurements: what is run, in turn with what, and the limit each is held to."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from benchmarks import anatomy, dev_loop
from benchmarks.command import Unmeasured, run
from benchmarks.figures import Clock, Figure, Results, pairs
from benchmarks.peer import WAITING
from benchmarks.project import Project
from benchmarks.stage import Stage

MANY: Final = 200
"""Extensions of the project that shows what their number costs."""
QUICK: Final = 3
"""What takes well under a second is measured so many times as often."""
FEW: Final = 3
"""What takes a minute is measured no more often."""
HELP_LIMIT, NOOP_LIMIT, COLD_LIMIT, DOWN_LIMIT = 5.0, 4.0, 1.3, 1.3

Measurement = Callable[[Stage, int, Results], None]


def help_text(stage: Stage, runs: int, results: Results) -> None:
    """`algaenv --help` and an interpreter that does nothing."""
    subject = stage.subject

    def clock(*argv: object) -> Clock:
        words = [str(word) for word in argv]
        return lambda _: run(words, environ=subject.environ, cwd=subject.venv).seconds

    results.figures.append(
        pairs(
            "help",
            "`algaenv --help`",
            runs * QUICK,
            clock(subject.algaenv, "--help"),
            clock(subject.python, "-c", "pass"),
            against="`python -c pass`",
            limit=HELP_LIMIT,
        )
    )


def cold(stage: Stage, runs: int, results: Results) -> None:
    """`up` with images and nothing else, then `down`; each time with volumes never seen before.

    New volumes instead of removed ones: the disk would still be at work on the removal.
    """
    stage.compose("", WAITING)  # described while ours stand
    stage.empty()
    downs: list[float] = []
    peer_downs: list[float] = []

    def ours(turn: int) -> float:
        project = stage.fresh("docker", f"cold-{turn}")
        os.sync()
        took = project.do("up").seconds
        project.unchanged()
        downs.append(project.do("down").seconds)
        return took

    def theirs(turn: int) -> float:
        compose = stage.compose(f"cold-{turn}", WAITING)
        os.sync()
        took = compose.do("up", "-d", "--wait").seconds
        stage.check_peer(compose)
        peer_downs.append(compose.do("down").seconds)
        return took

    figure = pairs(
        "cold",
        "cold `up`: images there, no volumes",
        runs,
        ours,
        theirs,
        against="Compose `up -d --wait`",
        limit=COLD_LIMIT,
    )
    results.figures += [
        figure,
        Figure(
            "down",
            "`down`, data kept",
            tuple(downs[1:]),
            tuple(peer_downs[1:]),
            "Compose `down`",
            DOWN_LIMIT,
            figure.busy,
        ),
    ]


def noop(stage: Stage, runs: int, results: Results) -> None:
    """`up` with nothing to do, on Docker."""
    figure = _noop(stage, runs, "noop", "no-op `up`", runtime="docker", limit=NOOP_LIMIT)
    results.figures.append(figure)


def noop_many(stage: Stage, runs: int, results: Results) -> None:
    """The same with many extensions."""
    title = f"no-op `up`, {MANY} extensions"
    figure = _noop(stage, runs, "noop-many", title, runtime="docker", extensions=MANY)
    results.figures.append(figure)


def noop_process(stage: Stage, runs: int, results: Results) -> None:
    """The same without an engine; the peer needs one."""
    name, title = "noop-process", "no-op `up`, process runtime"
    try:
        stage.standing_peer()
    except Unmeasured:
        project = stage.standing("process")
        figure = pairs(name, title, runs * QUICK, lambda _: project.noop())
    else:
        figure = _noop(stage, runs, name, title, runtime="process")
    results.figures.append(figure)


def look(stage: Stage, runs: int, results: Results) -> None:
    """`plan` and `status`, which change nothing."""
    project = stage.standing("docker")
    theirs = stage.standing_peer()
    results.figures += [
        pairs("plan", "`plan`", runs * QUICK, lambda _: project.do("plan").seconds),
        pairs(
            "status",
            "`status`",
            runs * QUICK,
            lambda _: project.do("status").seconds,
            lambda _: theirs.do("ps").seconds,
            against="Compose `ps`",
        ),
    ]


def edit(stage: Stage, runs: int, results: Results) -> None:
    """From an edit of a page until the runner answers with it."""
    for runtime in ("docker", "process"):
        clock = _edit_clock(stage.standing(runtime))
        title = f"edit → `up` → answered page, {runtime} runtime"
        results.figures.append(pairs(f"edit-{runtime}", title, runs * QUICK, clock))


def dev(stage: Stage, runs: int, results: Results) -> None:
    """From a save until the new version answers, while `dev` watches; and `dev` at rest."""
    for runtime in ("process", "docker"):
        stage.empty()
        project = stage.fresh(runtime, "dev")
        dev_loop.add_handler(project)
        project.do("up")
        with dev_loop.watch(project) as watched:
            title = f"page saved → served, by `dev`, {runtime} runtime"
            watched.begin()
            page = pairs(f"dev-page-{runtime}", title, runs * QUICK, _saved_page_clock(watched))
            results.notes.append(dev_loop.breakdown(title, watched))
            title = f"handler saved → answers from source, by `dev`, {runtime} runtime"
            clock = _saved_handler_clock(watched)
            watched.begin()
            handler = pairs(f"dev-handler-{runtime}", title, runs * QUICK, clock)
            results.notes.append(dev_loop.breakdown(title, watched))
            turns = watched.turns_after_a_save_without_a_change()
            memory, share = watched.at_rest()
        by_hand = pairs("", "", runs * QUICK, _edit_clock(project)).ours
        page = replace(page, peer=by_hand, against="the same edit, `up` by hand")
        results.figures += [page, handler]
        results.notes.append(
            f"`dev`, {runtime} runtime: {turns} turns after a save without a change; at rest "
            f"{memory:.0f} MiB resident and {share:.1f} % of a processor."
        )
        project.do("down", "--volumes", "--yes")


def dev_component(stage: Stage, runs: int, results: Results) -> None:
    """From a component that a tool chain has just written until it answers, while `dev` watches."""
    for runtime in ("process", "docker"):
        stage.empty()
        project = stage.fresh(runtime, "dev-component")
        dev_loop.add_component(project)
        project.do("up")
        with dev_loop.watch(project) as watched:
            title = f"component of 12 MB built → answers, by `dev`, {runtime} runtime"
            clock = _built_component_clock(watched)
            figure = pairs(f"dev-component-{runtime}", title, min(runs, FEW), clock)
        results.figures.append(figure)
        project.do("down", "--volumes", "--yes")


def cold_process(stage: Stage, runs: int, results: Results) -> None:
    """From nothing to an answer without an engine."""
    stage.empty()

    def ours(turn: int) -> float:
        project = stage.fresh("process", f"cold-{turn}")
        os.sync()
        took = project.do("up").seconds
        project.do("down")
        return took

    title = "cold `up`, process runtime"
    results.figures.append(pairs("cold-process", title, runs, ours))


def dissect(stage: Stage, runs: int, results: Results) -> None:
    """Where the time of a no-op goes."""
    for runtime in ("docker", "process"):
        results.anatomies[runtime] = anatomy.dissect(stage.standing(runtime), runs)


MEASUREMENTS: Final[Mapping[str, Measurement]] = {
    "help": help_text,
    "noop": noop,
    "look": look,
    "edit": edit,
    "anatomy": dissect,
    "noop-process": noop_process,
    "noop-many": noop_many,
    "dev": dev,
    "dev-component": dev_component,
    "cold": cold,
    "cold-process": cold_process,
}
"""In the order they are taken, which spares taking things down and up again."""


def _edit_clock(project: Project) -> Clock:
    return lambda turn: project.edit_to_answer(f"edit {turn}")


def _saved_page_clock(watched: dev_loop.Watched) -> Clock:
    return lambda turn: watched.page(f"save {turn}")


def _built_component_clock(watched: dev_loop.Watched) -> Clock:
    # The first number is the component that is there.
    return lambda turn: watched.component(turn + 1)


def _saved_handler_clock(watched: dev_loop.Watched) -> Clock:
    def clock(turn: int) -> float:
        took = watched.handler(f"save {turn}")
        watched.settled()
        return took

    return clock


def _noop(
    stage: Stage,
    runs: int,
    name: str,
    title: str,
    *,
    runtime: str,
    extensions: int = 1,
    limit: float | None = None,
) -> Figure:
    theirs = stage.standing_peer()
    project = stage.standing(runtime, extensions)
    return pairs(
        name,
        title,
        runs * QUICK,
        lambda _: project.noop(),
        lambda _: theirs.noop(),
        against="Compose `up -d`",
        limit=limit,
    )
