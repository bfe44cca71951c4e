"""Validates a tree; turns pydantic's errors into diagnostics at the author's own position.

Invalid parts are cut out, so that the rules that pydantic cannot check are checked on the rest in
the same run: the author sees every error at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError
from pydantic.fields import FieldInfo

from algaenv.model.problem import Where
from algaenv.spec.diagnostics import Diagnostics, nearest, shorten, suggestion
from algaenv.spec.nodes import NodePath, ScalarNode, SequenceNode, SourceMap, kind_of, to_plain
from algaenv.spec.types import TAG_PREFIX

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


Model = TypeVar("Model", bound=BaseModel)

_MAX_PASSES = 8
_KEY = "[key]"
_REQUIREMENTS = {
    "string_type": "text is needed",
    "bool_type": "true or false is needed",
    "int_type": "a whole number is needed",
    "model_type": "a mapping is needed",
    "dict_type": "a mapping is needed",
    "list_type": "a list is needed",
    "greater_than_equal": "it must be at least {ge}",
    "less_than_equal": "it must be at most {le}",
    "too_short": "it must not be empty",
    "string_too_short": "it must not be empty",
    "literal_error": "it must be {expected}",
}
_CODES = {
    "greater_than_equal": "spec-range",
    "less_than_equal": "spec-range",
    "too_short": "spec-text",
    "string_too_short": "spec-text",
    "literal_error": "spec-choice",
}
_VARIABLE_MAPPINGS = frozenset(("environment", "process_environment", "args"))
"""Mappings that Compose takes as a list of `NAME=value`, too."""
_KEY_SYNONYMS = {
    "object_store": "store",
    "objectstore": "store",
    "minio": "store",
    "s3": "store",
    "postgres": "database",
    "postgresql": "database",
    "db": "database",
    "valkey": "redis",
    "path": "source",
    "src": "source",
    "env": "environment",
    "persistence": "persistent",
    "timeout": "ready_timeout",
    "database": "name",
    "username": "user",
    "dsn": "url",
}
"""Synonyms that authors write instead of the spec's own key; a hint only where that key exists."""


def validate_tree(
    model: type[Model],
    source_map: SourceMap,
    diagnostics: Diagnostics,
    *,
    stand_ins: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Model | None, frozenset[NodePath]]:
    """The model of the tree, its broken parts cut out, and the paths of what was cut.

    Reports each invalid part once, and none that was reported already. `stand_ins`
    are put where a required key of the root is missing or broken. None when nothing can be made
    of the tree.
    """
    document: Any = to_plain(source_map.root)
    cut: set[NodePath] = set()
    for turn in range(_MAX_PASSES):
        try:
            return model.model_validate(document), frozenset(cut)
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
        for detail in details:
            if turn == 0:
                _ErrorReporter(model, source_map, diagnostics, detail).make()
            path = _path_to_remove(detail, source_map)
            if path == () and (key := str(detail["loc"][0])) in stand_ins:
                document[key] = stand_ins[key]
            elif path == ():
                return None, frozenset(cut)
            else:
                _remove(document, path)
                cut.add(path)
    return None, frozenset(cut)


def _keys(location: NodePath, source_map: SourceMap) -> NodePath:
    """The author's keys in a location: without the tags of unions, and without the `[key]` that
    says that a key itself is wrong, unless the author has a key of that name there.
    """
    keys = tuple(key for key in location if not (isinstance(key, str) and key[:1] == TAG_PREFIX))
    about_key = keys[-1:] == (_KEY,) and source_map.node(keys) is None
    return keys[:-1] if about_key else keys


def _path_to_remove(detail: ErrorDetails, source_map: SourceMap) -> NodePath:
    """What goes when this is wrong; of a list the whole, lest its other items change places."""
    keys = _keys(detail["loc"], source_map)
    if detail["type"] == "missing":
        keys = keys[:-1]
    return tuple(itertools.takewhile(lambda key: isinstance(key, str), keys))


def _remove(document: Any, path: NodePath) -> None:
    """Cut `path` out of plain values; an earlier cut may have taken it along."""
    for key in path[:-1]:
        if not isinstance(document, dict) or key not in document:
            return
        document = document[key]
    if isinstance(document, dict):
        document.pop(path[-1], None)


class _ErrorReporter:
    """Adds one error of pydantic's to the diagnostics."""

    def __init__(
        self,
        model: type[BaseModel],
        source_map: SourceMap,
        diagnostics: Diagnostics,
        detail: ErrorDetails,
    ) -> None:
        self._source_map, self._diagnostics = source_map, diagnostics
        self._kind = detail["type"]
        self._message = detail["msg"]
        self._with: Mapping[str, Any] = detail.get("ctx") or {}
        self._path = _keys(detail["loc"], source_map)
        self._about_key = detail["loc"][-1:] == (_KEY,) != self._path[-1:]
        self._siblings = known_keys(model, detail["loc"][:-1])

    def make(self) -> None:
        """Add the error, unless its position was reported already."""
        if self._kind == "missing":
            self._missing()
        elif self._kind == "extra_forbidden":
            self._unknown()
        elif self._about_key:
            where = self._source_map.key(self._path)
            name = f"`{self._path[-1]}`" if self._path[-1] else "empty text"
            self._wrong(name, f"a key of {dotted_path(self._path[:-1])}", where)
        elif (where := self._source_map.value(self._path)) not in self._diagnostics.reported:
            self._wrong(self._shown(), dotted_path(self._path), where)

    def _missing(self) -> None:
        key, around = str(self._path[-1]), dotted_path(self._path[:-1])
        lacking = f"do without `{key}` in {around}" if around else f"do without `{key}`"
        self._diagnostics.add_error(
            "spec-key-missing", lacking, f"add `{key}: …`", self._source_map.value(self._path[:-1])
        )

    def _unknown(self) -> None:
        key, around = str(self._path[-1]), dotted_path(self._path[:-1])
        hint = suggestion(key, self._siblings, "delete it")
        other = _KEY_SYNONYMS.get(key.lower().replace("-", "_"))
        if other in self._siblings and nearest(key, self._siblings) is None:
            hint = f"write `{other}`"
        self._diagnostics.add_error(
            "spec-key-unknown",
            f"use the key `{key}` in {around}: there is no such key"
            if around
            else f"use the key `{key}`: there is no such key",
            hint,
            self._source_map.key(self._path),
        )

    def _wrong(self, shown: str, role: str, where: Where) -> None:
        code = self._kind if self._kind.startswith("spec-") else _CODES.get(self._kind)
        requirement = str(self._with.get("wanted") or self._wanted())
        self._diagnostics.add_error(
            code or "spec-type", f"use {shown} as {role}: {requirement}", self._hint(), where
        )

    def _wanted(self) -> str:
        if template := _REQUIREMENTS.get(self._kind):
            filled = template.format(**self._with)
            return filled.replace("'", "")
        return self._message

    def _shown(self) -> str:
        node = self._source_map.node(self._path)
        if self._with.get("quiet") or node is None:
            return "this"
        if not isinstance(node, ScalarNode):
            return kind_of(node)
        if node.value is None:
            return "nothing"
        kind = "" if isinstance(node.value, str) else f" ({kind_of(node)})"
        return f"`{shorten(node.text, 60)}`{kind}" if node.text else "empty text"

    def _hint(self) -> str:
        if hint := self._with.get("hint"):
            return str(hint)
        node = self._source_map.node(self._path)
        if isinstance(node, SequenceNode) and self._kind in ("dict_type", "model_type"):
            return (
                _as_mapping(node)
                if self._path[-1:] and self._path[-1] in _VARIABLE_MAPPINGS
                else ""
            )
        if not isinstance(node, ScalarNode):
            return ""
        if self._kind == "string_type":
            return f'put it in quotes: "{node.text}"'
        if self._kind in ("int_type", "bool_type") and isinstance(node.value, str):
            return "take the quotes away" if not node.plain else ""
        if self._kind == "literal_error":
            expected = str(self._with["expected"]).replace("'", "")
            choices = expected.replace(" or ", ", ").split(", ")
            if node.value in choices:
                return "take the quotes away"
            near = nearest(str(node.value), choices)
            return f"did you mean `{near}`?" if near else ""
        return ""


def _as_mapping(listing: SequenceNode) -> str:
    """How the list that Compose takes for variables is written here; empty for other lists."""
    first = listing.items[0] if listing.items else None
    if not isinstance(first, ScalarNode) or not (name := first.text.partition("=")[0]):
        return ""
    if "=" not in first.text:
        return f"write `{name}: ${{{name}}}` instead of `- {name}`" if name.isidentifier() else ""
    return f"write `{name}: {first.text.partition('=')[2]}` instead of `- {first.text}`"


def dotted_path(path: Sequence[str | int]) -> str:
    """A path as messages show it: `runner.volumes[0]`."""
    shown = ""
    for key in path:
        shown += f"[{key}]" if isinstance(key, int) else f".{key}" if shown else key
    return shown


def known_keys(model: type[BaseModel], location: NodePath) -> tuple[str, ...]:
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
