"""Lines and JSON about `dev`: what is watched, what a turn did, and what answers now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from algaenv.cli.output.comparison import difference_line
from algaenv.cli.output.escape import escape_controls, render_problem
from algaenv.cli.output.json import (
    compared_call_to_json,
    event_document,
    event_to_json,
    problem_to_json,
)
from algaenv.cli.output.lines import duration
from algaenv.cli.output.terminal import PLAIN, Paint
from algaenv.dev.events import (
    APPLIED,
    FAILED,
    DevEvent,
    ExtensionTurn,
    Ignored,
    SelfTriggered,
    TurnEnded,
    TurnStarted,
    Watching,
)

if TYPE_CHECKING:
    from algaenv.cli.output.json import JsonObject

SHOWN_FILES = 3
"""Names of changed files in one line."""


def turn_seconds(seconds: float) -> str:
    """`52 ms`, `4.1s`: a turn is a matter of milliseconds, or of a build."""
    return f"{round(seconds * 1000)} ms" if seconds < 1 else duration(seconds)


def stages_text(turn: ExtensionTurn) -> str:
    """`build 12 · pack 3 · upload 5 = 52 ms`."""
    stages = " · ".join(f"{name} {ms}" for name, ms in turn.stages.items())
    total = turn_seconds(turn.seconds)
    return f"{stages} = {total}" if stages else total


def dev_lines(event: DevEvent, paint: Paint = PLAIN, *, verbose: bool = False) -> list[str]:
    """The lines of an event; none for what only `up` has to say."""
    match event:
        case Watching(directories, extensions):
            names = ", ".join(escape_controls(list(extensions))) or "the spec; it has no extension"
            places = "1 directory" if directories == 1 else f"{directories} directories"
            return [f"{paint('watching', 'cyan')} {names} ({places})"]
        case TurnStarted(_, cause, extensions, changed):
            if not verbose:
                return []
            about = ", ".join(extensions) or "everything"
            files = escape_controls(_files(changed))
            return [paint(f"  {about}: {cause}{': ' if files else ''}{files}", "dim")]
        case Ignored(files):
            what = f"saved without a change: {escape_controls(_files(files))}"
            return [paint(f"  {what}", "dim")] if verbose else []
        case SelfTriggered(extension, files):
            return [
                f"{paint('warning:', 'yellow', 'bold')} the build of {extension} changes what it "
                f"is made from, which would begin it again for ever: "
                f"{escape_controls(_files(files))}",
                "  name these files under `ignore` of the build, or write them elsewhere; until "
                "then it is built only every 10 to 30 seconds",
            ]
        case TurnEnded():
            return _turn_lines(escape_controls(event), paint, verbose=verbose)
        case _:
            return []


def _turn_lines(turn: TurnEnded, paint: Paint, *, verbose: bool) -> list[str]:
    if turn.superseded:
        return [paint("  given up: files changed again", "dim")] if verbose else []
    lines = []
    for it in turn.extensions:
        name = paint(it.name, "bold")
        from_source = f"  {paint('runs from source', 'yellow')}" if it.runs_from == "source" else ""
        match it.state:
            case state if state == APPLIED:
                answer = f"  {it.answer}" if it.answer else ""
                text = stages_text(it)
                lines.append(f"{paint('✓', 'green')} {name}  {text}{answer}{from_source}")
                differs = paint("differs:", "yellow")
                lines += [f"  {differs} {text}" for text in difference_texts(it)]
            case state if state == FAILED:
                text = f"failed after {turn_seconds(it.seconds)}; what ran before goes on"
                lines.append(f"{paint('✗', 'red')} {name}  {paint(text, 'red')}")
                lines += [render_problem(problem, paint) for problem in it.problems]
            case _ if turn.problems:
                continue
            case _:
                text = f"nothing to change in {turn_seconds(turn.seconds)}"
                lines.append(f"{paint('=', 'cyan')} {name}  {text}")
    if turn.problems:
        lines.append(f"{paint('✗', 'red')} {paint('failed', 'red')}; what ran before goes on")
        lines += [render_problem(problem, paint) for problem in turn.problems]
    elif not turn.extensions:
        text = f"everything as the spec says, {turn_seconds(turn.seconds)}"
        lines.append(f"{paint('✓', 'green')} {text}")
    if turn.retry_seconds is not None:
        lines.append(paint(f"  again in {duration(turn.retry_seconds)}, or after a save", "dim"))
    return lines


def difference_texts(turn: ExtensionTurn) -> list[str]:
    """One for each call that the component answers otherwise than the source did; with its user
    where several made the same."""
    texts = []
    paths = [it.call.path for it in turn.differing]
    for it in turn.differing:
        user = f" as {it.call.user}" if it.call.user and paths.count(it.call.path) > 1 else ""
        more = f", and {len(it.differences) - 1} more" if len(it.differences) > 1 else ""
        what = f"the component answers {it.call.method} {it.call.path}{user} otherwise"
        texts.append(escape_controls(f"{what}: {difference_line(it.differences[0])}{more}"))
    return texts


def dev_event_to_json(event: DevEvent) -> JsonObject:
    """As `event_to_json`; a turn has its extensions with stages, answers and problems."""
    match event:
        case Watching(directories, extensions):
            return event_document("watching", directories=directories, extensions=list(extensions))
        case TurnStarted(number, cause, extensions, changed):
            return event_document(
                "turn_started",
                number=number,
                cause=cause,
                extensions=list(extensions),
                changed=list(changed),
            )
        case Ignored(files):
            return event_document("ignored", files=list(files))
        case SelfTriggered(extension, files):
            return event_document("self_triggered", extension=extension, files=list(files))
        case TurnEnded():
            return _turn_to_json(event)
        case _:
            return event_to_json(event)


def _turn_to_json(turn: TurnEnded) -> JsonObject:
    document = event_document(
        "turn_ended",
        number=turn.number,
        seconds=round(turn.seconds, 3),
        failed=turn.failed,
        superseded=turn.superseded,
        extensions=[_extension_to_json(it) for it in turn.extensions],
        problems=[problem_to_json(it) for it in turn.problems],
    )
    if turn.retry_seconds is not None:
        document["retry_seconds"] = turn.retry_seconds
    return document


def _extension_to_json(turn: ExtensionTurn) -> JsonObject:
    document: JsonObject = {
        "name": turn.name,
        "state": turn.state,
        "seconds": round(turn.seconds, 3),
        "stages": dict(turn.stages),
        "runs_from": turn.runs_from,
        "problems": [problem_to_json(it) for it in turn.problems],
    }
    if turn.digest:
        document["digest"] = turn.digest
    if turn.answer:
        document["answer"] = turn.answer
    if turn.differing:
        document["differing"] = [compared_call_to_json(it) for it in turn.differing]
    return document


def _files(paths: tuple[str, ...]) -> str:
    """The first of them, as short as they can be from the current directory."""
    here = f"{Path.cwd()}/"
    shown = ", ".join(it.removeprefix(here) for it in paths[:SHOWN_FILES])
    more = len(paths) - SHOWN_FILES
    return f"{shown} and {more} more" if more > 0 else shown
