"""What a command of a build prints: logged, reported line by line, searched for the first error.

Files of the mirror go by the names that their author knows.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Final

from algaenv.drivers.build.file_tree import DEPENDENCIES
from algaenv.model.problem import Where
from algaenv.reconcile.protocols import OnProgress

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_CHUNK: Final = 64 * 1024
"""Bytes without an end of line that are taken for a line."""
_TAIL = 20
_FIRST = 10
"""Lines that are kept from the first error on: a tool may say more about itself than fits."""
_ERROR: Final = re.compile(
    rb"(?:\b|\x1b\[[\d;]*m)error(?=[\s:\[\]\x1b])|^Traceback ", re.IGNORECASE | re.MULTILINE
)
_PLACES: Final = (
    re.compile(r"([^\s:'\"`()\[\]{}<>,;|]+\.\w+)(?:[:(](\d+))(?:[:,](\d+))?"),
    re.compile(r'File "(?:/\d+/)?([^"]+)", line (\d+)()'),
)
"""File, line and column as compilers write them, and as Python does. componentize-py shows the
directories of the source to Python as `/0`, `/1` …"""
_FRAME: Final = re.compile(rb"\s+at .*(?:/node_modules/|\bnode:)")
"""A line of a stack of JavaScript within a tool."""
_LONGEST_LINE = 400
_LOOKED_AT = 4 * _LONGEST_LINE
"""Bytes at the end of a line that are examined."""
_BURST = 1_000
"""Lines that are reported in one burst."""
_LINES_A_SECOND = 200
_LOG_HEAD = 1024 * 1024
_LOG_TAIL = 1024 * 1024
"""Bytes of the beginning and of the end that the log keeps."""


class BuildOutput:
    """Takes the output of a command block by block; writes a log and reports lines.

    The log keeps the beginning and the end of a long output. Progress is limited to a rate that
    a person can follow: a build may print faster than lines can be handled. `rewrite` is given
    whole lines before anything else; None: paths of the tree become those of the workspace.
    """

    def __init__(
        self,
        tree: Path,
        workspace: Path,
        log: IO[bytes],
        on_progress: OnProgress,
        rewrite: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._rewrite = rewrite or _PathRewriter(tree, workspace).shown
        self._workspace = workspace
        self._log = log
        self._on_progress = on_progress
        self._rest = b""
        self._last: deque[bytes] = deque(maxlen=_TAIL)
        self._first: list[bytes] = []
        self._logged = 0
        self._held = bytearray()
        self._left_out = 0
        self._budget = float(_BURST)
        self._last_emit = time.monotonic()
        self._suppressed = False

    @property
    def tail(self) -> list[str]:
        """The last lines, fit to be shown."""
        return [_printable(line) for line in self._last]

    @property
    def excerpt(self) -> list[str]:
        """The lines from the first error on, and the last ones, fit to be shown."""
        last = set(self._last)
        first = [line for line in self._first if line not in last]
        gap = [b"\xe2\x80\xa6"] if len(first) == len(self._first) else []
        lines = [*first, *gap, *self._last] if any(map(bytes.strip, first)) else self._last
        # Where the tool itself was tells its authors something.
        return [_printable(line) for line in lines if not _FRAME.match(line)]

    def where(self, directories: Sequence[Path]) -> Where | None:
        """The place of the first error in a file of the author's, whose paths are relative to one
        of these directories; None where the command names none."""
        for lines in (self._first, self._last):
            texts = [_printable(line) for line in lines]
            for pattern, ordered in zip(_PLACES, (texts, texts[::-1]), strict=True):
                for found in (it for text in ordered for it in pattern.finditer(text)):
                    if file := self._own_file(found[1], directories):
                        return Where(file, int(found[2]) or 1, int(found[3] or 0) or 1)
        return None

    def _own_file(self, name: str, directories: Sequence[Path]) -> str | None:
        """The path of a file of the workspace, as short as it can be; None if it is none."""
        for directory in directories:
            path = os.path.normpath(directory / name)
            inside = path.startswith(f"{self._workspace}{os.sep}")
            if inside and DEPENDENCIES not in Path(path).parts and Path(path).is_file():
                return path.removeprefix(f"{Path.cwd()}{os.sep}")
        return None

    def write(self, chunk: bytes) -> None:
        """The next block."""
        block = self._rest + chunk
        end = block.rfind(b"\n") + 1
        if not end and len(block) > _CHUNK:
            end = len(block)
        block, self._rest = block[:end], block[end:]
        if block:
            self._emit(self._rewrite(block))

    def end(self) -> None:
        """What is left of it. Repeating it does nothing."""
        rest, self._rest = self._rest, b""
        if rest:
            self._emit(self._rewrite(rest))
        held, self._held = bytes(self._held), bytearray()
        if self._left_out:
            held = b"\n[%d bytes left out here]\n" % self._left_out + held
            self._left_out = 0
        with contextlib.suppress(OSError):
            self._log.write(held)
        if self._suppressed and self._last:
            self._on_progress(self.tail[-1])
            self._suppressed = False

    def _emit(self, block: bytes) -> None:
        self._write_log(block)
        self._keep_first(block)
        # Only as many lines of a block are split as may be reported.
        now = time.monotonic()
        self._budget = min(self._budget + (now - self._last_emit) * _LINES_A_SECOND, _BURST)
        self._last_emit = now
        most = max(int(self._budget), _TAIL)
        lines = block.removesuffix(b"\n").rsplit(b"\n", most)[-most:]
        self._last.extend(lines[-_TAIL:])
        for line in lines[-int(self._budget) :] if self._budget >= 1 else ():
            self._budget -= 1
            self._on_progress(_printable(line))
        self._suppressed = self._budget < 1

    def _keep_first(self, block: bytes) -> None:
        start = 0
        if not self._first:
            found = _ERROR.search(block)
            if found is None:
                return
            start = block.rfind(b"\n", 0, found.start()) + 1
        if (wanted := _FIRST - len(self._first)) > 0:
            self._first += block[start:].removesuffix(b"\n").split(b"\n", wanted)[:wanted]

    def _write_log(self, block: bytes) -> None:
        """Into the log: the beginning at once, of what follows only the last."""
        head = block[: max(_LOG_HEAD - self._logged, 0)]
        self._logged += len(head)
        with contextlib.suppress(OSError):  # A full disk shows in the build itself.
            self._log.write(head)
        self._held += block[len(head) :]
        if len(self._held) > 2 * _LOG_TAIL:
            too_many = len(self._held) - _LOG_TAIL
            self._left_out += too_many
            del self._held[:too_many]


def _printable(line: bytes) -> str:
    """A line as it looked last where a tool redraws it, and without its colours."""
    shown = line[-_LOOKED_AT:].rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")
    text = "".join(it for it in _ESCAPES.sub("", shown) if it.isprintable() or it == "\t")
    return text[:_LONGEST_LINE]


class _PathRewriter:
    """Spells files of the mirror as their author knows them; what the build made keeps its path."""

    def __init__(self, tree: Path, workspace: Path) -> None:
        self._tree = os.fsencode(tree)
        self._workspace = os.fsencode(workspace)
        self._path = re.compile(re.escape(self._tree) + rb"((?:/[^\s:'\"`()\[\]{}<>,;|\x1b]+)?)")
        self._known: dict[bytes, bool] = {}

    def shown(self, block: bytes) -> bytes:
        """The same with those paths put right."""
        if self._tree not in block:
            return block
        return self._path.sub(self._spelled, block)

    def _spelled(self, found: re.Match[bytes]) -> bytes:
        below = found[1]
        if below not in self._known and len(self._known) < _TAIL * 100:
            self._known[below] = os.path.lexists(self._workspace + below.rstrip(b"/."))
        return self._workspace + below if self._known.get(below) else found[0]
