"""Globs over the files of a workspace, and the files that no build depends on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final

from algaenv.bundle.value import dataclass

_ABOUT: Final = re.compile(r"algaenv[^/]*\.ya?ml(?:\.example)?|README(?:\.[^/]*)?")
_TEMPORARY: Final = re.compile(
    r"[^/]*~|\.[^/]*\.sw[a-z]|\.#[^/]*|#[^/]*#|4913|\.DS_Store|Thumbs\.db|\.goutputstream-[^/]*"
    r"|[^/]*___jb_(?:tmp|old|bak)___|\.[^/]*\.kate-swp|[^/]*\.crswap"
)


def is_temporary(path: str) -> bool:
    """Whether it is a file that an editor makes for a moment, or a desktop for itself."""
    return _TEMPORARY.fullmatch(path.rpartition("/")[2]) is not None


def is_never_counted(path: str) -> bool:
    """Whether no build depends on this file, whatever directory it is in."""
    return is_temporary(path) or _ABOUT.fullmatch(path.rpartition("/")[2]) is not None


@dataclass(frozen=True, slots=True)
class Glob:
    """A glob relative to a root: `*`, `?` and `[…]` within a name, `**` across directories.

    A glob that names a directory stands for everything below it.
    """

    text: str

    def matches(self, path: str) -> bool:
        """Whether `path`, relative to the same root, is meant."""
        return _compiled(self.text).fullmatch(path) is not None

    @property
    def is_plain(self) -> bool:
        """Whether it names one path."""
        return not any(character in self.text for character in "*?[")


def globs(texts: Iterable[str]) -> tuple[Glob, ...]:
    """The globs of these texts, without `./` and a `/` at the end."""
    return tuple(Glob(normal(text)) for text in texts)


def normal(text: str) -> str:
    """A glob in its one spelling; `.` becomes `**`."""
    parts = [part for part in text.split("/") if part not in ("", ".")]
    return "/".join(parts) or "**"


def matches_any(path: str, patterns: Sequence[Glob]) -> bool:
    """Whether one of them means `path`."""
    return any(glob.matches(path) for glob in patterns)


@cache
def _compiled(text: str) -> re.Pattern[str]:
    parts = text.split("/")
    regex = ""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            regex += ".*" if last else "(?:[^/]+/)*"
        else:
            regex += _segment(part) + ("" if last else "/")
    return re.compile(f"{regex}(?:/.*)?", re.DOTALL)


def _segment(part: str) -> str:
    regex = ""
    rest = part
    while rest:
        if choice := re.match(r"\[([!^]?)([^\]]+)\]", rest):
            listed = choice[2].replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
            regex += f"[{'^/' if choice[1] else ''}{listed}]"
            rest = rest[choice.end() :]
            continue
        character, rest = rest[0], rest[1:]
        regex += {"*": "[^/]*", "?": "[^/]"}.get(character) or re.escape(character)
    return regex
