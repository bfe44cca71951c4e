"""Content hashes of images: of a recipe with its program, and of a Dockerfile's build context.

Hashing takes longer than the rest of a no-op run, so hashes are kept under a stamp of the files'
sizes, times and inodes. Shared libraries do not count: an update of the system's C library is no
reason to rebuild every image.

Names at the top of a build context that `.dockerignore` excludes are not even walked. Its patterns
are left to the SDK, which applies them when a context is hashed and when it is sent.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from algaenv.runtimes.binaries import Binary
from algaenv.runtimes.docker.images.installed import distributions, interpreter, own_files
from algaenv.runtimes.docker.images.recipe import PythonPart, Recipe
from algaenv.runtimes.memo import Memo, stamp_of

_FORMAT: Final = (
    ("assemble.py", "65aaf468079915cde3f3ded029a9b98d835d79a868e1fe881f186f2a4d387cc8"),
    ("closure.py", "0e6c979072dbb6223c352d6a26c82ea5339e8220dbb836d765aaa94219448f3d"),
    ("installed.py", "53ef0c075ae1fa99aefa1b881663a3b6b959fac35b6382a76b06340077b341d5"),
    ("rootfs.py", "6c5e95366b605a6aa65fa74a6a1639805f00cd31977bbadec1f125682d36c48f"),
    ("slim.py", "57d0f75176ac5b232077ce942134bc9abe5fd4f56b63d05bf6864306c3aa758a"),
)
"""Stands for the code that decides what is in an image: the hashes of its sources in version 0.1.0.

It changes when images of the same programs get other contents, and only then: every container is
replaced by it. `tests/runtimes/docker/test_images.py` fails when that code changes, as a reminder.
"""


def identity(recipe: Recipe, program: Binary | None, memo: Memo) -> str:
    """64 hex digits over the recipe, its program or packages, and the format of images."""
    parts: list[Path | str] = [*recipe.sources]
    if program is not None:
        parts += [program.path, program.home]
    if recipe.python is not None:
        parts += [interpreter().executable, *_own(recipe.python), *_site()]
    key = f"identity:{recipe.folder}:{program.path if program else sys.prefix}"
    return str(memo.get(key, stamp_of(parts), lambda: _hash_image(recipe, program)))


def _hash_image(recipe: Recipe, program: Binary | None) -> str:
    total = hashlib.sha256(os.uname().machine.encode())
    lines = [_line(path.name, file_sha256(path)) for path in recipe.sources]
    lines += [_line(*each) for each in _FORMAT]
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


def _own(part: PythonPart) -> Iterable[Path]:
    return (source for _, source in own_files(part.packages))


def _site() -> list[str]:
    return [entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]


_WILD = frozenset("*?[\\!")


def context_identity(context: Path, dockerfile: str, args: Mapping[str, str], memo: Memo) -> str:
    """64 hex digits over the files that are sent, their modes, the Dockerfile's path and `args`."""
    rules = _rules(context)
    walked = stamp_of(_walk(context, _plain(rules)))
    options = hashlib.sha256(repr((dockerfile, sorted(args.items()))).encode()).hexdigest()
    key = f"context:{context}:{options}"
    return str(memo.get(key, walked, lambda: _hash_context(context, dockerfile, rules, options)))


def _rules(context: Path) -> list[str]:
    try:
        lines = (context / ".dockerignore").read_text().splitlines()
    except OSError:
        return []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _plain(rules: list[str]) -> frozenset[str]:
    """Excluded names at the top that no later rule includes again."""
    if any(rule.startswith("!") for rule in rules):
        return frozenset()
    names = (rule.strip("/") for rule in rules if not _WILD & set(rule))
    return frozenset(name for name in names if "/" not in name)


def _walk(context: Path, skipped: frozenset[str]) -> Iterator[str]:
    waiting = [str(context)]
    while waiting:
        folder = waiting.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            if folder == str(context) and entry.name in skipped:
                continue
            yield entry.path
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)


def _hash_context(context: Path, dockerfile: str, rules: list[str], options: str) -> str:
    from docker.utils.build import exclude_paths

    total = hashlib.sha256(options.encode())
    for name in sorted(exclude_paths(str(context), rules, dockerfile=dockerfile)):
        path = context / name
        if path.is_symlink():
            content = f"link {path.readlink()}"
        elif path.is_file():
            content = f"{path.stat().st_mode & 0o777:o} {file_sha256(path)}"
        else:
            continue
        total.update(f"{name}\0{content}\n".encode(errors="surrogateescape"))
    outside = Path(dockerfile)
    if outside.is_absolute() and not outside.is_relative_to(context) and outside.is_file():
        total.update(file_sha256(outside).encode())
    return total.hexdigest()
