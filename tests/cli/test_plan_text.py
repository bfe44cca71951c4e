"""Plans as people read them, compared as text."""

from __future__ import annotations

import re

from algaenv.cli.output.terminal import Paint
from algaenv.cli.output.text import plan_text
from algaenv.model.plan import Blocked, Cause, Deferred, Kept, Plan, Step, Verb
from algaenv.model.problem import Problem
from algaenv.model.resource import ServiceEngine
from tests.plan.builders import make_resource, parse_address

THEIRS = Problem("not-ours", "cannot take over install/hello: another tool made it", "use --adopt")


def step(verb: Verb, address: str, kind: str, *detail: str) -> Step:
    return Step(verb, parse_address(address), Cause(kind, detail), frozenset())


FULL = Plan(
    steps=(
        step(Verb.CREATE, "container/store", "missing"),
        step(Verb.REPLACE, "container/runner", "spec changed", "image a → b", "port 1 → 2"),
        step(Verb.START, "container/redis", "stopped"),
        step(Verb.PREWARM, "handler/hello@1a2b3c4d5e6f", "bundle changes"),
        step(Verb.UPDATE, "release/hello", "spec changed", "manifest version 0.1.1 → 0.1.2"),
        step(Verb.AWAIT, "install/hello", "not answering"),
        step(Verb.DELETE, "bundle/hello@000000000000", "superseded"),
    ),
    deferred=(
        Deferred(
            make_resource("bucket/extensions"), "cannot be seen until container/store answers"
        ),
        Deferred(make_resource("tenant/main"), "cannot be seen until container/store answers"),
    ),
    blocked=(Blocked(parse_address("install/other"), THEIRS),),
    kept=(
        Kept(parse_address("volume/store"), "holds data"),
        Kept(parse_address("volume/database"), "holds data"),
    ),
)


FULL_TEXT = """\
  +  create   container/store             missing
-/+  replace  container/runner            spec changed
         image a → b
         port 1 → 2
  >  start    container/redis             stopped
  *  prewarm  handler/hello@1a2b3c4d5e6f  bundle changes
  ~  update   release/hello               spec changed
         manifest version 0.1.1 → 0.1.2
  -  delete   bundle/hello@000000000000   superseded

Not decided yet:
  cannot be seen until container/store answers:
    bucket/extensions
    tenant/main

In the way:
  install/other
    error[not-ours]: cannot take over install/hello: another tool made it
      hint: use --adopt

Kept:
  volume/store     holds data
  volume/database  holds data

Plan: 1 to create, 1 to update, 1 to replace, 1 to start, 1 to delete, 1 to prewarm, \
2 to be seen later.
"""


def test_everything_a_plan_can_say() -> None:
    assert plan_text(FULL) + "\n" == FULL_TEXT


def test_engine_and_version_stand_in_the_plan() -> None:
    engines = (
        ServiceEngine("store", "minio", "", "/go/bin/minio, from PATH"),
        ServiceEngine("database", "postgres", "18.6", "made here"),
    )
    assert plan_text(Plan((), engines=engines)) == (
        "Services:\n"
        "  store     minio          /go/bin/minio, from PATH\n"
        "  database  postgres 18.6  made here\n\n"
        "No changes. What is there is what the spec asks for."
    )


def test_nothing_to_do() -> None:
    asks = Plan((step(Verb.AWAIT, "install/hello", "not answering"),))
    assert plan_text(Plan(())) == "No changes. What is there is what the spec asks for."
    assert plan_text(asks) == plan_text(Plan(()))


def test_nothing_to_do_is_not_said_of_what_cannot_be_seen_or_done() -> None:
    later = plan_text(Plan((), deferred=FULL.deferred))
    assert later.splitlines()[-1].startswith("No changes so far; ")
    stuck = plan_text(Plan((), blocked=FULL.blocked))
    assert stuck.splitlines()[-1] == "Nothing can be done: 1 in the way."


def test_the_usual_plan_counts_zeroes_of_the_usual_verbs() -> None:
    plan = Plan((step(Verb.CREATE, "container/store", "missing"),))
    assert plan_text(plan).endswith("\nPlan: 1 to create, 0 to update, 0 to delete.")


def test_colour_changes_no_text() -> None:
    painted = plan_text(FULL, Paint(enabled=True))
    assert painted != plan_text(FULL)
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == plan_text(FULL)
