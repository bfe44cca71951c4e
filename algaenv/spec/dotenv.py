"""The file `.env` beside the spec: variables for it, below those of the shell, as Compose has it.

A line is `NAME=value`, with `export` before it if one likes, or a comment. A value in single quotes
is taken as it stands; in others `${…}` is filled, and in double quotes `\n`, `\"` and such mean
what they mean in a shell.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from algaenv.model.problem import Where
from algaenv.spec.ledger import Ledger
from algaenv.spec.variables import Expansion

NAME: Final = ".env"

_LINE: Final = re.compile(
    r"""[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*[=:][ \t]*
    (?:'(?P<literal>[^']*)'|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\n]*?))
    [ \t]*(?:(?<=[ \t'"=:])\#[^\n]*)?(?:\r?\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_SKIPPED: Final = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "\n": ""}


def read(spec: Path, ledger: Ledger) -> dict[str, str]:
    """What the file beside `spec` says, nothing without one; what is odd in it is warned of."""
    path, shown = spec.with_name(NAME), str(spec.with_name(NAME))
    try:
        text = ledger.read(path).decode("utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8" if isinstance(error, ValueError) else error.strerror or str(error)
        ledger.warn("spec-dotenv", f"read {shown}: {why}", "make it a readable file", None)
        return {}
    values: dict[str, str] = {}
    at = 0
    while at < len(text):
        if (skipped := _SKIPPED.match(text, at)) and skipped.end() > at:
            at = skipped.end()
            continue
        where = Where(shown, text.count("\n", 0, at) + 1, 1)
        match = _LINE.match(text, at)
        if match is None:
            end = text.find("\n", at)
            at = len(text) if end < 0 else end + 1
            ledger.warn("spec-dotenv", "read this line", "write NAME=value", where)
            continue
        at = match.end()
        values[match["name"]] = _value(match, values, ledger, where)
    return values


def _value(match: re.Match[str], earlier: dict[str, str], ledger: Ledger, where: Where) -> str:
    if match["literal"] is not None:
        return match["literal"]
    text = match["plain"]
    if match["quoted"] is not None:
        # A dollar sign that is escaped is text, which is what two of them stand for.
        text = match["quoted"].replace("\\$", "$$")
        text = _ESCAPE.sub(lambda it: _ESCAPES.get(it[1], it[1]), text)

    def lookup(name: str) -> str | None:
        ledger.variables[name] = None
        return ledger.environ.get(name, earlier.get(name, ""))

    expansion = Expansion(text, lookup)
    filled = expansion.whole()
    if expansion.broken or expansion.unset:
        ledger.warn("spec-dotenv", "fill a variable in this line", "write ${NAME}", where)
    return filled
