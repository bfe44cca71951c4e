"""Resolves plain YAML scalars: null, a boolean, a number, or text.

YAML 1.1 as PyYAML resolves it, without its traps: dates, base-60 numbers (`80:80`) and numbers
with a leading zero stay text.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yaml.constructor import SafeConstructor
    from yaml.resolver import Resolver

_TAG = "tag:yaml.org,2002:"
_KINDS = frozenset({"null", "bool", "int", "float"})
_TRAP = re.compile(r"[-+]?0[0-9_]+|.*:.*", re.DOTALL)
_LONGEST_NUMBER = 78
"""Digits of 2**256; anything longer is a mistake."""


class ScalarResolver:
    """Resolves plain scalars; keeps PyYAML's tables, which take a while to import."""

    def __init__(self) -> None:
        from yaml.constructor import SafeConstructor
        from yaml.resolver import Resolver

        self._resolver: Resolver = Resolver()
        self._constructor: SafeConstructor = SafeConstructor()

    def resolve_scalar(self, text: str) -> str | int | float | bool | None:
        """What `text` means when it stands without quotes; raises ValueError for NaN and such."""
        from yaml import ScalarNode

        tag = self._resolver.resolve(ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        kind = tag.removeprefix(_TAG)
        if kind not in _KINDS or (kind in ("int", "float") and _TRAP.fullmatch(text)):
            return text
        return self.explicit(kind, text)

    def explicit(self, kind: str, text: str) -> str | int | float | bool | None:
        """`text` read as `kind` (str, null, bool, int, float); raises ValueError if it is not."""
        if kind == "str":
            return text
        if kind in ("int", "float") and len(text) > _LONGEST_NUMBER:
            raise ValueError("too long")
        from yaml import ScalarNode, YAMLError

        try:
            value = self._constructor.construct_object(ScalarNode(_TAG + kind, text))
        except (YAMLError, KeyError, IndexError) as error:
            raise ValueError(f"not a {kind}") from error
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("not finite")
        if value is None or isinstance(value, bool | int | float):
            return value
        raise ValueError(f"not a {kind}")


def resolve_scalar(text: str) -> str | int | float | bool | None:
    """What one bare word means; text where it would not be a number JSON can hold."""
    try:
        return ScalarResolver().resolve_scalar(text)
    except ValueError:
        return text
