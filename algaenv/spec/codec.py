"""Frozen values as JSON and back, exactly: what the cache keeps of a spec.

dataclass  {"@": class name, field: value, …}      tuple    [value, …]
mapping    {"{}": {key: value, …}}                 list     {"[]": [value, …]}
Secret     {"@": "Secret", "value": text}          None, booleans, numbers and text: as they are
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from algaenv.model.secret import Secret

_CLASS, _MAP, _LIST = "@", "{}", "[]"


def encode(value: object) -> Any:
    """Plain JSON for `value`; raises TypeError for what cannot come back unchanged."""
    match value:
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
        case tuple():
            return [encode(item) for item in value]
        case list():
            return {_LIST: [encode(item) for item in value]}
        case Secret():
            return {_CLASS: "Secret", "value": value.reveal()}
        case Mapping():
            if not all(isinstance(key, str) for key in value):
                raise TypeError("a mapping with keys that are not text")
            return {_MAP: {key: encode(item) for key, item in value.items()}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {_CLASS: type(value).__name__, **fields}
    raise TypeError(f"cannot encode a {type(value).__name__}")


def class_table(classes: Iterable[type]) -> Mapping[str, tuple[type, frozenset[str]]]:
    """The dataclasses that `decode` may make, by name, with the fields each must get."""
    return {
        each.__name__: (each, frozenset(f.name for f in dataclasses.fields(each)))
        for each in classes
    }


def decode(plain: Any, classes: Mapping[str, tuple[type, frozenset[str]]]) -> Any:
    """The value that `plain` was made of; raises ValueError for anything else."""
    match plain:
        case list():
            return tuple([decode(item, classes) for item in plain])
        case dict():
            return _object(plain, classes)
    return plain


def _object(plain: dict[str, Any], classes: Mapping[str, tuple[type, frozenset[str]]]) -> Any:
    match plain:
        case {"{}": dict() as items, **rest} if not rest:
            return {key: decode(item, classes) for key, item in items.items()}
        case {"[]": list() as items, **rest} if not rest:
            return [decode(item, classes) for item in items]
        case {"@": "Secret", "value": str() as text}:
            return Secret(text)
        case {"@": str() as name} if name in classes:
            made, fields = classes[name]
            if plain.keys() - {_CLASS} != fields:
                raise ValueError(f"other fields than {name} has")
            return made(**{key: decode(plain[key], classes) for key in fields})
    raise ValueError("no encoded value")
