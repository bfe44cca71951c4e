"""Takes values out of a manifest and complains where their shape is not what it must be.

A rule that is handed a value may trust its type; one that is handed None has nothing to judge,
and the author has already been told why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from algaenv.bundle.findings import Findings
from algaenv.bundle.jsontext import Path

MAX_COLUMN = 255
"""Characters that fit into the columns for names, version, runtime and entry."""


def kind(value: Any) -> str:
    """Name the JSON type of a value, with its article."""
    names: dict[type, str] = {
        type(None): "null",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
    }
    return names.get(type(value), "an object")


def dotted(path: Path) -> str:
    """Write a path as people do: `api.endpoints[0].path`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)[1:]


class Shape:
    """The door between a document and the rules. `above` is the path of `parent`."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

    def string(
        self,
        parent: Mapping[str, Any],
        key: str,
        above: Path = (),
        *,
        required: bool = False,
        column: bool = False,
    ) -> str | None:
        """Return a non-blank string; `column` says it must fit into a database column."""
        path = (*above, key)
        match parent.get(key):
            case str() as value if not value.strip():
                self.empty(path)
            case str() as value if column and len(value) > MAX_COLUMN:
                self._findings.error(
                    "manifest-too-long",
                    path,
                    f"cannot store a {dotted(path)} of {len(value)} characters",
                    f"shorten it to {MAX_COLUMN}",
                )
            case str() as value:
                return value
            case value if key in parent:
                self.wrong_type(path, value, "a string")
            case _ if required:
                self.missing(path)
        return None

    def mapping(
        self, parent: Mapping[str, Any], key: str, above: Path = ()
    ) -> dict[str, Any] | None:
        """Return an object."""
        match parent.get(key):
            case dict() as value:
                return value
            case value if key in parent:
                self.wrong_type((*above, key), value, "an object")
        return None

    def items(self, parent: Mapping[str, Any], key: str, above: Path = ()) -> list[Any]:
        """Return a list; none is as good as an empty one."""
        match parent.get(key):
            case list() as value:
                return value
            case value if key in parent:
                self.wrong_type((*above, key), value, "a list")
        return []

    def strings(self, parent: Mapping[str, Any], key: str) -> list[tuple[Path, str]]:
        """Return the non-blank strings of a top-level list, with their paths."""
        found: list[tuple[Path, str]] = []
        for index, item in enumerate(self.items(parent, key)):
            path = (key, index)
            if not isinstance(item, str):
                self.wrong_type(path, item, "a string")
            elif not item.strip():
                self.empty(path)
            else:
                found.append((path, item))
        return found

    def missing(self, path: Path) -> None:
        """Complain that the object above `path` lacks its last key."""
        self._findings.error(
            "manifest-missing",
            path[:-1],
            f"cannot do without {dotted(path)}",
            f'add "{path[-1]}"',
        )

    def empty(self, path: Path) -> None:
        """Complain about a blank string."""
        self._findings.error(
            "manifest-empty", path, f"cannot use an empty {dotted(path)}", "write a value"
        )

    def wrong_type(self, path: Path, value: Any, wanted: str) -> None:
        """Complain about a value of another type than `wanted`."""
        self._findings.error(
            "manifest-type",
            path,
            f"cannot use {kind(value)} as {dotted(path)}",
            f"write {wanted}",
        )

    def ignored(self, value: Mapping[str, Any], above: Path, used: Sequence[str]) -> None:
        """Warn of every key that is not among the `used`."""
        for key in value:
            if key not in used:
                self.no_effect((*above, key))

    def no_effect(self, path: Path) -> None:
        """Warn of a key that is accepted and then read by nothing."""
        self._findings.warn(
            "manifest-no-effect",
            path,
            f"cannot make use of {dotted(path)}: nothing in Alga reads it",
            "remove it",
            at_key=True,
        )


def strings_of(value: Any, path: Path = ()) -> Iterator[tuple[Path, str, bool]]:
    """Yield every string in `value` with its path, and whether it is a key."""
    match value:
        case str():
            yield path, value, False
        case dict():
            for key, item in value.items():
                yield (*path, key), key, True
                yield from strings_of(item, (*path, key))
        case list():
            for index, item in enumerate(value):
                yield from strings_of(item, (*path, index))
