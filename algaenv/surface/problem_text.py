"""A problem as people read it: the same text as `str(problem)`, in colour where there is any."""

from __future__ import annotations

from collections.abc import Iterable

from algaenv.model.problem import Problem
from algaenv.surface.terminal import PLAIN, Paint
from algaenv.surface.visible import visible


def render(problem: Problem, paint: Paint = PLAIN, *, label: str = "error") -> str:
    """`file:line:column: error[code]: cannot …`, its evidence, and the hint."""
    problem = visible(problem)
    place = paint(f"{problem.where}: ", "bold") if problem.where else ""
    colour = "red" if label == "error" else "yellow"
    lines = [f"{place}{paint(f'{label}[{problem.code}]:', colour, 'bold')} {problem.summary}"]
    lines += [paint(f"    | {line}", "dim") for line in problem.detail]
    if problem.hint:
        lines.append(f"  {paint('hint:', 'cyan')} {problem.hint}")
    return "\n".join(lines)


def render_all(problems: Iterable[Problem], paint: Paint = PLAIN) -> str:
    """Each problem once, in order, one below the other."""
    return "\n".join(render(problem, paint) for problem in dict.fromkeys(problems))
