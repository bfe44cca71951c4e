"""The directory of a bundle whose handler runs from source, kept current file by file."""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from algaenv.bundle.diagnostics import Diagnostic, FileReport
from algaenv.bundle.layout import DEV_MARKER, DEV_SCRIPT, DEV_SOURCE_MAP
from algaenv.bundle.source_tree import WASM, gather
from algaenv.drivers.dev_shell.bundler import Bundled
from algaenv.model.problem import Problem, ResolveError, Where
from algaenv.runner.components.shell import shell_digest
from algaenv.system.files import write_atomic

_SUFFIXES: Final = ("ts", "mts", "tsx", "js", "mjs", "jsx")
_MODULE = rf"[\w@./-]+\.(?:{'|'.join(_SUFFIXES)})"
_COMMAND = re.compile(rf"\besbuild\s+(?:--\S+\s+)*(?:\./)?({_MODULE})\b")
_ENTRY_POINTS = re.compile(rf"entryPoints\s*:\s*\[\s*[\"'](?:\./)?({_MODULE})[\"']")
_SCRIPT_FILE = re.compile(r"\bnode\s+(?:--\S+\s+)*((?:\./)?[\w./-]+\.(?:m|c)?js)\b")
_EXPORTS_HANDLER = re.compile(
    r"^\s*export\s+(?:(?:async\s+)?function\s*\*?|const|let|var)\s+handler\b"
    r"|^\s*export\s*\{[^}]*\bhandler\b[^}]*\}|^\s*export\s*\*",
    re.MULTILINE,
)
_MAX_BYTES = 1 << 20


def find_entry(source: Path) -> Path | None:
    """The module of JavaScript or TypeScript that exports the handler of an extension, if any.

    What the build hands to esbuild counts first, then `src/handler.*` and `src/index.*`. A module
    that exports no `handler` is none: pages have an index, too.
    """
    candidates = [
        *_named_by_build(source),
        *(
            source / "src" / f"{name}.{suffix}"
            for name in ("handler", "index")
            for suffix in _SUFFIXES
        ),
    ]
    return next((file for file in candidates if _EXPORTS_HANDLER.search(_text(file))), None)


def dev_tree(source: Path, bundled: Bundled, into: Path) -> Path:
    """Make `into` the source of a bundle whose handler is `bundled`; what is current stays.

    Manifest, page and the rest are those that a bundle of `source` has; what they hold is examined
    when the result is packed. Raises ResolveError for files that no bundle can have, such as
    links, and OSError.
    """
    report = FileReport()
    entries = [entry for entry in gather(source, report) if entry.path != WASM]
    if errors := [it for it in report.diagnostics() if it.severity == "error"]:
        raise ResolveError(*map(_problem, errors))
    marker = json.dumps({"version": 1, "shell": shell_digest().hex}).encode()
    made = {
        DEV_MARKER: marker,
        DEV_SCRIPT: bundled.text,
        DEV_SOURCE_MAP: bundled.source_map,
    }
    wanted = {into / path for path in (*made, *(entry.path for entry in entries))}
    into.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_others(into, wanted)
    for entry in entries:
        _copy(entry.source, into / entry.path)
    for path, content in made.items():
        file = into / path
        if not file.is_file() or file.read_bytes() != content:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, content)
    return into


def _problem(diagnostic: Diagnostic) -> Problem:
    file = diagnostic.file.removeprefix(f"{Path.cwd()}/")
    where = Where(file, diagnostic.line or 1, diagnostic.column or 1)
    return Problem(diagnostic.code, diagnostic.summary, diagnostic.hint, where)


def _named_by_build(source: Path) -> list[Path]:
    """The modules that the scripts of `package.json`, or the files they run, give to esbuild."""
    try:
        scripts = json.loads(_text(source / "package.json"))["scripts"].values()
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    found: list[Path] = []
    for script in (text for text in scripts if isinstance(text, str)):
        found += (source / name for name in _COMMAND.findall(script))
        for file in _SCRIPT_FILE.findall(script):
            found += (source / name for name in _ENTRY_POINTS.findall(_text(source / file)))
    return found


def _text(file: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        if file.stat().st_size <= _MAX_BYTES:
            return file.read_text("utf-8")
    return ""


def _remove_others(into: Path, wanted: set[Path]) -> None:
    for folder, folders, names in os.walk(into, topdown=False):
        place = Path(folder)
        for name in names:
            if place / name not in wanted:
                (place / name).unlink()
        for name in folders:
            with suppress(OSError):
                (place / name).rmdir()


def _copy(source: Path, target: Path) -> None:
    """Copy a file unless its size and time are those of the copy."""
    status = source.stat()
    with suppress(OSError):
        known = target.lstat()
        if (known.st_size, known.st_mtime_ns) == (status.st_size, status.st_mtime_ns):
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    # Never written to in place: what packs the directory may be reading it.
    draft = target.with_name(f".{target.name}.draft")
    shutil.copyfile(source, draft)
    os.utime(draft, ns=(status.st_mtime_ns, status.st_mtime_ns))
    draft.replace(target)
