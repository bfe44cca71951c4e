"""Merges the files of one spec: the file itself, what it extends, and the local file over it.

Each of them counts with the fragments that it includes (`include.py`).
Later layers win: mappings are merged key by key, everything else is replaced, null removes.
"""

from __future__ import annotations

import os.path
from pathlib import Path

from algaenv import __version__
from algaenv.bundle.value import dataclass, field, replace
from algaenv.model.problem import Where
from algaenv.spec.diagnostics import Diagnostics, suggestion
from algaenv.spec.include import Includer, Link
from algaenv.spec.nodes import MappingEntry, MappingNode, Node, ScalarNode, kind_of
from algaenv.spec.paths import SPEC_FILE, absolute, is_directory, names_in
from algaenv.spec.yaml_tree import decode_text, parse_yaml

VERSION = 1
"""The version of the spec's language that this program reads."""


def real_path(path: Path) -> str:
    """The one true name of a file, however it was reached."""
    return os.path.realpath(path)


def local_path(path: Path) -> Path:
    """The git-ignored file that is laid over `path`: `x.yaml` → `x.local.yaml`."""
    return path.with_name(f"{path.stem}.local{path.suffix}")


@dataclass(frozen=True, slots=True)
class LayerReader:
    """Reads the files of one spec; `stacks` is the directory that named stacks lie in."""

    diagnostics: Diagnostics
    stacks: Path
    trees: list[MappingNode] = field(default_factory=list)
    """Those of the files that were read: the spec, what it extends, the local file."""

    def read(self, path: Path) -> MappingNode | None:
        """The merged tree, without `extends` and `include`; None when there is nothing to go on
        with."""
        spec = self._file(path, str(path), asked_at=None)
        if spec is None:
            return None
        includer = Includer(self.diagnostics, self._fragment)
        tree = self._extended(spec, str(path), (real_path(path),), includer)
        overlay = self._overlay(local_path(path), str(local_path(path)))
        if overlay is not None:
            overlay = includer.with_fragments(overlay, (Link.of(local_path(path)),))
        return replace(merge(tree, overlay), where=spec.where) if overlay else tree

    def _file(
        self, path: Path, name: str, *, asked_at: Where | None, may_be_empty: bool = False
    ) -> MappingNode | None:
        try:
            content = self.diagnostics.read(path)
        except OSError as error:
            self._unreadable(error, name, asked_at)
            return None
        self.diagnostics.base_directories[name] = path.absolute().parent
        return self._root(content, name, may_be_empty=may_be_empty)

    def _fragment(self, path: Path, name: str, asked_at: Where) -> MappingNode | None:
        return self._file(path, name, asked_at=asked_at, may_be_empty=True)

    def _overlay(self, path: Path, name: str) -> MappingNode | None:
        try:
            content = self.diagnostics.read(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._unreadable(error, name, None)
            return None
        self.diagnostics.base_directories[name] = path.absolute().parent
        if (tree := self._root(content, name, may_be_empty=True)) is None:
            return None
        if "extends" in tree.entries:
            self.diagnostics.add_error(
                "spec-extends-local",
                "extend another file from a local one",
                "move `extends` to the file that this one is laid over",
                tree.entries["extends"].where,
            )
        return tree

    def _unreadable(self, error: OSError, name: str, asked_at: Where | None) -> None:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            hint = "correct the path" if asked_at else "start from algaenv.yaml.example"
            self.diagnostics.add_error("spec-missing", f"find the file {name}", hint, asked_at)
        else:
            reason = error.strerror or str(error)
            hint = "make it a readable file"
            self.diagnostics.add_error("spec-unreadable", f"read {name}: {reason}", hint, asked_at)

    def _root(self, content: bytes, name: str, *, may_be_empty: bool = False) -> MappingNode | None:
        before = len(self.diagnostics.problems)
        text = decode_text(content, name, self.diagnostics)
        node = parse_yaml(text, name, self.diagnostics) if text is not None else None
        match node:
            case MappingNode():
                self.trees.append(node)
                return node if self._version_known(node) else None
            case None if len(self.diagnostics.problems) == before and not may_be_empty:
                self.diagnostics.add_error(
                    "spec-empty",
                    "find a spec in an empty file",
                    "start with `name: my-environment`",
                    Where(name, 1, 1),
                )
            case None:
                pass
            case _:
                self.diagnostics.add_error(
                    "spec-root",
                    f"use {kind_of(node)} as a spec",
                    "begin with keys, such as `name: my-environment`",
                    node.where,
                )
        return None

    def _version_known(self, tree: MappingNode) -> bool:
        entry = tree.entries.get("version")
        match entry:
            case MappingEntry(node=ScalarNode(value=int() as version)) if version > VERSION:
                self.diagnostics.add_error(
                    "spec-version",
                    f"read version {version} of the spec: algaenv {__version__} knows version "
                    f"{VERSION}",
                    "upgrade algaenv",
                    entry.node.where,
                )
                return False
        return True

    def _extended(
        self, tree: MappingNode, name: str, chain: tuple[str, ...], includer: Includer
    ) -> MappingNode:
        tree = includer.with_fragments(tree, (Link.of(name),))
        entry = tree.entries.get("extends")
        own = MappingNode({k: e for k, e in tree.entries.items() if k != "extends"}, tree.where)
        match entry:
            case None | MappingEntry(node=ScalarNode(value=None)):
                return own
            case MappingEntry(node=ScalarNode(value=str() as target)) if target:
                found = self._target(target, name, entry.node.where)
            case _:
                self.diagnostics.add_error(
                    "spec-type",
                    f"use {kind_of(entry.node)} as extends: the name of a stack or a path is "
                    "needed",
                    "name one stack, or write a path such as ./base.yaml",
                    entry.node.where,
                )
                return own
        if found is None:
            return own
        path, shown = found
        if real_path(path) in chain:
            self.diagnostics.add_error(
                "spec-extends-cycle",
                f"extend {shown}: it extends this file",
                "break the circle",
                entry.node.where,
            )
            return own
        base = self._file(path, shown, asked_at=entry.node.where)
        if base is None:
            return own
        merged = merge(self._extended(base, shown, (*chain, real_path(path)), includer), own)
        return replace(merged, where=own.where)

    def _target(self, target: str, name: str, where: Where) -> tuple[Path, str] | None:
        """The file that `extends: target` means, and how messages name it."""
        if "/" in target or target.endswith((".yaml", ".yml")):
            found = absolute(self.diagnostics.base_directories[name], target)
            shown = os.path.normpath(Path(name).parent / target)
            if is_directory(found):
                return Path(found, SPEC_FILE), f"{shown}/{SPEC_FILE}"
            return Path(found), shown
        known = names_in(self.stacks)
        if target in known:
            path = self.stacks / target / SPEC_FILE
            return path, str(path)
        self.diagnostics.add_error(
            "spec-stack-unknown",
            f"extend {target}: there is no such stack",
            suggestion(target, known, "a path to a file begins with ./"),
            where,
        )
        return None


def merge(base: Node | None, over: MappingNode, path: tuple[str, ...] = ()) -> MappingNode:
    """`over` laid over `base`: tables by key, all else replaced, null removes.

    Where one of two layers has the short form of a table, it counts as the table that it stands
    for. `path` are the keys that lead to the two.
    """
    entries: dict[str, MappingEntry] = dict(base.entries) if isinstance(base, MappingNode) else {}
    for key, entry in over.entries.items():
        if isinstance(entry.node, ScalarNode) and entry.node.value is None:
            entries.pop(key, None)
            continue
        here = (*path, key)
        under = entries.get(key)
        node = entry.node
        if under and isinstance(under.node, MappingNode):
            node = _long_form(node, here)
        if isinstance(node, MappingNode):
            lower = _long_form(under.node, here) if under else None
            node = merge(lower, node, here)
        entries[key] = MappingEntry(entry.where, node)
    return MappingNode(entries, over.where)


def _long_form(node: Node, path: tuple[str, ...]) -> Node:
    """The table that a short form at `path` stands for; other nodes as they are."""
    match path:
        case ("extensions", _) if isinstance(node, ScalarNode):
            key = "source"
        case ("extensions", _, "build") if not isinstance(node, MappingNode):
            key = "command"
        case _:
            return node
    return MappingNode({key: MappingEntry(node.where, node)}, node.where)
