"""Text of strangers made harmless to show: what a terminal would obey becomes visible instead.

A name in a database, a line of a log or the body of an answer may hold escape sequences, which
move the cursor, set the title or hide what follows. Everything that is shown to people goes through
here once, on a terminal and in a pipe alike, before our own colours are laid on.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any, Final, TypeVar

from algaenv.cli.output.terminal import PLAIN, Paint
from algaenv.model.plan import Change
from algaenv.model.problem import Problem
from algaenv.model.resource import Present, Resource

Value = TypeVar("Value")

_CONTROLS: Final = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"
    # What turns the direction of text, separates lines, or is not seen at all.
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
    "\ud800-\udfff"
)
_ODD: Final = re.compile(f"[{_CONTROLS}]")
_ODD_IN_LINE: Final = re.compile(f"[\n{_CONTROLS}]")
_NEVER_SHOWN: Final = (type, Change, Present)
"""What no text for people is made of, and what may be large."""


def escape_controls(value: Value) -> Value:
    """The same value (texts, and tuples, mappings and dataclasses of them) with every text on one
    line and free of control characters; the very same object where there is nothing to do."""
    return _visible(value)  # type: ignore[no-any-return]


def escape_text(text: str) -> str:
    """The same for a text of several lines, which stay lines."""
    return _ODD.sub(_shown, text.replace("\r\n", "\n"))


def escape_json(text: str) -> str:
    """The same for a JSON document: it means what it meant."""
    return _ODD.sub(_escaped, text)


def _visible(value: Any) -> Any:
    if isinstance(value, str):
        # Anything odd is no printable character, and most text is printable as a whole.
        if type(value) is not str or value.isprintable():
            return value
        return _ODD_IN_LINE.sub(_shown, value)
    if isinstance(value, PurePath):
        return value if str(value).isprintable() else type(value)(_visible(str(value)))
    if isinstance(value, tuple | list):
        items = [_visible(item) for item in value]
        same = all(a is b for a, b in zip(items, value, strict=True))
        return value if same else type(value)(items)
    if isinstance(value, Mapping):
        return {_visible(key): _visible(item) for key, item in value.items()}
    if isinstance(value, Resource):
        # Of a resource only its address is shown; its inputs and body may be large.
        address = _visible(value.address)
        return value if address is value.address else dataclasses.replace(value, address=address)
    if dataclasses.is_dataclass(value) and not isinstance(value, _NEVER_SHOWN):
        return _visible_fields(value)
    return value


def _visible_fields(value: Any) -> Any:
    changed = {}
    for field in dataclasses.fields(value):
        before = getattr(value, field.name)
        if (after := _visible(before)) is not before:
            changed[field.name] = after
    return dataclasses.replace(value, **changed) if changed else value


def _shown(match: re.Match[str]) -> str:
    """As Python writes it: `\\x1b`, `\\u202e`, `\\n`."""
    return ascii(match[0])[1:-1]


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    if number > 0xFFFF:
        number -= 0x10000
        return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"
    return f"\\u{number:04x}"


# MERGED problem_text: A problem as people read it: the same text as `str(problem)`, in colour where there is any.


def render_problem(problem: Problem, paint: Paint = PLAIN, *, label: str = "error") -> str:
    """`file:line:column: error[code]: cannot …`, its evidence, and the hint."""
    problem = escape_controls(problem)
    place = paint(f"{problem.where}: ", "bold") if problem.where else ""
    colour = "red" if label == "error" else "yellow"
    lines = [f"{place}{paint(f'{label}[{problem.code}]:', colour, 'bold')} {problem.summary}"]
    lines += [paint(f"    | {line}", "dim") for line in problem.detail]
    if problem.hint:
        lines.append(f"  {paint('hint:', 'cyan')} {problem.hint}")
    return "\n".join(lines)


def render_problems(problems: Iterable[Problem], paint: Paint = PLAIN) -> str:
    """Each problem once, in order, one below the other."""
    return "\n".join(render_problem(problem, paint) for problem in dict.fromkeys(problems))
