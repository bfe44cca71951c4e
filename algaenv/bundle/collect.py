"""Collects the files of a bundle from a source directory and checks them.

The layout of the archive is the one of Alga's own packer, so a project builds with either. Files
that the runner would skip, serve wrongly or not find are reported here, all at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from algaenv.bundle import names
from algaenv.bundle.component import check_component
from algaenv.bundle.diagnostics import FileReport, has_errors, printable_path
from algaenv.bundle.layout import DEFAULT_LIMITS, DEV_SCRIPT, MIB, Limits
from algaenv.bundle.manifest.json_text import MAX_BYTES, TOO_LARGE
from algaenv.bundle.manifest.model import Manifest, ManifestError, parse
from algaenv.bundle.source_tree import (
    INDEX,
    MANIFEST,
    WASM,
    SourceEntry,
    SourceError,
    SourceTree,
    exists,
    gather,
)

_UI = "ui/"


def collect(source: Path, limits: Limits = DEFAULT_LIMITS) -> SourceTree:
    """List what to pack, in the order of the archive. Raises SourceError with all diagnostics.

    Diagnostics name files by `source`, as given, and the path below it.
    """
    report = FileReport()
    if not os.path.isdir(source):  # noqa: PTH112 - never raises
        report.error(
            "source-missing",
            source,
            "cannot find the directory of the extension",
            "correct its path",
        )
        raise SourceError(*report.diagnostics())
    entries = gather(source, report)
    manifest = _manifest(source, entries, report)
    _check_parts(source, entries, manifest, report)
    if (component := _find(WASM, entries)) is not None:
        check_component(component.source, WASM, report)
    _check_pages(source, entries, report)
    _check_served(entries, report)
    _check_names(entries, report)
    _check_sizes(source, entries, limits, report)
    diagnostics = report.diagnostics()
    if manifest is None or has_errors(diagnostics):
        raise SourceError(*diagnostics)
    return SourceTree(entries, manifest, diagnostics)


def _manifest(source: Path, entries: Sequence[SourceEntry], report: FileReport) -> Manifest | None:
    entry = _find(MANIFEST, entries)
    if entry is None:
        if not exists(source / MANIFEST):
            report.error(
                "source-manifest-missing",
                source / MANIFEST,
                "cannot make a bundle without a manifest",
                "write one, or point at the directory that holds it",
            )
        return None
    if entry.size > MAX_BYTES:
        # Before it is read: no manifest is like that.
        report.error(
            "manifest-too-large",
            entry.source,
            f"cannot read the manifest: {TOO_LARGE.what}",
            TOO_LARGE.hint,
            (1, 1),
        )
        return None
    text = _text(entry, report)
    if text is None:
        return None
    try:
        parsed = parse(text, printable_path(entry.source))
    except ManifestError as error:
        report.add(*error.diagnostics)
        return None
    report.add(*parsed.warnings)
    return parsed.manifest


def _check_parts(
    source: Path, entries: Sequence[SourceEntry], manifest: Manifest | None, report: FileReport
) -> None:
    has_handler = any(_find(name, entries) for name in (WASM, DEV_SCRIPT))
    has_files = any(entry.path.startswith(_UI) for entry in entries)
    wants_page = has_files or (manifest is not None and manifest.ui is not None)
    if wants_page and not exists(source / INDEX) and not _find(INDEX, entries):
        nested = exists(source / "ui/dist/index.html")
        report.error(
            "source-ui-index",
            source / INDEX,
            "cannot show a page: only ui/index.html is ever opened, and there is none",
            "let the build write to dist/ui/ instead of ui/dist/"
            if nested
            else "write the page to ui/index.html, or build it to dist/ui/index.html",
        )
    if manifest is not None and manifest.endpoints and not has_handler:
        report.error(
            "source-wasm-missing",
            source / WASM,
            "cannot answer the declared endpoints: there is no dist/main.wasm",
            "build the handler to dist/main.wasm, or remove the endpoints",
        )
    elif manifest is not None and has_handler and not manifest.endpoints:
        report.warn(
            "source-handler-unreachable",
            source / MANIFEST,
            "cannot call the handler: the manifest declares no endpoints, and the gateway denies "
            "what is not declared",
            "declare what it answers under api.endpoints",
        )
    elif not (has_handler or wants_page):
        report.error(
            "source-empty",
            source,
            "cannot make a bundle of neither a page nor a handler",
            "add ui/index.html, or build dist/main.wasm",
        )


def _check_pages(source: Path, entries: Sequence[SourceEntry], report: FileReport) -> None:
    packed = {entry.path for entry in entries}

    def missing(path: str) -> str | None:
        if path in packed or not path:
            return None
        from algaenv.bundle.page_lint import missing_file_hint

        return missing_file_hint(source, path, packed)

    for entry in entries:
        if entry.path.startswith(_UI) and entry.path.lower().endswith(".html"):
            from algaenv.bundle.page_lint import lint

            text = _text(entry, report)
            if text is not None:
                report.add(*lint(text, printable_path(entry.source), entry.path, missing))


def _check_served(entries: Sequence[SourceEntry], report: FileReport) -> None:
    strange: dict[str, list[SourceEntry]] = {}
    for entry in entries:
        extension = names.unserved_extension(entry.path)
        if entry.path.startswith(_UI) and extension is not None:
            strange.setdefault(extension, []).append(entry)
    for extension, found in strange.items():
        count = "1 file" if len(found) == 1 else f"{len(found)} files"
        report.warn(
            "source-unserved",
            found[0].source,
            f"cannot serve {count} ending in .{extension}: the runner answers 400",
            f"use one of {', '.join(names.SERVED)}, or keep such files out of ui/",
        )


def _check_names(entries: Sequence[SourceEntry], report: FileReport) -> None:
    seen: dict[str, SourceEntry] = {}
    for entry in entries:
        twin = seen.setdefault(names.casefold_path(entry.path), entry)
        if twin is not entry:
            report.error(
                "source-name-case",
                entry.source,
                f"cannot keep {entry.path} and {twin.path} apart on every file system",
                "rename one of them",
            )


def _check_sizes(
    source: Path, entries: Sequence[SourceEntry], limits: Limits, report: FileReport
) -> None:
    for entry in entries:
        if entry.size > limits.file:
            report.error(
                "source-too-large",
                entry.source,
                f"cannot pack {entry.path}: {_mib(entry.size)} is more than the "
                f"{_mib(limits.file)} a file may have",
                "make it smaller, or keep it out of the bundle",
            )
    total = sum(entry.size for entry in entries)
    if total > limits.total or len(entries) > limits.entries:
        largest = sorted(entries, key=lambda entry: -entry.size)[:3]
        report.error(
            "source-too-large",
            source,
            f"cannot pack {len(entries)} files of {_mib(total)}: a bundle may have "
            f"{limits.entries} files of {_mib(limits.total)} together",
            f"begin with {', '.join(f'{it.path} ({_mib(it.size)})' for it in largest)}",
        )


def _find(archived: str, entries: Sequence[SourceEntry]) -> SourceEntry | None:
    return next((entry for entry in entries if entry.path == archived), None)


def _text(entry: SourceEntry, report: FileReport) -> str | None:
    try:
        content = entry.source.read_bytes()
    except OSError as error:
        report.unreadable(entry.source, error.strerror or str(error))
        return None
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line_start = content.rfind(b"\n", 0, error.start) + 1
        report.error(
            "source-encoding",
            entry.source,
            f"cannot read {entry.path} as UTF-8: byte 0x{content[error.start]:02x} is out of place",
            "save it as UTF-8",
            (
                content.count(b"\n", 0, error.start) + 1,
                len(content[line_start : error.start].decode()) + 1,
            ),
        )
        return None


def _mib(size: int) -> str:
    return f"{size / MIB:.1f} MiB"
