"""A value that must not appear in a repr, a log, an event, a label or an argument list."""

from __future__ import annotations


class Secret:
    """A string that only `reveal()` returns."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text; call it only where the text is used."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


def keyed_digest(secret: Secret, key: Secret) -> str:
    """16 hex digits that change when the secret does and reveal nothing without the key."""
    import hashlib
    import hmac

    return hmac.new(key.reveal().encode(), secret.reveal().encode(), hashlib.sha256).hexdigest()[
        :16
    ]
