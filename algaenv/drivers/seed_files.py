"""Reads the files of seeds: the text of SQL files, and the digests of what becomes objects."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from algaenv.model.intent import ObjectSeed, SeedIntent, SqlSeed
from algaenv.model.lock import SeedFiles
from algaenv.model.problem import Problem, ResolveError, Where
from algaenv.plan.seeds import place_of

MAX_SQL_BYTES: Final = 64 * 1024 * 1024
MAX_OBJECT_BYTES: Final = 256 * 1024 * 1024
"""An object is uploaded in one request, and so is in memory as a whole."""
MAX_OBJECTS: Final = 10_000
"""Of one directory."""


def read_seed_files(seed: SeedIntent) -> SeedFiles:
    """The content of all seeds. Raises ResolveError (`seed-unreadable`) with every problem."""
    problems: list[Problem] = []
    sql = {it.name: _sql(it, problems) for it in seed.sql}
    objects = {place_of(it): _objects(it, problems) for it in seed.objects}
    if problems:
        raise ResolveError(*problems)
    return SeedFiles(sql, objects)


def _sql(seed: SqlSeed, problems: list[Problem]) -> bytes:
    try:
        content = _read(Path(seed.path), MAX_SQL_BYTES)
    except OSError as error:
        problems.append(_unreadable(seed.name, _reason(error), seed.where))
        return b""
    try:
        # A mark of the byte order is no part of the first statement.
        return content.decode("utf-8-sig").encode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        where = Where(seed.file, line, column)
        problems.append(_unreadable(seed.name, "it is not UTF-8 here", where))
        return b""


def _objects(seed: ObjectSeed, problems: list[Problem]) -> Mapping[str, str]:
    """Relative path → SHA-256, in the order of paths."""
    found: dict[str, str] = {}
    try:
        for path in _files(Path(seed.source)):
            name = path.relative_to(seed.source).as_posix()
            if any(ord(it) < 32 or it in "\\\x7f" for it in name) or not _is_text(name):
                shown = ascii(name)
                reason = f"the name {shown} holds what no key may hold"
                problems.append(_unreadable(seed.source, reason, seed.where))
                continue
            found[name] = hashlib.sha256(_read(path, MAX_OBJECT_BYTES)).hexdigest()
            if len(found) > MAX_OBJECTS:
                raise OSError(f"it holds more than {MAX_OBJECTS} files")
    except OSError as error:
        problems.append(_unreadable(seed.source, _reason(error), seed.where))
    return dict(sorted(found.items()))


def _files(directory: Path) -> Iterator[Path]:
    """The regular files below a directory; hidden ones are left out. Raises OSError for links."""

    def fail(error: OSError) -> None:
        raise error

    for here, directories, files in os.walk(directory, onerror=fail):
        directories[:] = sorted(it for it in directories if not it.startswith("."))
        for name in (*directories, *sorted(files)):
            if (path := Path(here, name)).is_symlink():
                raise OSError(f"{path.relative_to(directory)} is a link")
        yield from (Path(here, it) for it in sorted(files) if not it.startswith("."))


def _read(path: Path, most: int) -> bytes:
    if not path.is_file():
        raise OSError(f"{path.name} is no regular file")
    with path.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise OSError(f"{path.name} is larger than {most >> 20} MiB")
    return content


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reason(error: OSError) -> str:
    name = f"{Path(os.fsdecode(error.filename)).name}: " if error.filename else ""
    return f"{name}{error.strerror or error}"


def _unreadable(name: str, reason: str, where: Where) -> Problem:
    return Problem(
        "seed-unreadable",
        f"cannot read the seed {name}: {reason}",
        "correct the file, or take it out of `seed`",
        where,
    )
