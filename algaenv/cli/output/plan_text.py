"""A plan as text: its changes with causes, what is deferred or blocked, and the totals."""

from __future__ import annotations

from algaenv.cli.output.escape import escape_controls, render_problem
from algaenv.cli.output.lines import verb_style
from algaenv.cli.output.terminal import PLAIN, Paint, aligned
from algaenv.model.address import Address
from algaenv.model.plan import Blocked, Plan, Step, Verb

NOTHING = "No changes. What is there is what the spec asks for."
NOTHING_YET = "No changes so far; the rest can be told once its host answers."


def plan_text(plan: Plan, paint: Paint = PLAIN) -> str:
    """The whole plan without the steps that only wait for an answer."""
    plan = escape_controls(plan)
    sections = [
        _steps(plan.actions, paint),
        _deferred(plan, paint),
        _blocked(plan, paint),
        _kept(plan, paint),
        _engines(plan, paint),
        [total(plan, paint)],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def total(plan: Plan, paint: Paint = PLAIN) -> str:
    """`Plan: 3 to create, 1 to update, 0 to delete.`"""
    in_the_way = [one for one in plan.blocked if not _lacks_bundle(one)]
    if not plan.changes and in_the_way:
        return paint(f"Nothing can be done: {len(in_the_way)} in the way.", "bold")
    if not plan.changes and plan.blocked:
        return paint("No changes, but for what has no bundle.", "bold")
    if not plan.changes:
        return paint(NOTHING_YET if plan.deferred else NOTHING, "bold")
    verbs = [step.verb for step in plan.actions]
    shown = [
        f"{verbs.count(verb)} to {verb}"
        for verb in Verb
        if verb in verbs or verb in {Verb.CREATE, Verb.UPDATE, Verb.DELETE}
    ]
    more = f", {len(plan.deferred)} to be seen later" if plan.deferred else ""
    return paint(f"Plan: {', '.join(shown)}{more}.", "bold")


def _steps(steps: tuple[Step, ...], paint: Paint) -> list[str]:
    cells = aligned(
        [(f"{s.verb.symbol:>3}", str(s.verb), str(s.address), s.cause.kind) for s in steps]
    )
    lines = []
    for step, (symbol, verb, address, kind) in zip(steps, cells, strict=True):
        style = verb_style(step.verb)
        head = f"{paint(symbol, style, 'bold')}{paint(verb, style)}{paint(address, 'bold')}{kind}"
        lines.append(head)
        lines += [f"{'':9}{paint(detail, 'dim')}" for detail in step.cause.detail]
    return lines


def _deferred(plan: Plan, paint: Paint) -> list[str]:
    """Grouped by reason, since a whole host is unavailable at once."""
    reasons: dict[str, list[str]] = {}
    for one in plan.deferred:
        reasons.setdefault(one.why, []).append(str(one.resource.address))
    if not reasons:
        return []
    lines = [paint("Not decided yet:", "bold")]
    for why, addresses in reasons.items():
        lines.append(f"  {why}:")
        lines += [f"    {address}" for address in addresses]
    return lines


def _blocked(plan: Plan, paint: Paint) -> list[str]:
    lines = []
    for title, lacking in (
        ("No bundle, so what is installed stays:", True),
        ("In the way:", False),
    ):
        listed: set[Address] = set()
        for one in (it for it in plan.blocked if _lacks_bundle(it) is lacking):
            lines += [] if listed else [paint(title, "bold")]
            lines += [] if one.address in listed else [f"  {one.address}"]
            lines += [f"    {line}" for line in render_problem(one.problem, paint).splitlines()]
            listed.add(one.address)
    return lines


def _engines(plan: Plan, paint: Paint) -> list[str]:
    if not plan.engines:
        return []
    rows = [(it.service, f"{it.name} {it.version}".rstrip(), it.source) for it in plan.engines]
    return [paint("Services:", "bold"), *("".join(cells) for cells in aligned(rows, indent=2))]


def _lacks_bundle(blocked: Blocked) -> bool:
    return blocked.error != "Conflict"


def _kept(plan: Plan, paint: Paint) -> list[str]:
    if not plan.kept:
        return []
    lines = [paint("Kept:", "bold")]
    lines += ["".join(c) for c in aligned([(str(k.address), k.why) for k in plan.kept], indent=2)]
    return lines
