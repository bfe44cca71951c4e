"""Which problem codes the package raises, read off its source."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import algaenv

PACKAGE = Path(algaenv.__file__).parent
KEBAB = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)+")
LISTS = "codes.py"
"""How the names of modules end that hold `CODES`."""


@cache
def lists() -> Mapping[str, tuple[tuple[str, str], ...]]:
    """Module → its `CODES`, for every module that has them."""
    found = {}
    for path in sorted(PACKAGE.rglob(f"*{LISTS}")):
        name = ".".join(("algaenv", *path.relative_to(PACKAGE).with_suffix("").parts))
        module = __import__(name, fromlist=["CODES"])
        if hasattr(module, "CODES"):
            found[name] = module.CODES
    return found


@cache
def words() -> Mapping[Path, set[str]]:
    """File → every string in it."""
    return {
        path: {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        for path, tree in _sources().items()
    }


@cache
def raised() -> Mapping[Path, set[str]]:
    """File → the codes that it hands to something which takes a `code`, or assigns to one."""
    sources = _sources()
    places = _places(sources.values())
    return {path: set(_codes(tree, places)) for path, tree in sources.items()}


@cache
def _sources() -> Mapping[Path, ast.Module]:
    return {
        path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))
    }


def _places(trees: Iterable[ast.Module]) -> Mapping[str, set[int]]:
    """Name of a function or class → at which positions it takes a `code`."""
    found: dict[str, set[int]] = defaultdict(set)
    for tree in trees:
        for node in ast.walk(tree):
            match node:
                case ast.ClassDef(name=name, body=body):
                    fields = [it for it in body if isinstance(it, ast.AnnAssign)]
                    named = [it.target.id for it in fields if isinstance(it.target, ast.Name)]
                    found[name] |= {place for place, it in enumerate(named) if it == "code"}
                case ast.FunctionDef(name=name, args=arguments):
                    listed = [it.arg for it in arguments.args]
                    if listed[:1] in (["self"], ["cls"]):
                        del listed[0]
                    found[name] |= {place for place, it in enumerate(listed) if it == "code"}
    return found


def _codes(tree: ast.Module, places: Mapping[str, set[int]]) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=arguments):
                given = [it for place, it in enumerate(arguments) if place in places.get(name, ())]
                given += [it.value for it in node.keywords if it.arg == "code"]
                for value in given:
                    yield from _texts(value, everything=name == "Problem")
            case ast.Assign(targets=[ast.Name(id="code")], value=value):
                yield from _texts(value, everything=False)


def _texts(node: ast.expr, *, everything: bool) -> Iterator[str]:
    """The codes in an expression; elsewhere than in a Problem only what looks like one."""
    for part in ast.walk(node):
        match part:
            case ast.Constant(value=str(text)) if everything or KEBAB.fullmatch(text):
                yield text
