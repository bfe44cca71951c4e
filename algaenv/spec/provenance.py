"""Where the value of a field comes from: the files that set it, its variables, its default."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from algaenv.bundle.value import dataclass
from algaenv.model.isolated import authored_spec
from algaenv.model.problem import Problem, SpecError, Where
from algaenv.spec.diagnostics import Diagnostics, nearest
from algaenv.spec.merge import LayerReader, local_path
from algaenv.spec.nodes import MappingNode, Node, ScalarNode, SequenceNode, SourceMap
from algaenv.spec.paths import stacks_root
from algaenv.spec.variables import EXTENSIONS_KEY, read_dotenv

MASK = "***"
_SECRET = re.compile(r"secret|password|token|credential|_key$|^key$", re.IGNORECASE)
_VARIABLE = re.compile(r"(?<!\$)\$\{([A-Za-z_][A-Za-z0-9_]*)")
_NOTES = "^x-"
_MAX_TEXT = 200
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A file sets the field. `text` is what it says there, before variables; secrets are masked."""

    where: Where
    text: str
    variables: Mapping[str, str]
    """Name → where its value comes from: `the shell`, `.env`, or `not set`."""


@dataclass(frozen=True, slots=True)
class FieldExplanation:
    """A field of the spec. The first of `settings` counts; without one the default does."""

    path: str
    description: str
    default: str | None
    """As JSON; None where the schema names none."""
    settings: tuple[Setting, ...]


def explain_field(path: Path, environ: Mapping[str, str], name: str) -> FieldExplanation:
    """Explain the field `a.b.c` of the spec at `path`; items of a sequence are numbers from 0.

    Raises SpecError (`spec-field-unknown`, and what keeps the files from being read).
    """
    keys = tuple(it for it in name.split(".") if it)
    description, default = _described(keys, name)
    path = authored_spec(path)
    diagnostics = Diagnostics(environ)
    diagnostics.load_dotenv = functools.partial(read_dotenv, path, diagnostics)
    settings = []
    for tree in _by_precedence(_trees(path, diagnostics), path):
        node = SourceMap(tree).node(_indices(keys))
        if node is not None:
            where = SourceMap(tree).key(_indices(keys))
            settings.append(Setting(where, _shown(node, keys), _variables(node, diagnostics)))
    return FieldExplanation(".".join(keys), description, default, tuple(settings))


def extension_names(
    path: Path, environ: Mapping[str, str], section: str = EXTENSIONS_KEY
) -> frozenset[str]:
    """The extensions that a spec names, or the tasks, whatever else is wrong with it. Raises
    SpecError for files that cannot be read."""
    found = set()
    for tree in _trees(authored_spec(path), Diagnostics(environ)):
        if isinstance(node := SourceMap(tree).node((section,)), MappingNode):
            found |= {it for it in node.entries if not re.match(_NOTES, it)}
    return frozenset(found)


def _trees(path: Path, diagnostics: Diagnostics) -> Sequence[MappingNode]:
    reader = LayerReader(diagnostics, stacks_root())
    reader.read(path)
    if diagnostics.problems:
        raise SpecError.of(dict.fromkeys(diagnostics.problems), diagnostics.warnings)
    return reader.trees


def _by_precedence(trees: Sequence[MappingNode], path: Path) -> Iterator[MappingNode]:
    """The local file first, then the spec, then what it extends; each before its fragments."""
    local = str(local_path(path))
    # They were read in this order, but for the local file, which came last.
    at = next((i for i, it in enumerate(trees) if it.where.file == local), len(trees))
    yield from (*trees[at:], *trees[:at])


def _indices(keys: Sequence[str]) -> tuple[str | int, ...]:
    return tuple(int(it) if it.isdecimal() else it for it in keys)


def _shown(node: Node, keys: Sequence[str]) -> str:
    if any(map(_SECRET.search, keys)):
        return MASK
    match node:
        case ScalarNode():
            return node.text[:_MAX_TEXT] or '""'
        case MappingNode():
            return f"a mapping of {', '.join(node.entries) or 'nothing'}"[:_MAX_TEXT]
        case SequenceNode():
            return f"a sequence of {len(node.items)}"


def _variables(node: Node, diagnostics: Diagnostics) -> dict[str, str]:
    if not isinstance(node, ScalarNode):
        return {}
    found = {}
    for name in _VARIABLE.findall(node.text):
        if name in diagnostics.environ:
            found[name] = "the shell"
        else:
            found[name] = "not set" if diagnostics.variable(name) is None else ".env"
    return found


def _described(keys: Sequence[str], name: str) -> tuple[str, str | None]:
    """What the schema says of a field. Raises SpecError for one that it does not have."""
    import json

    from algaenv.spec.schema import schema

    root = schema()
    current, described = [root], root
    if not keys:
        raise _unknown(name, (), "", sorted(root["properties"]))
    for number, key in enumerate(keys):
        options = {k: v for it in current for k, v in it.get("properties", {}).items()}
        if key in options:
            described = options[key]
        else:
            others = [it["additionalProperties"] for it in current if "additionalProperties" in it]
            others += [
                shape
                for it in current
                for pattern, shape in it.get("patternProperties", {}).items()
                if re.search(pattern, key) and pattern != _NOTES
            ]
            others += [it["items"] for it in current if key.isdecimal() and "items" in it]
            allowed = [it for it in others if isinstance(it, dict)]
            if not allowed:
                raise _unknown(name, keys[:number], key, sorted(options))
            described = allowed[0]
        current = list(_alternatives(described, root))
    default = next((it["default"] for it in (described, *current) if "default" in it), None)
    text = next((it["description"] for it in (described, *current) if "description" in it), "")
    return text, None if default is None else json.dumps(default, ensure_ascii=False)


def _alternatives(found: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The shapes that a value may have, references resolved."""
    if reference := found.get("$ref"):
        yield from _alternatives(root["definitions"][reference.rpartition("/")[2]], root)
        return
    nested = [*found.get("anyOf", ()), *found.get("oneOf", ()), *found.get("allOf", ())]
    if nested:
        for each in nested:
            yield from _alternatives(each, root)
    else:
        yield dict(found)


def _unknown(name: str, parents: Sequence[str], key: str, known: Sequence[str]) -> SpecError:
    near = nearest(key, known)
    lead = ".".join((*parents, near)) if near else ""
    choices = f"choose one of {', '.join(known)}" if known else "name a field of the spec"
    return SpecError(
        Problem(
            "spec-field-unknown",
            f"cannot explain {name}: it is no problem code, no extension and no field of the spec",
            f"did you mean `{lead}`?" if near else choices,
        )
    )
