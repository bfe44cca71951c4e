"""Reads the fields of a manifest and reports those of a wrong type.

A rule that gets a value may rely on its type. A rule that gets None has nothing to check: the error
has been reported already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from algaenv.bundle.diagnostics import (
    Diagnostic,
    LineIndex,
    Severity,
    escape_unprintable,
    quoted,
    sort_by_position,
)
from algaenv.bundle.manifest.json_text import JsonPositions, Path

MAX_COLUMN = 255
"""Characters that fit into the columns for names, version, runtime and entry."""


def type_name(value: Any) -> str:
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


class FieldReader:
    """Reads typed values of a document, reports wrong types. `above` is the path of `parent`."""

    def __init__(self, report: JsonReport) -> None:
        self._report = report

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
                self._report.error(
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
        """Add an error: the object above `path` lacks its last key."""
        self._report.error(
            "manifest-missing",
            path[:-1],
            f"cannot do without {dotted(path)}",
            f'add "{path[-1]}"',
        )

    def empty(self, path: Path) -> None:
        """Add an error about a blank string."""
        self._report.error(
            "manifest-empty", path, f"cannot use an empty {dotted(path)}", "write a value"
        )

    def wrong_type(self, path: Path, value: Any, wanted: str) -> None:
        """Add an error about a value of another type than `wanted`."""
        self._report.error(
            "manifest-type",
            path,
            f"cannot use {type_name(value)} as {dotted(path)}",
            f"write {wanted}",
        )

    def ignored(self, value: Mapping[str, Any], above: Path, used: Sequence[str]) -> None:
        """Add a warning about every key that is not among the `used`."""
        for key in value:
            if key not in used:
                self.no_effect((*above, key))

    def no_effect(self, path: Path) -> None:
        """Add a warning about a key that nothing reads."""
        self._report.warn(
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


_BYTE_ORDER_MARK = "\ufeff"


class JsonReport:
    """Collects diagnostics about one JSON text; `text` is kept without its byte-order mark.

    Rules name a value by its path. Positions are computed only when there is something to report,
    so a manifest without errors is parsed once.
    """

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text.removeprefix(_BYTE_ORDER_MARK)
        self._diagnostics: list[Diagnostic] = []
        self._positions: JsonPositions | None = None
        self._lines: LineIndex | None = None
        if self.text != text:
            self.at_offset(
                0,
                "manifest-bom",
                "cannot read the manifest: it begins with a byte-order mark",
                "save it as UTF-8 without one",
            )

    def error(
        self, code: str, path: Path, summary: str, hint: str, *, at_key: bool = False
    ) -> None:
        """Add an error about the value at `path`, or about its key."""
        self._add(code, path, summary, hint, "error", at_key=at_key)

    def warn(self, code: str, path: Path, summary: str, hint: str, *, at_key: bool = False) -> None:
        """Add a warning about the value at `path`, or about its key."""
        self._add(code, path, summary, hint, "warning", at_key=at_key)

    def repeated_keys(self) -> None:
        """Add an error for every key that an object writes twice."""
        for path, offset in self._json_positions().repeated:
            self.at_offset(
                offset,
                "manifest-duplicate-key",
                f"cannot tell which {quoted(str(path[-1]))} is meant: the key is written twice",
                "remove one of them",
            )

    def at_offset(
        self, offset: int, code: str, summary: str, hint: str, severity: Severity = "error"
    ) -> None:
        """Add a diagnostic at an offset into the text."""
        if self._lines is None:
            self._lines = LineIndex(self.text)
        position = self._lines.position(offset)
        self._diagnostics.append(
            Diagnostic(
                code,
                escape_unprintable(summary),
                escape_unprintable(hint),
                self.file,
                *position,
                severity,
            )
        )

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All of them, by position."""
        return sort_by_position(self._diagnostics)

    def _add(
        self, code: str, path: Path, summary: str, hint: str, severity: Severity, *, at_key: bool
    ) -> None:
        positions = self._json_positions()
        offset = positions.keys[path] if at_key else positions.values[path]
        self.at_offset(offset, code, summary, hint, severity)

    def _json_positions(self) -> JsonPositions:
        if self._positions is None:
            self._positions = JsonPositions.of(self.text)
        return self._positions
