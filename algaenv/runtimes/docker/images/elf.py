"""ELF files of an image: finds shared libraries with `ldd`, removes debugging symbols with `strip`.

A library of the system keeps its path. One from elsewhere (beside a wheel's program, under an
interpreter's prefix) is placed beside the C library, where every program finds it.

Interpreters and wheels that were compiled on a developer's machine carry several times their size
in symbols. Where there is no `strip`, the image is just larger.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from algaenv.model.problem import Failed, Problem
from algaenv.runtimes.docker.images.rootfs import File, Rootfs

_LINE: Final = re.compile(r"^\s*(?:(\S+) => )?(/\S+|not found)(?: \(0x[0-9a-f]+\))?$")
_SYSTEM: Final = ("/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/")
# The C library loads these by name at the first host lookup.
_BY_NAME: Final = ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")
_ELF: Final = b"\x7fELF"


def shared_libraries(files: Iterable[Path], own: Sequence[Path] = ()) -> Mapping[str, Path]:
    """Path in the image → file here, of all libraries that `files` need, directly or not.

    Files other than ELF objects need none. Libraries below a directory of `own` are left out: they
    are copied with it. Raises Failed (`recipe-broken`) for one that cannot be found.
    """
    objects = [str(file) for file in files if _is_elf(file)]
    found = _ldd(objects) if objects else {}
    home = next(
        (Path(path).parent for path in found.values() if Path(path).name == "libc.so.6"), None
    )
    placed: dict[str, Path] = {}
    for path in found.values():
        real = Path(path).resolve()
        if any(real.is_relative_to(folder) for folder in own):
            continue
        system = os.path.normpath(path).startswith(_SYSTEM)
        place = os.path.normpath(path) if system or home is None else str(home / Path(path).name)
        placed[place] = real
    if home is not None:
        named = [home / name for name in _BY_NAME]
        placed |= {str(path): path.resolve() for path in named if path.exists()}
    return placed


def _ldd(objects: list[str]) -> dict[str, str]:
    """Name → path, of all that `ldd` reports; virtual libraries have no path."""
    try:
        reply = subprocess.run(
            ["ldd", *objects],
            check=False,
            capture_output=True,
            text=True,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            start_new_session=True,  # Away from a Ctrl-C that is meant for us.
        )
    except OSError as error:
        raise _broken("cannot ask `ldd` for the libraries of a program", str(error)) from error
    found: dict[str, str] = {}
    for line in reply.stdout.splitlines():
        match = _LINE.match(line)
        if match and not line.endswith(":"):
            name, path = match[1] or match[2], match[2]
            if path == "not found":
                raise _broken(f"cannot find the library {name}, which a program needs", objects[0])
            found[name] = path
    return found


def _is_elf(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(_ELF)) == _ELF


def _broken(summary: str, why: str) -> Failed:
    hint = "set `images: pull`, or `runtime: process`, in the spec"
    return Failed(Problem("recipe-broken", summary, hint, detail=(why,)))


_MIN_STRIP_BYTES: Final = 1 << 17
"""Bytes; stripping smaller files is not worth the time."""


def strip_debug_symbols(root: Rootfs) -> None:
    """Replace the large libraries in `root` by ones without debugging symbols."""
    program = shutil.which("strip")
    if program is None:
        return
    with tempfile.TemporaryDirectory() as scratch:
        for place, source in root.large_files(_MIN_STRIP_BYTES):
            stripped = _stripped(program, source, Path(scratch, "stripped"))
            if stripped is not None and len(stripped) < source.stat().st_size:
                root.put(place, File(stripped, 0o755))


def _stripped(program: str, source: Path, target: Path) -> bytes | None:
    command = [program, "--strip-debug", "-o", str(target), str(source)]
    # Away from a Ctrl-C that is meant for us: steps under way end.
    done = subprocess.run(command, check=False, capture_output=True, start_new_session=True)
    return target.read_bytes() if done.returncode == 0 else None
