"""What `dev` prints: lines, JSON, and the screen at several sizes."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from algaenv.cli.output.dev_lines import dev_event_to_json, dev_lines
from algaenv.cli.output.dev_screen import draw
from algaenv.cli.output.dev_state import (
    MAX_CALLS,
    Screen,
    failing,
    page_to_open,
    reduce_dev,
    reduce_gateway,
)
from algaenv.dev.events import (
    DevEvent,
    ExtensionTurn,
    Ignored,
    SelfTriggered,
    TurnEnded,
    TurnStarted,
    Watching,
)
from algaenv.model.comparison import Call, ComparedCall, Difference, Outcome
from algaenv.model.event import Report, Reported, StepProgress, Warned
from algaenv.model.kind import BUNDLE
from algaenv.model.problem import Problem, Where
from tests.cli.fake_application import status
from tests.cli.schemas import check

STAGES = {"build": 12, "pack": 3, "upload": 5, "rows": 4, "warm": 20, "ready": 6}
BROKEN = Problem(
    "build-failed",
    "cannot build notes: `npm run build` ended with exit code 1",
    "mend what it complains of; all it said is in build-notes.log",
    Where("notes/src/handler.ts", 12, 5),
    ("src/handler.ts(12,5): error TS2304: Cannot find name 'x'.",),
)
GOOD = ExtensionTurn("hello", "applied", 0.052, STAGES, "ab" * 32, "GET /notes 200 (3 ms)")
FAILED = ExtensionTurn("notes", "failed", 2.4, {"build": 2390}, problems=(BROKEN,))
OWN: tuple[DevEvent, ...] = (
    Watching(12, ("hello", "notes")),
    TurnStarted(1, "1 file changed", ("hello",), ("/home/me/hello/ui/index.html",)),
    TurnEnded(1, 0.06, (GOOD,)),
    TurnEnded(2, 2.4, (FAILED,), (), retry_seconds=2.0),
    TurnEnded(3, 0.01, superseded=True),
    TurnEnded(4, 0.2, (), (BROKEN,)),
    Ignored(("/home/me/hello/README.md",)),
    SelfTriggered("hello", ("/home/me/hello/src/version.ts",)),
)


@pytest.mark.parametrize("event", OWN, ids=lambda it: type(it).__name__)
def test_events_are_as_their_schema_says(event: DevEvent) -> None:
    check("events", dev_event_to_json(event))


def test_a_turn_is_one_line() -> None:
    assert dev_lines(OWN[2]) == [
        "✓ hello  build 12 · pack 3 · upload 5 · rows 4 · warm 20 · ready 6 = 52 ms"
        "  GET /notes 200 (3 ms)"
    ]
    from_source = replace(GOOD, runs_from="source")
    assert dev_lines(TurnEnded(1, 0.06, (from_source,)))[0].endswith("runs from source")


def test_what_the_component_answers_otherwise_is_said() -> None:
    outcome = Outcome(200, 3.0)
    clock = Difference("body", "/at", (1,), (2,))
    one = ComparedCall(Call("GET", "/now", user="glinda"), outcome, outcome, (clock,))
    two = replace(one, call=Call("GET", "/now", user="ada\x1b"), differences=(clock, clock))
    turn = TurnEnded(1, 0.06, (replace(GOOD, differing=(one,)),))
    first = "the component answers GET /now otherwise: body /at: 1 → 2"
    assert dev_lines(turn)[1:] == [f"  differs: {first}"]
    assert f"hello {first}" in text_of(screen(turn), 160, 40)
    both = TurnEnded(1, 0.06, (replace(GOOD, differing=(one, two)),))
    assert dev_lines(both)[1:] == [
        "  differs: the component answers GET /now as glinda otherwise: body /at: 1 → 2",
        "  differs: the component answers GET /now as ada\\x1b otherwise: body /at: 1 → 2"
        ", and 1 more",
    ]
    check("events", dev_event_to_json(both))


def test_a_failure_says_where_and_what() -> None:
    first, *rest = dev_lines(OWN[3])
    assert first == "✗ notes  failed after 2.4s; what ran before goes on"
    text = "\n".join(rest)
    assert "notes/src/handler.ts:12:5: error[build-failed]: cannot build notes" in text
    assert "    | src/handler.ts(12,5): error TS2304" in text
    assert rest[-1] == "  again in 2.0s, or after a save"


def test_quiet_events_have_lines_only_when_asked_for() -> None:
    for event in (OWN[1], OWN[4], OWN[6]):
        assert dev_lines(event) == []
        assert len(dev_lines(event, verbose=True)) == 1
    assert (
        "hello: 1 file changed: /home/me/hello/ui/index.html" in dev_lines(OWN[1], verbose=True)[0]
    )
    many = tuple(f"/a/{number}" for number in range(9))
    assert dev_lines(Ignored(many), verbose=True)[0].endswith("/a/0, /a/1, /a/2 and 6 more")


def test_controls_are_escaped() -> None:
    evil = replace(GOOD, name="a\x1b[2Jb", answer="x\ny")
    (line,) = dev_lines(TurnEnded(1, 0.1, (evil,)))
    assert "\x1b" not in line
    assert "\n" not in line


def screen(*events: DevEvent) -> Screen:
    found = Screen()
    up = status(Path("/home/me/algaenv.yaml"))
    for number, event in enumerate((Reported(Report("up", status=up)), *events)):
        found = reduce_dev(found, event, 1_700_000_000.0 + number)
    return found


def call(number: int, code: int = 200, **more: object) -> dict[str, Any]:
    (extension, *_) = status(Path("/home/me/algaenv.yaml")).extensions
    return {
        "type": "call-ended",
        "extension": extension.registry_id,
        "at": 1_700_000_000_000 + number,
        "method": "GET",
        "path": f"/notes/{number}",
        "status": code,
        "ms": 3.25,
        **more,
    }


def text_of(shown: Screen, width: int = 100, height: int = 30, **options: Any) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height, color_system=None)
    console.print(draw(shown, width=width, height=height, **options), end="")
    return stream.getvalue()


def test_the_screen_shows_all_of_it() -> None:
    shown = screen(*OWN[:4], Warned(Problem("a-warning", "mind this")))
    for event in (call(1), call(2, 500, reason="it broke")):
        shown = reduce_gateway(shown, event)
    shown = reduce_gateway(shown, call(3) | {"type": "guest-log", "message": "a note was made"})
    shown = reduce_gateway(
        shown, call(4) | {"type": "guest-failure", "reason": "trapped", "stderr": "at line 3"}
    )
    text = text_of(shown, 160, 40)
    for expected in (
        "algaenv dev",
        "● database",
        "── what is wrong ",
        "error[build-failed]",
        "build 12 · pack 3",
        "GET /notes 200 (3 ms)",
        "200 hello GET /notes/1  3.2 ms",
        "500 hello GET /notes/2  3.2 ms  it broke",
        "hello a note was made",
        "hello trapped",
        "hello at line 3",
        "mind this",
        " q  quit",
    ):
        assert expected in text, expected
    assert page_to_open(shown) == ""  # No gateway of ours shows one.


@pytest.mark.parametrize("size", [(60, 20), (100, 30), (160, 50), (40, 12)])
def test_the_screen_fits(size: tuple[int, int]) -> None:
    width, height = size
    shown = screen(*OWN)
    for number in range(MAX_CALLS + 50):
        shown = reduce_gateway(shown, call(number))
    assert len(shown.calls) == MAX_CALLS
    for options in ({}, {"log_only": True}, {"leaving": True}, {"note": "rebuilding"}):
        lines = text_of(shown, width, height, **options).splitlines()
        assert len(lines) <= height
        assert max(map(len, lines)) <= width


def test_what_one_section_does_not_need_goes_to_the_others() -> None:
    shown = screen(OWN[0])
    for number in range(30):
        shown = reduce_gateway(shown, call(number))
    lines = text_of(shown, 100, 30).splitlines()
    assert not [line for line in lines if not line.strip()]
    assert lines.count("nothing yet") == 2  # turns and log
    assert "GET /notes/29" in text_of(shown, 100, 30)


def test_a_log_without_lines_says_so() -> None:
    lines = text_of(screen(OWN[0]), log_only=True).splitlines()
    assert any(line.startswith("── log ") for line in lines)
    assert "nothing yet" in lines


def test_a_good_turn_takes_the_problem_away() -> None:
    shown = screen(OWN[3])
    assert shown.problems == (BROKEN,)
    mended = replace(GOOD, name="notes")
    shown = reduce_dev(shown, TurnEnded(5, 0.1, (mended,)), 2.0)
    assert shown.problems == ()
    assert "does not build" not in text_of(shown)


def test_a_problem_stays_while_other_extensions_are_brought_up() -> None:
    shown = screen(OWN[3])
    other = replace(GOOD, name="other")
    shown = reduce_dev(shown, TurnEnded(5, 0.1, (other,)), 2.0)
    assert shown.problems == (BROKEN,)
    # The mistake is taken back: nothing is to change.
    shown = reduce_dev(shown, TurnEnded(6, 0.1, (ExtensionTurn("notes", "unchanged"),)), 3.0)
    assert (shown.problems, failing(shown)) == ((), frozenset())


def test_a_good_turn_about_everything_takes_all_problems_away() -> None:
    shown = screen(OWN[3], TurnStarted(5, "asked for"), TurnEnded(5, 0.1))
    assert (shown.problems, failing(shown)) == ((), frozenset())


def test_a_turn_about_one_extension_hides_no_other() -> None:
    up = status(Path("/home/me/algaenv.yaml"))
    (hello,) = up.extensions
    whole = replace(up, extensions=(replace(hello, name="other"), hello))
    edited = replace(hello, content_hash="sha256:" + "7" * 64)
    limited = replace(up, extensions=(edited,))
    shown = screen(TurnStarted(5, "asked for"), TurnEnded(5, 0.1, (), status=whole))
    shown = reduce_dev(shown, TurnStarted(6, "1 file changed", ("hello",)), 2.0)
    shown = reduce_dev(shown, TurnEnded(6, 0.1, (), status=limited), 3.0)
    assert shown.status is not None
    assert shown.status.extensions == (whole.extensions[0], edited)
    # One about everything says what there is.
    shown = reduce_dev(shown, TurnStarted(7, "asked for"), 4.0)
    shown = reduce_dev(shown, TurnEnded(7, 0.1, (), status=limited), 5.0)
    assert shown.status == limited


def test_a_turn_under_way_is_seen() -> None:
    shown = screen(OWN[0], OWN[1], StepProgress(BUNDLE.address("hello"), "vite v5 building"))
    assert "working on hello  vite v5 building" in text_of(shown)
    assert "working" not in text_of(reduce_dev(shown, OWN[4], 2.0))


def test_events_of_gateways_that_are_odd_change_nothing() -> None:
    shown = screen()
    for event in ({}, {"type": "new-kind"}, {"type": 3}):
        assert reduce_gateway(shown, event) == shown
    odd = {"type": "call-ended", "status": "x", "ms": None, "at": "never"}
    assert len(reduce_gateway(shown, odd).calls) == 1
