"""The hash of all that goes into an image, so that an unchanged one costs a look and no more.

Hashing a large program takes longer than everything else of a run that changes nothing, so hashes
are kept under a stamp of the files' sizes, times and numbers. Libraries do not count: an update of
the system's C library is no reason to make every image again.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from algaenv.runtimes.binaries import Binary, Memo, stamp_of
from algaenv.runtimes.docker.images.installed import distributions, interpreter, own_files
from algaenv.runtimes.docker.images.recipe import PythonPart, Recipe

_MAKERS: Final = ("assemble", "closure", "installed", "rootfs", "slim")
"""The modules that decide what is in an image: an image made by others is another one."""


def identity(recipe: Recipe, program: Binary | None, memo: Memo) -> str:
    """64 hex digits over the recipe, its program or packages, and the code that puts them in."""
    parts: list[Path | str] = [*recipe.sources, *_makers()]
    if program is not None:
        parts += [program.path, program.home]
    if recipe.python is not None:
        parts += [interpreter().executable, *_own(recipe.python), *_site()]
    key = f"identity:{recipe.folder}:{program.path if program else sys.prefix}"
    return str(memo.get(key, stamp_of(parts), lambda: _compute(recipe, program)))


def _compute(recipe: Recipe, program: Binary | None) -> str:
    total = hashlib.sha256(os.uname().machine.encode())
    lines = [_line(path.name, file_sha256(path)) for path in (*recipe.sources, *_makers())]
    if program is not None:
        lines.append(_line(program.name, file_sha256(program.path), program.version))
    if recipe.python is not None:
        lines += _python_lines(recipe.python)
    for line in lines:
        total.update(line.encode())
    return total.hexdigest()


def _python_lines(part: PythonPart) -> Iterator[str]:
    yield _line("python", sys.version, file_sha256(interpreter().executable))
    for found in distributions(part.distributions):
        record = found.read_text("RECORD") or ""
        digest = hashlib.sha256(record.encode()).hexdigest()
        yield _line(found.metadata["Name"], found.version, digest)
    for place, source in own_files(part.packages):
        yield _line(place, file_sha256(source))


def file_sha256(path: Path) -> str:
    """64 hex digits over the content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _line(*words: str) -> str:
    return "\0".join(words) + "\n"


def _makers() -> list[Path]:
    return [Path(__file__).with_name(f"{name}.py") for name in _MAKERS]


def _own(part: PythonPart) -> Iterable[Path]:
    return (source for _, source in own_files(part.packages))


def _site() -> list[str]:
    return [entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]
