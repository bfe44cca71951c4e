"""Escapes control characters in foreign text, and renders problems.

A name in a database, a line of a log or the body of a response may hold escape sequences, which
move the cursor, set the title or hide what follows. All text for people is escaped once, on a
terminal and in a pipe alike, before colours are added.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any, Final, TypeVar

from algaenv.bundle.value import field_names, is_dataclass, replace
from algaenv.cli.output.terminal import PLAIN, Paint
from algaenv.model.plan import Change
from algaenv.model.problem import Problem
from algaenv.model.resource import Present, Resource

Value = TypeVar("Value")

_CONTROLS: Final = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"
    # Characters that change the direction of text, separate lines, or are invisible.
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
    "\ud800-\udfff"
)
_CONTROL: Final = re.compile(f"[{_CONTROLS}]")
_CONTROL_OR_NEWLINE: Final = re.compile(f"[\n{_CONTROLS}]")
_NEVER_PRINTED: Final = (type, Change, Present)
"""Values that are never printed and may be large."""


def escape_controls(value: Value) -> Value:
    """The value with control characters escaped in every text, newlines included.

    Takes texts, and tuples, mappings and dataclasses of them. Returns the same object when nothing
    had to be escaped.
    """
    return _escape(value)  # type: ignore[no-any-return]


def escape_text(text: str) -> str:
    """`text` with control characters escaped; newlines stay."""
    return _CONTROL.sub(_as_python, text.replace("\r\n", "\n"))


def escape_json(text: str) -> str:
    """A JSON document with control characters escaped as JSON does; its meaning stays."""
    return _CONTROL.sub(_as_json, text)


def _escape(value: Any) -> Any:
    if isinstance(value, str):
        # Fast path: most text is printable.
        if type(value) is not str or value.isprintable():
            return value
        return _CONTROL_OR_NEWLINE.sub(_as_python, value)
    if isinstance(value, PurePath):
        return value if str(value).isprintable() else type(value)(_escape(str(value)))
    if isinstance(value, tuple | list):
        items = [_escape(item) for item in value]
        same = all(a is b for a, b in zip(items, value, strict=True))
        return value if same else type(value)(items)
    if isinstance(value, Mapping):
        return {_escape(key): _escape(item) for key, item in value.items()}
    if isinstance(value, Resource):
        # Of a resource only the address is printed; inputs and body may be large.
        address = _escape(value.address)
        return value if address is value.address else replace(value, address=address)
    if is_dataclass(value) and not isinstance(value, _NEVER_PRINTED):
        return _escape_fields(value)
    return value


def _escape_fields(value: Any) -> Any:
    changed = {}
    for name in field_names(value):
        before = getattr(value, name)
        if (after := _escape(before)) is not before:
            changed[name] = after
    return replace(value, **changed) if changed else value


def _as_python(match: re.Match[str]) -> str:
    """The escape of a Python literal: `\\x1b`, `\\u202e`, `\\n`."""
    return ascii(match[0])[1:-1]


def _as_json(match: re.Match[str]) -> str:
    number = ord(match[0])
    if number > 0xFFFF:
        number -= 0x10000
        return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"
    return f"\\u{number:04x}"


def render_problem(problem: Problem, paint: Paint = PLAIN, *, label: str = "error") -> str:
    """`file:line:column: error[code]: cannot …`, the detail lines and the hint, escaped."""
    problem = escape_controls(problem)
    place = paint(f"{problem.where}: ", "bold") if problem.where else ""
    colour = "red" if label == "error" else "yellow"
    lines = [f"{place}{paint(f'{label}[{problem.code}]:', colour, 'bold')} {problem.summary}"]
    lines += [paint(f"    | {line}", "dim") for line in problem.detail]
    if problem.hint:
        lines.append(f"  {paint('hint:', 'cyan')} {problem.hint}")
    return "\n".join(lines)


def explain_line(problems: Iterable[Problem], paint: Paint = PLAIN) -> str:
    """Where more is told about the first of the problems, and how of the others."""
    codes = list(dict.fromkeys(problem.code for problem in problems))
    others = f"  (also: {', '.join(codes[1:4])}{', …' if len(codes) > 4 else ''})" * (
        len(codes) > 1
    )
    return f"{paint('more:', 'cyan')} algaenv explain {codes[0]}{others}"


def render_problems(problems: Iterable[Problem], paint: Paint = PLAIN) -> str:
    """Each distinct problem once, in order."""
    return "\n".join(render_problem(problem, paint) for problem in dict.fromkeys(problems))
