"""Which files make up one spec: the file itself, what it extends, and the local file over it.

Later layers win: mappings are merged key by key, everything else is replaced, null removes.
"""

from __future__ import annotations

import os.path
from dataclasses import replace
from pathlib import Path

from algaenv import __version__
from algaenv.bundle.value import dataclass
from algaenv.model.problem import Where
from algaenv.spec.ledger import Ledger
from algaenv.spec.lookup import absolute, is_directory
from algaenv.spec.parse import decode, parse
from algaenv.spec.stacks import SPEC_FILE, names_in
from algaenv.spec.suggest import suggestion
from algaenv.spec.tree import Entry, Node, Scalar, Table, kind_of

VERSION = 1
"""The version of the spec's language that this program reads."""


def real(path: Path) -> str:
    """The one true name of a file, however it was reached."""
    return os.path.realpath(path)


def local_path(path: Path) -> Path:
    """The git-ignored file that is laid over `path`: `x.yaml` → `x.local.yaml`."""
    return path.with_name(f"{path.stem}.local{path.suffix}")


@dataclass(frozen=True, slots=True)
class Layers:
    """Reads the files of one spec; `stacks` is the directory that named stacks lie in."""

    ledger: Ledger
    stacks: Path

    def read(self, path: Path) -> Table | None:
        """The merged tree, without `extends`; None when there is nothing to go on with."""
        spec = self._file(path, str(path), asked_at=None)
        if spec is None:
            return None
        tree = self._extended(spec, str(path), (real(path),))
        overlay = self._overlay(local_path(path), str(local_path(path)))
        return replace(merge(tree, overlay), where=spec.where) if overlay else tree

    def _file(self, path: Path, name: str, *, asked_at: Where | None) -> Table | None:
        try:
            content = self.ledger.read(path)
        except OSError as error:
            self._unreadable(error, name, asked_at)
            return None
        self.ledger.homes[name] = path.absolute().parent
        return self._root(content, name)

    def _overlay(self, path: Path, name: str) -> Table | None:
        try:
            content = self.ledger.read(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._unreadable(error, name, None)
            return None
        self.ledger.homes[name] = path.absolute().parent
        if (tree := self._root(content, name, may_be_empty=True)) is None:
            return None
        if "extends" in tree.entries:
            self.ledger.complain(
                "spec-extends-local",
                "extend another file from a local one",
                "move `extends` to the file that this one is laid over",
                tree.entries["extends"].where,
            )
        return tree

    def _unreadable(self, error: OSError, name: str, asked_at: Where | None) -> None:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            hint = "correct the path" if asked_at else "start from algaenv.yaml.example"
            self.ledger.complain("spec-missing", f"find the file {name}", hint, asked_at)
        else:
            said = error.strerror or str(error)
            hint = "make it a readable file"
            self.ledger.complain("spec-unreadable", f"read {name}: {said}", hint, asked_at)

    def _root(self, content: bytes, name: str, *, may_be_empty: bool = False) -> Table | None:
        before = len(self.ledger.problems)
        text = decode(content, name, self.ledger)
        node = parse(text, name, self.ledger) if text is not None else None
        match node:
            case Table():
                return node if self._version_known(node) else None
            case None if len(self.ledger.problems) == before and not may_be_empty:
                self.ledger.complain(
                    "spec-empty",
                    "find a spec in an empty file",
                    "start with `name: my-environment`",
                    Where(name, 1, 1),
                )
            case None:
                pass
            case _:
                self.ledger.complain(
                    "spec-root",
                    f"use {kind_of(node)} as a spec",
                    "begin with keys, such as `name: my-environment`",
                    node.where,
                )
        return None

    def _version_known(self, tree: Table) -> bool:
        entry = tree.entries.get("version")
        match entry:
            case Entry(node=Scalar(value=int() as version)) if version > VERSION:
                self.ledger.complain(
                    "spec-version",
                    f"read version {version} of the spec: algaenv {__version__} knows version "
                    f"{VERSION}",
                    "upgrade algaenv",
                    entry.node.where,
                )
                return False
        return True

    def _extended(self, tree: Table, name: str, chain: tuple[str, ...]) -> Table:
        entry = tree.entries.get("extends")
        own = Table({k: e for k, e in tree.entries.items() if k != "extends"}, tree.where)
        match entry:
            case None | Entry(node=Scalar(value=None)):
                return own
            case Entry(node=Scalar(value=str() as target)) if target:
                found = self._target(target, name, entry.node.where)
            case _:
                self.ledger.complain(
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
        if real(path) in chain:
            self.ledger.complain(
                "spec-extends-cycle",
                f"extend {shown}: it extends this file",
                "break the circle",
                entry.node.where,
            )
            return own
        base = self._file(path, shown, asked_at=entry.node.where)
        if base is None:
            return own
        merged = merge(self._extended(base, shown, (*chain, real(path))), own)
        return replace(merged, where=own.where)

    def _target(self, target: str, name: str, where: Where) -> tuple[Path, str] | None:
        """The file that `extends: target` means, and how messages name it."""
        if "/" in target or target.endswith((".yaml", ".yml")):
            found = absolute(self.ledger.homes[name], target)
            shown = os.path.normpath(Path(name).parent / target)
            if is_directory(found):
                return Path(found, SPEC_FILE), f"{shown}/{SPEC_FILE}"
            return Path(found), shown
        known = names_in(self.stacks)
        if target in known:
            path = self.stacks / target / SPEC_FILE
            return path, str(path)
        self.ledger.complain(
            "spec-stack-unknown",
            f"extend {target}: there is no such stack",
            suggestion(target, known, "a path to a file begins with ./"),
            where,
        )
        return None


def merge(base: Node | None, over: Table, path: tuple[str, ...] = ()) -> Table:
    """`over` laid over `base`: tables by key, all else replaced, null removes.

    Where one of two layers has the short form of a table, it counts as the table that it stands
    for. `path` are the keys that lead to the two.
    """
    entries: dict[str, Entry] = dict(base.entries) if isinstance(base, Table) else {}
    for key, entry in over.entries.items():
        if isinstance(entry.node, Scalar) and entry.node.value is None:
            entries.pop(key, None)
            continue
        here = (*path, key)
        under = entries.get(key)
        node = entry.node
        if under and isinstance(under.node, Table):
            node = _long(node, here)
        if isinstance(node, Table):
            lower = _long(under.node, here) if under else None
            node = merge(lower, node, here)
        entries[key] = Entry(entry.where, node)
    return Table(entries, over.where)


def _long(node: Node, path: tuple[str, ...]) -> Node:
    """The table that a short form at `path` stands for; other nodes as they are."""
    match path:
        case ("extensions", _) if isinstance(node, Scalar):
            key = "source"
        case ("extensions", _, "build") if not isinstance(node, Table):
            key = "command"
        case _:
            return node
    return Table({key: Entry(node.where, node)}, node.where)
