"""Draws the screen of `dev`: services, extensions, what is wrong, turns, calls, log, keys."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from algaenv.cli.output.dev_lines import stages_text, turn_seconds
from algaenv.cli.output.dev_state import Screen, failing
from algaenv.cli.output.escape import render_problem
from algaenv.dev.events import APPLIED, FAILED, ExtensionTurn, TurnEnded

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

KEYS = (
    ("o", "open"),
    ("r", "rebuild"),
    ("l", "logs"),
    ("s", "restart"),
    ("q", "quit"),
)
LEAVING = (("d", "detach: it goes on running"), ("s", "stop it"), ("other keys", "go on"))
_NARROW = 70


def draw(
    screen: Screen,
    *,
    width: int,
    height: int,
    log_only: bool = False,
    leaving: bool = False,
    note: str = "",
) -> RenderableType:
    """The whole screen, exactly `height` lines; `note` is an answer to the last key."""
    from rich.console import Group

    head = [_title(screen, width), *_services(screen, width), *_extensions(screen, width)]
    foot = [_footer(leaving=leaving, note=note)]
    left = max(height - len(head) - len(foot), 0)
    body = _log_section(screen, left - 1, width) if log_only else _body(screen, left, width)
    lines = [*head, *body][: max(height - len(foot), 0)]
    blank = [_text("")] * max(height - len(foot) - len(lines), 0)
    return Group(*lines, *blank, *foot)


def _title(screen: Screen, width: int) -> Text:
    title = _text("algaenv dev", "bold")
    if screen.status is not None:
        title.append(f"  {screen.status.environment.name} on {screen.status.runtime}")
    if screen.turn is not None:
        about = ", ".join(screen.turn.extensions) or "everything"
        title.append(f"  working on {about}", "cyan")
        title.append(f"  {screen.note or screen.turn.cause}", "dim")
    elif screen.watching is not None:
        title.append(f"  watching {screen.watching.directories} directories", "dim")
    title.truncate(width, overflow="ellipsis")
    return title


def _services(screen: Screen, width: int) -> list[Text]:
    if screen.status is None:
        return []
    line = _text("")
    for service in screen.status.services:
        good = service.state == "ready"
        line.append("● " if good else "○ ", "green" if good else "red")
        line.append(service.name)
        if not good:
            line.append(f" {service.state}", "red")
        line.append("  ")
    line.truncate(width, overflow="ellipsis")
    return [line]


def _extensions(screen: Screen, width: int) -> list[Text]:
    if screen.status is None:
        return []
    lines = [_heading("extensions", width)]
    bad = failing(screen)
    longest = max((len(it.name) for it in screen.status.extensions), default=0)
    for extension in screen.status.extensions:
        turn = screen.latest.get(extension.name)
        failed = extension.name in bad
        line = _text("✗ " if failed else "✓ ", "red" if failed else "green")
        line.append(extension.name.ljust(longest), "bold")
        line.append(f"  {extension.version}  {extension.content_hash.rpartition(':')[2][:12]}  ")
        if failed:
            line.append("does not build; the last good version serves", "red")
        elif turn is not None and turn.runs_from == "source":
            line.append("runs from source", "yellow")
        else:
            line.append("ready" if extension.ready else extension.detail or "not ready")
        page = next(iter(extension.portal_urls.values()), "")
        if page and width > _NARROW:
            line.append(f"  {page}", "dim")
        line.truncate(width, overflow="ellipsis")
        lines.append(line)
    if not screen.status.extensions:
        lines.append(_text("the spec has none yet", "dim"))
    return lines


def _body(screen: Screen, height: int, width: int) -> list[Text]:
    """Problems first, as far as they need; then turns, calls and the log share what is left."""
    lines: list[Text] = []
    if screen.problems:
        text = "\n".join(render_problem(it) for it in screen.problems)
        found = [_text(line, "red" if "error[" in line else "") for line in text.splitlines()]
        lines += [_heading("what is wrong", width, "red"), *found[: max(height // 2, 3)]]
    height -= len(lines)
    turns = [_turn(at, turn, width) for at, turn in screen.turns if not turn.superseded]
    calls = [_call(screen, number, width) for number in range(len(screen.calls))]
    log = _log(screen, height)
    sections = {"turns": turns, "calls": calls, "log": log}
    shares = _shares([max(len(it), 1) for it in sections.values()], height - len(sections))
    for (title, rows), share in zip(sections.items(), shares, strict=True):
        lines.append(_heading(title, width))
        lines += rows[-share:] if rows else [_text("nothing yet", "dim")]
    return lines


def _shares(needs: Sequence[int], height: int) -> list[int]:
    """Lines for each: at least one, equally many as far as they are needed, together `height`."""
    shares = [1 for _ in needs]
    left = height - len(shares)
    while left > 0 and (wanting := [it for it, need in enumerate(needs) if need > shares[it]]):
        shares[min(wanting, key=shares.__getitem__)] += 1
        left -= 1
    return shares


def _turn(at: float, turn: TurnEnded, width: int) -> Text:
    line = _text(f"{_clock(at)} ", "dim")
    for it in turn.extensions:
        line.append(_mark(it), "red" if it.state == FAILED else "green")
        line.append(f" {it.name} ", "bold")
        if it.state == APPLIED:
            line.append(stages_text(it))
            line.append(f"  {it.answer}  " if it.answer else "  ", "cyan")
        elif it.state == FAILED:
            why = it.problems[0].summary if it.problems else "failed"
            line.append(f"{why}  ", "red")
        else:
            line.append(f"nothing to change, {turn_seconds(turn.seconds)}  ", "dim")
    if not turn.extensions:
        why = turn.problems[0].summary if turn.problems else "everything as the spec says"
        line.append(f"{why}, {turn_seconds(turn.seconds)}", "red" if turn.problems else "")
    line.truncate(width, overflow="ellipsis")
    return line


def _mark(turn: ExtensionTurn) -> str:
    return {APPLIED: "✓", FAILED: "✗"}.get(turn.state, "=")


def _call(screen: Screen, number: int, width: int) -> Text:
    row = screen.calls[number]
    good = row.status < 400
    line = _text(f"{_clock(row.at)} ", "dim")
    line.append(f"{row.status} ", "green" if good else "red")
    line.append(f"{row.extension} ", "bold")
    line.append(f"{row.text}  {row.ms:.1f} ms")
    if row.reason and not good:
        line.append(f"  {row.reason}", "red")
    line.truncate(width, overflow="ellipsis")
    return line


def _log(screen: Screen, height: int) -> list[Text]:
    styles = {"bad": "red", "warn": "yellow"}
    lines = []
    for row in screen.log[-max(height, 1) :]:
        line = _text(f"{_clock(row.at)} ", "dim")
        line.append(f"{row.source} ", "bold")
        line.append(row.text, styles.get(row.tone, ""))
        lines.append(line)
    return lines


def _log_section(screen: Screen, height: int, width: int) -> list[Text]:
    return [_heading("log", width), *(_log(screen, height) or [_text("nothing yet", "dim")])]


def _footer(*, leaving: bool, note: str) -> Text:
    line = _text("")
    for key, what in LEAVING if leaving else KEYS:
        line.append(f" {key} ", "reverse")
        line.append(f" {what}  ")
    if note:
        line.append(note, "cyan")
    return line


def _heading(title: str, width: int, style: str = "dim") -> Text:
    return _text(f"── {title} {'─' * max(width - len(title) - 4, 0)}"[:width], style)


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(text, style=style, no_wrap=True, overflow="ellipsis")
