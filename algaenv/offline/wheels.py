"""Wheels made again of what is installed: the files that came are gone, but all of them are here.

A wheel keeps the files of its distribution, byte for byte; what pip has added is left out. Programs
are kept as scripts of the wheel, but for those that pip makes of entry points.
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import IO, Final

from algaenv.offline.archive import Content
from algaenv.runtimes.docker.images.installed import package_root
from algaenv.spec.paths import stacks_root

OWN: Final = "algaenv"
_FIRST_DAY: Final = (1980, 1, 1, 0, 0, 0)
_ADDED: Final = frozenset(
    {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_build.json", "uv_cache.json"}
)
_TAG: Final = re.compile(r"^Tag: (\S+)-(\S+)-(\S+)$", re.MULTILINE)
_PURE: Final = "py3-none-any"
_CHUNK: Final = 1 << 20


def wheels(packages: Mapping[str, str]) -> Iterator[Content]:
    """A wheel for each distribution of `packages` that is installed, and for this package."""
    for name in (OWN, *packages):
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        details = {"distribution": name, "version": found.version}
        yield Content("wheel", _file_name(found), _Writer(found), details)


class _Writer:
    """Writes the wheel of a distribution."""

    def __init__(self, found: Distribution) -> None:
        self._found = found

    def __call__(self, stream: IO[bytes]) -> None:
        record: list[tuple[str, str, str]] = []
        info = f"{_stem(self._found)}.dist-info"
        # Stored as they are: the archive around it compresses.
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as wheel:
            for place, source in sorted(_files(self._found)):
                header = zipfile.ZipInfo(place, _FIRST_DAY)
                header.external_attr = (0o100000 | source.stat().st_mode & 0o777) << 16
                digest, size = hashlib.sha256(), 0
                with source.open("rb") as file, wheel.open(header, "w", force_zip64=True) as out:
                    while chunk := file.read(_CHUNK):
                        digest.update(chunk)
                        size += len(chunk)
                        out.write(chunk)
                text = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
                record.append((place, f"sha256={text}", str(size)))
            lines = io.StringIO()
            csv.writer(lines, lineterminator="\n").writerows([*record, (f"{info}/RECORD", "", "")])
            wheel.writestr(zipfile.ZipInfo(f"{info}/RECORD", _FIRST_DAY), lines.getvalue())


def _stem(found: Distribution) -> str:
    name = re.sub(r"[-_.]+", "_", found.metadata["Name"])
    return f"{name}-{found.version}"


def _file_name(found: Distribution) -> str:
    tags = _TAG.findall(found.read_text("WHEEL") or "")
    if not tags:
        return f"{_stem(found)}-{_PURE}.whl"
    parts = (".".join(dict.fromkeys(it[at] for it in tags)) for at in range(3))
    return f"{_stem(found)}-{'-'.join(parts)}.whl"


def _files(found: Distribution) -> Iterator[tuple[str, Path]]:
    """Place in the wheel, file."""
    stem, made = _stem(found), _entry_points(found)
    editable = found.metadata["Name"] == OWN and not any(
        file.as_posix() == f"{OWN}/__init__.py" for file in found.files or ()
    )
    for file in found.files or ():
        source = Path(str(file.locate()))
        if file.suffix in (".pyc", ".pth" if editable else ".pyc") or not source.is_file():
            continue
        if editable and not file.parts[0].endswith(".dist-info"):
            continue
        if file.parts[0].endswith(".dist-info"):
            if file.parts[-1] not in _ADDED:
                yield f"{stem}.dist-info/{'/'.join(file.parts[1:])}", source
        elif ".." not in file.parts:
            yield file.as_posix(), source
        elif file.parts[-2] == "bin":
            if file.name not in made:
                yield f"{stem}.data/scripts/{file.name}", source
        else:
            inside = [part for part in file.parts if part != ".."]
            yield f"{stem}.data/data/{'/'.join(inside)}", source
    if editable:
        yield from _own_files()


def _entry_points(found: Distribution) -> frozenset[str]:
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(found.read_text("entry_points.txt") or "")
    sections = (it for it in ("console_scripts", "gui_scripts") if parser.has_section(it))
    return frozenset(name for section in sections for name in parser.options(section))


def _own_files() -> Iterator[tuple[str, Path]]:
    """Those of a checkout, as the wheel of this package has them."""
    root, stacks = package_root(), stacks_root()
    schemas = (root.parent / "docs" / "reference").glob("*.schema.json")
    yield from _below(root, OWN)
    if not stacks.is_relative_to(root):
        yield from _below(stacks, f"{OWN}/stacks")
    yield from ((f"{OWN}/schemas/{it.name}", it) for it in schemas)


def _below(root: Path, place: str) -> Iterable[tuple[str, Path]]:
    for path in root.rglob("*"):
        hidden = any(it in {"__pycache__", ".algaenv"} for it in path.parts)
        if path.is_file() and not path.is_symlink() and not hidden:
            yield f"{place}/{path.relative_to(root).as_posix()}", path
