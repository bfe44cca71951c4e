"""What an offline archive holds, as text and as JSON."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from algaenv.cli.output.escape import escape_controls
from algaenv.cli.output.json import VERSION, JsonObject
from algaenv.cli.output.terminal import PLAIN, Paint
from algaenv.offline.archive import KINDS, Manifest
from algaenv.offline.contents import Exported
from algaenv.offline.restore import Imported

_NAMES = {
    "image": ("image", "images"),
    "node": ("installation of npm", "installations of npm"),
    "program": ("program", "programs"),
    "wheel": ("wheel", "wheels"),
    "lock": ("lock file", "lock files"),
}


def exported_text(path: Path, result: Exported, paint: Paint = PLAIN) -> str:
    """What was left out, and what the archive holds, with a line break at the end."""
    lines = _left(result.left_out, "left out", paint)
    return "\n".join([*lines, paint(f"wrote {_total(path, result.manifest)}", "bold")]) + "\n"


def imported_text(path: Path, result: Imported, paint: Paint = PLAIN) -> str:
    """What was skipped, what has to be installed, and what the archive holds."""
    lines = _left(result.skipped, "skipped", paint)
    if result.packages:
        names = ", ".join(f"{name} {version}" for name, version in result.packages.items())
        lines += [f"this Python has others than {escape_controls(names)}; install them with"]
        lines += [f"  {install_command(result)}"]
    return "\n".join([*lines, paint(f"imported {_total(path, result.manifest)}", "bold")]) + "\n"


def install_command(result: Imported) -> str:
    """The command that installs the packages of the archive."""
    wheels = shlex.quote(str(result.wheels))
    package = f"'algaenv[embedded]=={result.manifest.algaenv}'"
    return f"pip install --no-index --find-links {wheels} {package}"


def exported_to_json(path: Path, result: Exported) -> JsonObject:
    """The document of `bundle export --json`."""
    return _document("export", path, result.manifest, result.left_out, "")


def imported_to_json(path: Path, result: Imported) -> JsonObject:
    """The document of `bundle import --json`."""
    command = install_command(result) if result.packages else ""
    return _document("import", path, result.manifest, result.skipped, command)


def _document(
    action: str, path: Path, manifest: Manifest, left: Mapping[str, str], command: str
) -> JsonObject:
    return {
        "version": VERSION,
        "action": action,
        "path": str(path),
        "algaenv": manifest.algaenv,
        "platform": manifest.platform,
        "spec": manifest.spec,
        "entries": [
            {"kind": it.kind, "name": it.name, "size": it.size, "sha256": it.sha256}
            for it in manifest.entries
        ],
        "left_out": [{"what": what, "why": why} for what, why in left.items()],
        "install": command,
    }


def _left(left: Mapping[str, str], how: str, paint: Paint) -> list[str]:
    return [
        f"{paint(how, 'yellow')} {escape_controls(what)}: {escape_controls(why)}"
        for what, why in left.items()
    ]


def _total(path: Path, manifest: Manifest) -> str:
    counts = {kind: sum(it.kind == kind for it in manifest.entries) for kind in KINDS}
    parts = [f"{count} {_NAMES[kind][count != 1]}" for kind, count in counts.items() if count]
    size = sum(it.size for it in manifest.entries) / 1e6
    return f"{escape_controls(str(path))}: {', '.join(parts)}; {size:.0f} MB unpacked"
