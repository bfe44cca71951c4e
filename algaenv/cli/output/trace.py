"""What a call did as a tree of text, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algaenv.cli.output.escape import escape_controls, escape_text
from algaenv.cli.output.terminal import PLAIN, Paint
from algaenv.model.trace import CallTrace, GuestLine, HostCall

if TYPE_CHECKING:
    from algaenv.cli.output.json import JsonObject

_STAGES = ("queued", "load", "instantiate", "run")
_MIB = 1024**2
_STYLES = {"error": ("red",), "warn": ("yellow",)}


def steps_text(trace: CallTrace, paint: Paint = PLAIN, *, indent: str = "  ") -> list[str]:
    """A line for each host call and each line of the guest, with their times and sizes."""
    rows = [_step(step, paint) for step in trace.steps]
    if trace.more:
        rows.append([paint(f"and {trace.more} more host calls", "yellow")])
    if trace.missing:
        why = f": {trace.unread}" if trace.unread else ""
        missing = f"-- {trace.missing} of {trace.lines} lines are missing{why} --"
        rows.append([paint(escape_controls(missing), "yellow", "bold")])
    lines = []
    for number, (first, *further) in enumerate(rows, 1):
        last = number == len(rows)
        lines.append(f"{indent}{paint('└─' if last else '├─', 'dim')} {first}")
        lines += [f"{indent}{paint(' ' if last else '│', 'dim')}    | {it}" for it in further]
    return lines


def stages_text(trace: CallTrace) -> str:
    """`queued 0.02 ms, load 0.01 ms, …`; empty where no stage is known."""
    known = [f"{name} {trace.times[name]:g} ms" for name in _STAGES if name in trace.times]
    if waiting := trace.times.get("waiting"):
        known.append(f"of it {waiting:g} ms waiting")
    return ", ".join(known)


def _step(step: HostCall | GuestLine, paint: Paint) -> list[str]:
    if isinstance(step, GuestLine):
        stream = "" if step.stream == "log" else f"{step.stream}: "
        first, *further = escape_text(step.message).split("\n")
        cut = " … (cut)" if step.truncated else ""
        text = paint(f"{first}{'' if further else cut}", *_STYLES.get(step.level, ()))
        return [f"{paint(escape_controls(stream) or 'log: ', 'dim')}{text}", *further]
    step = escape_controls(step)
    about = f" {step.about}" if step.about else ""
    sizes = f"{size_text(step.sent)} sent, {size_text(step.received)} received"
    error = paint(f"  error: {step.error}", "red") if step.error else ""
    head = f"{paint(step.name, 'cyan')}{about}  {step.ms:g} ms"
    return [f"{head}  {paint(f'at {step.at:g} ms, {sizes}', 'dim')}{error}"]


def size_text(size: int) -> str:
    """`17 B`, `4.2 KiB`, `1.0 MiB`."""
    if size < 1024:
        return f"{size} B"
    if size < _MIB:
        return f"{size / 1024:.1f} KiB"
    return f"{size / _MIB:.1f} MiB"


def trace_to_json(trace: CallTrace) -> JsonObject:
    """Times by stage, host calls, and the lines that were found."""
    return {
        "times": dict(trace.times),
        "host_calls": [
            {
                "name": it.name,
                "about": it.about,
                "at_ms": it.at,
                "ms": it.ms,
                "sent_bytes": it.sent,
                "received_bytes": it.received,
                "error": it.error,
            }
            for it in trace.host_calls
        ],
        "host_calls_left_out": trace.more,
        "lines": [
            {
                "at": it.at,
                "level": it.level,
                "stream": it.stream,
                "message": it.message,
                "truncated": it.truncated,
            }
            for it in trace.guest_lines
        ],
        "lines_written": trace.lines,
    }
