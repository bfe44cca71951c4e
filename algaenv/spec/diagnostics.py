"""The errors and warnings of one load, and every file and variable that it read.

A cached result holds only as long as each of those files and variables is unchanged. Hints name
what an author may have meant by a word that does not exist.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from algaenv.bundle.value import dataclass, field
from algaenv.model.problem import Problem, Where

MAX_FILE_BYTES = 1 << 20
"""Bytes of the largest file that is read: a spec or a secret above that is a mistake."""


@dataclass(slots=True)
class Diagnostics:
    """Lives for one load; every stage adds to it and none reads the errors of another."""

    environ: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    digests: dict[Path, str | None] = field(default_factory=dict)
    """Absolute path → SHA-256 of what was read there, None where nothing was."""
    variables: dict[str, None] = field(default_factory=dict)
    reported: set[Where] = field(default_factory=set)
    """Positions of values that have an error already, and mean nothing."""
    unbraced: dict[Where, str] = field(default_factory=dict)
    """Position of a value → a variable in it without braces, which stays text."""
    load_dotenv: Callable[[], Mapping[str, str]] | None = None
    """Reads the file `.env` beside the spec; called once, when the environment lacks a variable."""
    dotenv: Mapping[str, str] | None = None
    base_directories: dict[str, Path] = field(default_factory=dict)
    """File, as messages name it → the directory its relative paths start at."""

    def add_error(self, code: str, summary: str, hint: str, where: Where | None) -> None:
        """Add an error; `summary` completes "cannot "."""
        if where is not None and (name := self.unbraced.get(where)):
            hint = f"write ${{{name}}} if the variable is meant: only that form is filled"
        self.problems.append(Problem(code, f"cannot {summary}", hint, where))

    def add_warning(self, code: str, summary: str, hint: str, where: Where | None) -> None:
        """Add a warning; `summary` completes "cannot "."""
        self.warnings.append(Problem(code, f"cannot {summary}", hint, where))

    def variable(self, name: str) -> str | None:
        """An environment variable, else one of the file `.env`; None when it is not set."""
        self.variables[name] = None
        if (found := self.environ.get(name)) is not None:
            return found
        if self.dotenv is None:
            self.dotenv = self.load_dotenv() if self.load_dotenv else {}
        return self.dotenv.get(name)

    def read(self, path: Path) -> bytes:
        """The bytes of a regular file; raises OSError, FileNotFoundError among them."""
        path = path.absolute()
        self.digests.setdefault(path, None)
        content = read_regular(path)
        self.digests[path] = hashlib.sha256(content).hexdigest()
        return content


def read_regular(path: Path) -> bytes:
    """The bytes of a regular file of at most MAX_FILE_BYTES bytes; raises OSError.

    A pipe or a device is refused unopened: reading it could wait for ever.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("not a regular file")
    with path.open("rb") as stream:
        content = stream.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(f"larger than {MAX_FILE_BYTES >> 20} MiB")
    return content


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that looks most like `word`; None when none does."""
    import difflib

    near = difflib.get_close_matches(word, known, n=1)
    return near[0] if near else None


def shorten(text: str, most: int) -> str:
    """`text` on one line; what is longer than `most` characters ends after a word, with `…`."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    head = line[:most]
    cut = head if line[most] == " " else head.rpartition(" ")[0] or head
    return f"{cut.rstrip()} …" if cut != head or line[most] == " " else f"{head}…"


def suggestion(word: str, known: Sequence[str], otherwise: str = "") -> str:
    """A hint: the nearest word, or all there is to choose from, or `otherwise`."""
    if near := nearest(word, known):
        return f"did you mean `{near}`?"
    if len(known) == 1:
        return f"there is only `{known[0]}`"
    return f"choose one of {', '.join(known)}" if known else otherwise
