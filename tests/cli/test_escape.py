"""What a stranger wrote never moves the cursor: in names, problems, answers, views and logs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algaenv.cli.commands.call import response_text
from algaenv.cli.gateway_client import GatewayResponse
from algaenv.cli.output.escape import escape_controls, escape_json, escape_text, render_problem
from algaenv.cli.output.json import event_to_json, json_line
from algaenv.cli.output.live import LiveView
from algaenv.cli.output.plain import PlainView
from algaenv.cli.output.terminal import PLAIN, Paint
from algaenv.cli.output.text import plan_text, status_text
from algaenv.model.event import (
    Cancelled,
    Ended,
    Event,
    FailedStep,
    Planned,
    Report,
    Reported,
    Resolved,
    Resolving,
    RuntimeChosen,
    StepEnded,
    StepProgress,
    StepStarted,
    StepWaiting,
    Warned,
)
from algaenv.model.kind import Address
from algaenv.model.plan import Blocked, Cause, Deferred, Kept, Plan, Step, Verb
from algaenv.model.problem import Problem, Where
from algaenv.model.secret import Secret
from tests.cli.fake_application import RESOURCES, status
from tests.cli.program import Screen, run

EVIL = "a\x1b]0;t\x07\x1b[2J\x1b[31m\x9b1m\x7f\u202e\u2066\r\nb\x00\u2028\U000e0041"
HARMLESS = r"a\x1b]0;t\x07\x1b[2J\x1b[31m\x9b1m\x7f\u202e\u2066\r\nb\x00\u2028\U000e0041"
ODD = set(EVIL) - set("a]0;t[2J31mb")
PROBLEM = Problem(EVIL, EVIL, EVIL, Where(EVIL, 1, 1), (EVIL, EVIL))
STEP = Step(Verb.CREATE, Address("release", EVIL), Cause(EVIL, (EVIL,)), frozenset())
EVENTS: tuple[Event, ...] = (
    RuntimeChosen(EVIL, EVIL),
    Resolving(EVIL, EVIL),
    Resolved(EVIL, EVIL, 1.0),
    Warned(PROBLEM),
    Planned((STEP,)),
    StepStarted(STEP),
    StepProgress(STEP.address, EVIL),
    StepWaiting(STEP.address, EVIL, 9.0),
    StepEnded(STEP, "failed", 1.0, PROBLEM),
    Reported(
        Report(
            "up",
            (Ended(STEP, FailedStep(PROBLEM, "Failed"), 1.0), Ended(STEP, Cancelled(), 0.0)),
            (PROBLEM,),
            kept=(Kept(STEP.address, EVIL),),
        )
    ),
)


def clean(text: str) -> None:
    assert not (ODD - {"\n"}) & set(text), ascii(text)
    assert r"\x1b]0;t\x07\x1b[2J\x1b[31m\x9b1m" in text


def test_a_text_is_shown_as_python_writes_it() -> None:
    assert escape_controls(EVIL) == HARMLESS
    assert escape_controls((EVIL, {EVIL: [EVIL]})) == (HARMLESS, {HARMLESS: [HARMLESS]})
    assert escape_controls(Path(EVIL.replace("\x00", ""))) == Path(HARMLESS.replace(r"\x00", ""))
    assert escape_text("a\r\n\tb\r\x1b\n") == "a\n\tb\\r\\x1b\n"
    secret = Secret(EVIL)
    assert escape_controls({"a": secret})["a"] is secret


@given(st.text())
def test_what_is_harmless_stays_and_nothing_else_does(text: str) -> None:
    shown = escape_controls(text)
    assert escape_controls(shown) == shown
    assert not ODD & set(shown)
    if shown == text:
        assert escape_controls((text, text)) == (text, text)
    plain = "Größe „漢字“ — ok"
    assert escape_controls(plain) is plain


@given(st.text())
def test_json_means_what_it_meant(text: str) -> None:
    document = escape_json(json.dumps({"a": text}, ensure_ascii=False))
    assert json.loads(document) == {"a": text}
    assert not ODD & set(document)


@pytest.mark.parametrize("verbose", [False, True])
def test_plain_lines(verbose: bool) -> None:
    stream = io.StringIO()
    console = PlainView(stream, verbose=verbose, log=lambda: EVIL)
    for event in EVENTS:
        console.emit(event)
    console.close()
    clean(stream.getvalue())


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_the_live_view() -> None:
    stream = Terminal()
    view = LiveView(stream, PLAIN, verbose=True, log=lambda: EVIL)
    for event in EVENTS:
        view.emit(event)
        if view._live is not None:
            view._live.refresh()
    view.close()
    text = stream.getvalue()
    for one in ("\x1b]0;t", "\x1b[2J\x1b[31m", "\x9b", "\u202e", "\x00", "\x07"):
        assert one not in text
    assert r"\x1b]0;t" in text


def test_problems_plans_and_status(tmp_path: Path) -> None:
    clean(render_problem(PROBLEM))
    assert render_problem(PROBLEM).count("\n") == len(PROBLEM.detail) + 1
    plan = Plan(
        (STEP,),
        (Deferred(RESOURCES[0], EVIL),),
        (Blocked(STEP.address, PROBLEM),),
        (Kept(STEP.address, EVIL),),
    )
    clean(plan_text(plan))
    there = status(tmp_path / EVIL.replace("\x00", "").replace("/", ""))
    odd = replace(
        there,
        tenant_id=EVIL,
        services=tuple(replace(it, detail=EVIL) for it in there.services),
        extensions=tuple(
            replace(it, name=EVIL, version=EVIL, detail=EVIL, endpoints=((EVIL, EVIL),))
            for it in there.extensions
        ),
    )
    clean(status_text(odd))


def test_an_answer() -> None:
    problem = {"code": EVIL, "summary": EVIL, "hint": EVIL, "reason": EVIL, "stderr": [EVIL]}
    answer = GatewayResponse(
        500,
        EVIL,
        {
            "content-type": "application/problem+json",
            "x-algaenv-runner-ms": EVIL,
            "x-algaenv-product-fault": EVIL,
        },
        json.dumps({"problem": problem}).encode(),
        1.0,
    )
    clean(response_text(answer, PLAIN))


def test_an_answer_of_several_lines_keeps_them_and_none_passes_for_ours() -> None:
    problem = {"code": "gateway-trap", "summary": "cannot go on:\n    0: 0x1\nhint: \x1b[2J"}
    headers = {"content-type": "application/problem+json"}
    answer = GatewayResponse(500, "Oops", headers, json.dumps({"problem": problem}).encode(), 1.0)
    assert response_text(answer, PLAIN).splitlines()[1:] == [
        "  gateway-trap: cannot go on:",
        "    |     0: 0x1",
        "    | hint: \\x1b[2J",
    ]


@pytest.mark.parametrize("event", EVENTS, ids=lambda it: type(it).__name__)
def test_json_lines_and_the_log(event: Event) -> None:
    text = json_line(event_to_json(event))
    assert not ODD & set(text.removesuffix("\n"))
    found: Any = json.loads(text)
    assert found


def test_our_own_colours_stay() -> None:
    assert render_problem(PROBLEM, Paint(enabled=True)).startswith("\x1b[1m")


@pytest.mark.parametrize("on_terminal", [False, True])
def test_a_spec_of_a_stranger(tmp_path: Path, on_terminal: bool) -> None:
    (tmp_path / "algaenv.yaml").write_text('name: "x\\e]0;t\\a\\e[2J"\nruntime: "\\e[31m"\n')
    show: Callable[..., str] = _on_terminal if on_terminal else _in_pipe
    text = show(tmp_path, "validate")
    for one in ("\x1b]0;t", "\x1b[2J", "\x07"):
        assert one not in text
    assert r"\x1b" in text or "\\e" in text


def _in_pipe(place: Path, *arguments: str) -> str:
    done = run(place, *arguments)
    return done.stdout + done.stderr


def _on_terminal(place: Path, *arguments: str) -> str:
    with Screen.start(place, *arguments, scenario=None) as screen:
        screen.end()
        return screen.raw
