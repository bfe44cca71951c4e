"""Handlers of JavaScript that run from their source, while an extension is developed.

The shell is a component that is part of this package: in each call it evaluates the text that
`algaenv:dev/shell` gives it, and calls the handler that the text exports. It is compiled once; an
edit is a bundle with another text. Instances, capabilities and limits are those of any handler.

A bundle is run this way if it holds the marker, the text, and no component. `algaenv dev` writes
such bundles. Alga's own runner finds no handler in them.
"""

from __future__ import annotations

import json
import posixpath
import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path

from algaenv.bundle.digest import Digest
from algaenv.bundle.layout import DEV_MARKER, DEV_SCRIPT, DEV_SOURCE_MAP
from algaenv.system.files import replacing

COMPRESSED = Path(__file__).parents[1] / "shell/shell.wasm.zst"
RECORD = COMPRESSED.with_name("shell.json")
"""The digests of the component and of what it was made from."""

MAX_SCRIPT_BYTES = 16 << 20
_MAX_KNOWN = 16


@cache
def shell_digest() -> Digest:
    """The digest of the shell, which also stands in the marker of a bundle."""
    return Digest(json.loads(RECORD.read_text("utf-8"))["component"])


class ScriptRefused(Exception):
    """A bundle is marked, and this runner does not run what it holds; the text is the reason."""


class ScriptBundles:
    """The scripts of the bundles that were called last, and the shell as a file."""

    def __init__(self, cache_root: Path) -> None:
        self._folder = cache_root / ".algaenv" / "shell"
        self._known: OrderedDict[Digest, Script] = OrderedDict()

    def get(self, bundle: Digest) -> Script | None:
        """The script of a bundle, if it is known."""
        if (script := self._known.get(bundle)) is not None:
            self._known.move_to_end(bundle)
        return script

    def add(self, bundle: Digest, script: Script) -> None:
        """Keep a script in place of the one that was asked for longest ago."""
        self._known[bundle] = script
        while len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)

    @property
    def shell(self) -> Path:
        """Where the shell is, once it is unpacked."""
        return self._folder / f"{shell_digest().hex}.wasm"

    def unpack_shell(self) -> None:
        """Unpack the shell if it is not there. Blocks; raises OSError."""
        if not self.shell.exists():
            import zstandard

            content = zstandard.ZstdDecompressor().decompress(COMPRESSED.read_bytes())
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with replacing(self.shell, mode=0o600, fsync=True) as file:
                file.write(content)


def read_script(folder: Path) -> Script | None:
    """The script of an unpacked bundle; None for a bundle without a marker. Blocks.

    Raises ScriptRefused for a marker or a text that this runner does not run, and OSError.
    """
    try:
        marker = (folder / DEV_MARKER).read_bytes()
    except FileNotFoundError:
        return None
    try:
        fields = json.loads(marker)
        version, shell = fields["version"], fields["shell"]
    except (ValueError, KeyError, TypeError):
        raise ScriptRefused(f"{DEV_MARKER} is not what algaenv dev writes") from None
    if version != 1 or shell != shell_digest().hex:
        raise ScriptRefused(f"{DEV_MARKER} was written for another version of this runner")
    script, source_map = folder / DEV_SCRIPT, folder / DEV_SOURCE_MAP
    if script.stat().st_size > MAX_SCRIPT_BYTES:
        raise ScriptRefused(f"{DEV_SCRIPT} has more than {MAX_SCRIPT_BYTES >> 20} MiB")
    try:
        text = script.read_text("utf-8")
    except UnicodeDecodeError:
        raise ScriptRefused(f"{DEV_SCRIPT} is not UTF-8") from None
    return Script(text, source_map.read_bytes() if source_map.is_file() else None)


_PLACE = re.compile(rf"{re.escape(DEV_SCRIPT)}:(\d{{1,9}}):(\d{{1,9}})")
_DIGITS = {
    character: value
    for value, character in enumerate(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    )
}
_CONTINUED = 32

_Segment = tuple[int, int, int, int]
"""Column of the text, number of the source, its line, its column; all count from 0."""


class Script:
    """`text` is a CommonJS module that exports `handler`; `source_map` is of version 3, as JSON.

    A message of the guest names places as `dist/main.js:LINE:COLUMN`. The source map says where
    those are in the files that the author wrote.
    """

    def __init__(self, text: str, source_map: bytes | None = None) -> None:
        self.text = text
        self._source_map = source_map

    def mapped(self, message: str) -> str:
        """The message with the author's places in it, as far as the source map knows them."""
        if DEV_SCRIPT not in message:
            return message
        return _PLACE.sub(
            lambda found: self._place(int(found[1]), int(found[2])) or found[0], message
        )

    def _place(self, line: int, column: int) -> str | None:
        sources, lines = self._decoded
        if not 0 < line <= len(lines):
            return None
        segments = lines[line - 1]
        index = bisect_right(segments, (column - 1, len(sources), 0, 0)) - 1
        if index < 0:
            return None
        _, source, source_line, source_column = segments[index]
        if not 0 <= source < len(sources):
            return None
        return f"{sources[source]}:{source_line + 1}:{source_column + 1}"

    @cached_property
    def _decoded(self) -> tuple[list[str], list[list[_Segment]]]:
        """The names of the sources, relative to the extension, and the segments of each line."""
        if self._source_map is None:
            return [], []
        try:
            document = json.loads(self._source_map)
            folder = posixpath.join(posixpath.dirname(DEV_SCRIPT), document.get("sourceRoot") or "")
            sources = [
                posixpath.normpath(posixpath.join(folder, source)) for source in document["sources"]
            ]
            return sources, list(_lines(document["mappings"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            return [], []


def _lines(mappings: str) -> Iterator[list[_Segment]]:
    source = line = column = 0
    for group in mappings.split(";"):
        segments: list[_Segment] = []
        generated = 0
        for text in group.split(","):
            numbers = _numbers(text)
            if numbers:
                generated += numbers[0]
            if len(numbers) >= 4:
                source += numbers[1]
                line += numbers[2]
                column += numbers[3]
                segments.append((generated, source, line, column))
        yield segments


def _numbers(text: str) -> list[int]:
    """The numbers of a segment: base 64, least part first, the sign in the lowest bit."""
    numbers: list[int] = []
    value = shift = 0
    for character in text:
        digit = _DIGITS[character]
        value += (digit & (_CONTINUED - 1)) << shift
        shift += 5
        if not digit & _CONTINUED:
            numbers.append(-(value >> 1) if value & 1 else value >> 1)
            value = shift = 0
    return numbers
