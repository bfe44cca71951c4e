"""A file of calls for `compare`: YAML or JSON, read with the positions of everything in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, Tag

from algaenv.comparison.volatile import rule_problem
from algaenv.model.comparison import METHODS, Call, CallList
from algaenv.model.problem import SpecError, Where
from algaenv.spec.diagnostics import Diagnostics, suggestion
from algaenv.spec.errors import validate_tree
from algaenv.spec.nodes import MappingEntry, MappingNode, Node, SequenceNode, SourceMap, kind_of
from algaenv.spec.types import MAPPING, TEXT, MatchesPattern, SpecModel, by_kind, value_error
from algaenv.spec.yaml_tree import decode_text, parse_yaml


def _method(value: str) -> str:
    if value.upper() not in METHODS:
        raise value_error(
            "spec-choice",
            f"one of {', '.join(METHODS)} is needed",
            suggestion(value.upper(), METHODS),
        )
    return value.upper()


def _rule(value: str) -> str:
    if problem := rule_problem(value):
        raise value_error("spec-choice", problem)
    return value


Method = Annotated[str, AfterValidator(_method)]
Rule = Annotated[str, AfterValidator(_rule)]
CallPath = Annotated[
    str, MatchesPattern(r"/\S*", "spec-call", "a path begins with a slash and has no blanks")
]
Line = Annotated[
    str,
    MatchesPattern(
        rf"(?:(?:{'|'.join(METHODS)}) +)?/\S*",
        "spec-call",
        "a call looks like /items/42 or GET /items/42",
        "write a mapping with `method`, `path` and `body` for more",
    ),
]


HeaderName = Annotated[
    str,
    MatchesPattern(
        r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "spec-call", "the name of a header has no blanks or colons"
    ),
]
Printable = Annotated[
    str, MatchesPattern(r"[ -~]*", "spec-call", "printable ASCII of one line is needed")
]


class CallSpec(SpecModel):
    """One call, spelled out."""

    path: CallPath
    method: Method | None = None
    body: JsonValue = None
    user: Printable | None = None
    headers: dict[HeaderName, Printable] = Field(default_factory=dict)
    ignore: list[Rule] = Field(default_factory=list)


CallEntry = Annotated[
    Annotated[Line, Tag(TEXT)] | Annotated[CallSpec, Tag(MAPPING)],
    by_kind("a line such as GET /items or a mapping is needed", TEXT, MAPPING),
]


class CallsFile(SpecModel):
    """The whole file."""

    calls: Annotated[list[CallEntry], Field(min_length=1)]
    ignore: list[Rule] = Field(default_factory=list)


def read_calls(path: Path, user: str | None) -> CallList:
    """Read a file of calls; `user` makes those that name nobody. Raises SpecError with all errors.

    A file that is only a list is a list of calls.
    """
    diagnostics = Diagnostics({})
    wanted = ("as a list of calls", "begin with `- GET /items`")
    root = read_mapping(path, diagnostics, wanted, lists="calls")
    if root is not None:
        document, _ = validate_tree(CallsFile, SourceMap(root), diagnostics)
        if document is not None and not diagnostics.problems:
            return CallList(
                tuple(_call(entry, user) for entry in document.calls), tuple(document.ignore)
            )
    raise SpecError.of(dict.fromkeys(diagnostics.problems))


def read_mapping(
    path: Path, diagnostics: Diagnostics, wanted: tuple[str, str], lists: str = ""
) -> MappingNode | None:
    """The mapping that a file holds; None with the problem in `diagnostics`.

    `wanted` says what the file shall be used as, and the hint. A file that is a list counts as
    what stands under the key `lists`, if there is one.
    """
    name = str(path)
    try:
        text = decode_text(diagnostics.read(path), name, diagnostics)
    except FileNotFoundError:
        diagnostics.add_error("spec-missing", f"find the file {name}", "correct the path", None)
        return None
    except OSError as error:
        why = error.strerror or str(error)
        hint = "make it a readable file"
        diagnostics.add_error("spec-unreadable", f"read {name}: {why}", hint, None)
        return None
    before = len(diagnostics.problems)
    node: Node | None = None if text is None else parse_yaml(text, name, diagnostics)
    match node:
        case MappingNode():
            return node
        case SequenceNode() if lists:
            return MappingNode({lists: MappingEntry(node.where, node)}, node.where)
        case None if len(diagnostics.problems) > before or text is None:
            return None
    found = "nothing" if node is None else kind_of(node)
    where = Where(name, 1, 1) if node is None else node.where
    use, hint = wanted
    diagnostics.add_error("spec-calls", f"use {found} {use}", hint, where)
    return None


def _call(entry: str | CallSpec, user: str | None) -> Call:
    if isinstance(entry, str):
        method, _, path = entry.rpartition(" ")
        return Call(method.strip() or "GET", path, user=user)
    body = _body(entry.body)
    return Call(
        entry.method or ("GET" if body is None else "POST"),
        entry.path,
        body,
        entry.user or user,
        {name.lower(): value for name, value in entry.headers.items()},
        tuple(entry.ignore),
    )


def _body(body: Any) -> bytes | None:
    """Text is sent as it is, anything else as JSON."""
    if body is None:
        return None
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()
