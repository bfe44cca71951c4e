"""What an author may have meant by a word that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that looks most like `word`; None when none does."""
    near = difflib.get_close_matches(word, known, n=1)
    return near[0] if near else None


def suggestion(word: str, known: Sequence[str], otherwise: str = "") -> str:
    """A hint: the nearest word, or all there is to choose from, or `otherwise`."""
    if near := nearest(word, known):
        return f"did you mean `{near}`?"
    if len(known) == 1:
        return f"there is only `{known[0]}`"
    return f"choose one of {', '.join(known)}" if known else otherwise
