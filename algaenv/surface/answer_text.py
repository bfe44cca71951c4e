"""What is told of a call beside its body: `200 OK  12 ms`, and why it failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algaenv.surface.terminal import PLAIN, Paint
from algaenv.surface.visible import visible

if TYPE_CHECKING:
    from algaenv.surface.calling import Answer


def answer_text(answer: Answer, paint: Paint = PLAIN) -> str:
    """One line, and some more when something is wrong."""
    told = answer.trouble
    answer = visible(answer)
    style = "red" if answer.failed else "green"
    head = f"{answer.status} {answer.phrase}".rstrip()
    times = f"{answer.ms:g} ms"
    if runner := answer.headers.get("x-algaenv-runner-ms"):
        times += f", {runner} ms of it in the runner"
    lines = [f"{paint(head, style, 'bold')}  {paint(times, 'dim')}"]
    if fault := answer.headers.get("x-algaenv-product-fault"):
        lines.append(f"  {paint('product fault:', 'yellow')} {fault}")
    if told and (trouble := visible(told)):
        # A backtrace has lines of its own; the mark keeps them from passing for lines of ours.
        first, *further = visible(told.summary.split("\n"))
        lines.append(f"  {paint(first, 'red')}")
        lines += [f"    | {line}" for line in further]
        lines += [f"  reason: {trouble.reason}"] if trouble.reason else []
        lines += [f"  last host call: {trouble.host_call}"] if trouble.host_call else []
        lines += [f"  stderr: {line}" for line in trouble.stderr]
        lines += [f"  hint: {trouble.hint}"] if trouble.hint else []
    return "\n".join(lines)
