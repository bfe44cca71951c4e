"""The registry of problem codes: what each means, and what to do about it.

The table is `problems.toml`. Its sections are the packages that raise the codes (`runtimes.docker`
for `algaenv.runtimes.docker`); a code that stands in several means the same in each.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProblemCode:
    """A code with its meaning, a phrase or a sentence, and its hint, in the imperative."""

    code: str
    meaning: str
    hint: str


def load_problem_codes() -> Mapping[str, tuple[ProblemCode, ...]]:
    """Package → its codes, by name. Raises OSError where the installation lacks the table."""
    text = Path(__file__).with_name("problems.toml").read_text(encoding="utf-8")
    return {
        package: tuple(ProblemCode(code, **fields) for code, fields in sorted(rows.items()))
        for package, rows in tomllib.loads(text).items()
    }
