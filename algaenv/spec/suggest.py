"""What an author may have meant by a word that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that looks most like `word`; None when none does."""
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
