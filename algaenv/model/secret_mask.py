"""Hides the values of secrets in texts that are shown or kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

from algaenv.bundle.value import field_names, is_dataclass
from algaenv.model.secret import Secret

MASK: Final = "***"
_SHORTEST: Final = 6
"""Characters; hiding shorter values would hide ordinary words."""


class SecretMask:
    """Replaces the values of secrets in texts and values of JSON by `***`."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        hidden: set[str] = set()
        for secret in secrets:
            value = secret.reveal()
            hidden |= {value, quote(value, safe=""), json.dumps(value)[1:-1], *_password(value)}
        # The longest first: one may hold another.
        words = sorted((it for it in hidden if len(it) >= _SHORTEST), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, words))) if words else None

    def text(self, text: str) -> str:
        """The text without secrets."""
        return self._pattern.sub(MASK, text) if self._pattern else text

    def bytes(self, content: bytes) -> bytes:
        """The content without secrets, which are UTF-8; nothing else of it changes."""
        return self.text(content.decode(errors="surrogateescape")).encode(errors="surrogateescape")

    def json(self, value: Any) -> Any:
        """The value without secrets in its texts and keys."""
        match value:
            case str():
                return self.text(value)
            case list():
                return [self.json(each) for each in value]
            case Mapping():
                return {self.text(str(key)): self.json(each) for key, each in value.items()}
            case _:
                return value


def secrets_in(value: object) -> Iterator[Secret]:
    """Every secret in a value of the model, however deep."""
    match value:
        case Secret():
            yield value
        case str():
            return
        case Mapping():
            for each in value.values():
                yield from secrets_in(each)
        case list() | tuple():
            for each in value:
                yield from secrets_in(each)
        case _ if is_dataclass(value):
            for name in field_names(value):
                yield from secrets_in(getattr(value, name))


def _password(value: str) -> tuple[str, ...]:
    """That of a URL, as it stands there."""
    try:
        found = urlsplit(value).password if "://" in value else None
    except ValueError:
        found = None
    return (found,) if found else ()
