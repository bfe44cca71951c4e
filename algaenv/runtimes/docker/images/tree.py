"""The hash of a build context: a directory of the author's, with a Dockerfile and ignore rules.

Reading every file on every run would cost more than the rest of it, so the hash is kept under a
stamp of the tree. What `.dockerignore` leaves out by plain names is not even walked; its patterns
are left to the SDK, which applies them when a context is hashed and when it is sent.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from algaenv.runtimes.binaries import Memo, stamp_of
from algaenv.runtimes.docker.images.identity import file_sha256

_WILD = frozenset("*?[\\!")


def context_identity(context: Path, dockerfile: str, args: Mapping[str, str], memo: Memo) -> str:
    """64 hex digits over the files that are sent, their modes, the Dockerfile's path and `args`."""
    rules = _rules(context)
    walked = stamp_of(_walk(context, _plain(rules)))
    said = hashlib.sha256(repr((dockerfile, sorted(args.items()))).encode()).hexdigest()
    key = f"context:{context}:{said}"
    return str(memo.get(key, walked, lambda: _compute(context, dockerfile, rules, said)))


def _rules(context: Path) -> list[str]:
    try:
        lines = (context / ".dockerignore").read_text().splitlines()
    except OSError:
        return []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _plain(rules: list[str]) -> frozenset[str]:
    """Names at the top that no later rule can take back in."""
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


def _compute(context: Path, dockerfile: str, rules: list[str], said: str) -> str:
    from docker.utils.build import exclude_paths

    total = hashlib.sha256(said.encode())
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
