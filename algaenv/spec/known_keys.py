"""Which keys the models know at one place, for the hint of a complaint about another key."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Tag
from pydantic.fields import FieldInfo

from algaenv.spec.tree import Path


def known_keys(model: type[BaseModel], location: Path) -> tuple[str, ...]:
    """The keys that the spec knows at a location, marks included."""
    types: list[Any] = [model]
    for key in location:
        types = [inner for each in types for inner in _below(each, key)]
    return tuple(name for each in types for name, _ in _fields(each))


def _below(annotation: Any, key: str | int) -> list[Any]:
    """The annotations of what stands under `key` in a value of this annotation.

    A union's tag leads to the member that carries it.
    """
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return [inner for arg in args for inner in _below(arg, key)]
    if origin is Annotated:
        tags = [mark.tag for mark in args[1:] if isinstance(mark, Tag)]
        return [args[0]] if tags == [key] else [] if tags else _below(args[0], key)
    if origin in (dict, list):
        return [args[-1]]
    return [info.annotation for name, info in _fields(annotation) if key == name]


def _fields(annotation: Any) -> list[tuple[str, FieldInfo]]:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [(info.alias or name, info) for name, info in annotation.model_fields.items()]
    return []
