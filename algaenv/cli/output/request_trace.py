"""A request as a tree of text, and as a line of JSON."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from algaenv.cli.output.escape import escape_controls, escape_text
from algaenv.cli.output.json import VERSION, json_line
from algaenv.cli.output.log_lines import ID_CHARS
from algaenv.cli.output.terminal import PLAIN, Paint
from algaenv.cli.output.trace import stages_text, steps_text, trace_to_json
from algaenv.system.clock import rfc3339

if TYPE_CHECKING:
    from algaenv.cli.output.json import JsonObject
    from algaenv.model.trace import RequestTrace


def request_tree(request: RequestTrace, paint: Paint = PLAIN) -> str:
    """Several lines, and an empty one: the request, the gateway, the runner, the answer."""
    one = escape_controls(request)
    seconds, ms = divmod(one.at, 1000)
    clock = f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{ms:03}"
    style = "red" if one.failed else "green"
    status = "running" if one.status is None else str(one.status)
    head = [
        paint(clock, "dim"),
        paint(one.extension or "unknown", "cyan", "bold"),
        f"{one.method} {one.path}",
        paint(status, style, "bold"),
        *([f"{one.ms:g} ms"] if one.ms is not None else []),
        paint(f"[{one.request_id[:ID_CHARS]}]", "dim"),
    ]
    lines = ["  ".join(head)]
    branch, last = paint("├─", "dim"), paint("└─", "dim")
    lines.append(f"{branch} gateway: {_decision(one)}")
    if one.runner_ms is not None or request.call is not None:
        took = "" if one.runner_ms is None else f"{one.runner_ms:g} ms"
        stages = stages_text(request.call) if request.call is not None else ""
        more = f" ({stages})" if stages and took else stages
        lines.append(f"{branch} runner: {took}{paint(more, 'dim')}")
        if request.call is not None:
            lines += steps_text(request.call, paint, indent=f"{paint('│', 'dim')}  ")
    lines.append(f"{last} {_answer(request, paint)}")
    if request.hint:
        lines.append(f"   hint: {one.hint}")
    return "\n".join(lines) + "\n\n"


def _decision(request: RequestTrace) -> str:
    who = f", user {request.user}" if request.user else ""
    entry = {"schedule": "a schedule"}.get(request.entry, f"{request.entry} entry point")
    if request.runner_ms is None and request.status is not None and request.entry != "schedule":
        return f"{entry}{who}, refused"
    own = ""
    if request.ms is not None and request.runner_ms is not None:
        own = f", {max(0.0, request.ms - request.runner_ms):.2f} ms of its own"
    return f"{entry}{who}, allowed{own}"


def _answer(request: RequestTrace, paint: Paint) -> str:
    if request.status is None:
        return paint("no answer yet", "yellow")
    if not request.problem:
        return f"answer: {request.status}"
    # A backtrace has several lines; the first names the failure.
    first = escape_text(" ".join(request.problem.split()))
    reason = escape_controls(request.reason)
    more = f" ({reason})" if reason and reason not in request.problem else ""
    return f"answer: {request.status}  {paint(first + more, 'red')}"


def request_to_json(request: RequestTrace) -> str:
    """The line of `trace --json`."""
    document: JsonObject = {
        "version": VERSION,
        "time": rfc3339(request.at),
        "request_id": request.request_id,
        "extension": request.extension,
        "entry": request.entry,
        "method": request.method,
        "path": request.path,
        "user": request.user,
        "status": request.status,
        "ms": request.ms,
        "runner_ms": request.runner_ms,
        "problem": request.problem,
        "reason": request.reason,
        "hint": request.hint,
    }
    if request.call is not None:
        document["trace"] = trace_to_json(request.call)
    return json_line(document)
