r"""Regular expressions of schemas, as JavaScript reads them: Python's engine runs a translation.

The product's checker compiles them with the flag `u`. There `\d`, `\w` and `\b` know ASCII only,
`\s` knows the blanks of Unicode and the byte order mark, `.` takes no end of a line, and `$` is
the very end.
"""

from __future__ import annotations

import re
from typing import Self

_BLANKS = r"\t-\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_NO_BLANKS = (
    r"\x00-\x08\x0e-\x1f!-\x9f\xa1-\u167f\u1681-\u1fff\u200b-\u2027\u202a-\u202e\u2030-\u205e"
    r"\u2060-\u2fff\u3001-\ufefe\uff00-\U0010ffff"
)
_IN_CLASS = {r"\s": _BLANKS, r"\S": _NO_BLANKS}
_OUTSIDE = {
    r"\s": f"[{_BLANKS}]",
    r"\S": f"[{_NO_BLANKS}]",
    ".": r"[^\n\r\u2028\u2029]",
    "$": r"\Z",
}
_PART = re.compile(r"\\.|\[\^?\]?|.", re.DOTALL)
"""An escape, the start of a class with a `]` that is a member of it, or one character."""


class Pattern(str):
    """A translated pattern, for `re`; `str()` gives the one of the schema."""

    __slots__ = ("_source",)
    _source: str

    @classmethod
    def translated(cls, source: str) -> Self:
        """Raises re.error for what Python does not know."""
        pattern = cls(f"(?a:{''.join(_parts(source))})")
        pattern._source = source
        re.compile(pattern)
        return pattern

    def __str__(self) -> str:
        return self._source


def _parts(source: str) -> list[str]:
    parts = []
    in_class = False
    for part in _PART.findall(source):
        parts.append((_IN_CLASS if in_class else _OUTSIDE).get(part, part))
        in_class = part != "]" if in_class else part.startswith("[")
    return parts
