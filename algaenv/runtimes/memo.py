"""Keeps slow results between runs, in JSON files of the user's cache directory.

Every entry carries the stamp under which it was computed; with another stamp it is computed again.
A missing, broken or unwritable file only costs time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, cast

from algaenv.model.resource import Json
from algaenv.system.files import write_atomic

_MOST: Final = 256
"""Entries of a file. Each checkout and each environment of Python adds some, and few stay."""


class Memo:
    """Memoizes JSON values in one file of `directory`; None keeps nothing.

    The file is read once. Values that `get` returns must not be changed.
    """

    def __init__(self, directory: Path | None, name: str) -> None:
        self._file = directory / f"{name}.json" if directory else None
        self._entries: dict[str, Json] | None = None

    def get(self, key: str, stamp: str, compute: Callable[[], Json]) -> Json:
        """The value stored under `key` if its stamp is `stamp`, else a new one."""
        if self._file is None:
            return compute()
        if self._entries is None:
            self._entries = self._read()
        kept = self._entries.get(key)
        if isinstance(kept, list) and len(kept) == 2 and kept[0] == stamp:
            return kept[1]
        answer = compute()
        entries = self._read()  # Another run may have written since.
        entries.pop(key, None)
        entries[key] = [stamp, answer]
        while len(entries) > _MOST:
            del entries[next(iter(entries))]
        self._write(entries)
        self._entries = self._read()
        return answer

    def _read(self) -> dict[str, Json]:
        if self._file is None:
            return {}
        try:
            entries = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return {}
        return cast(dict[str, Json], entries) if isinstance(entries, dict) else {}

    def _write(self, entries: Mapping[str, Json]) -> None:
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomic(self._file, json.dumps(entries).encode())


def stamp_of(paths: Iterable[Path | str]) -> str:
    """16 hex digits that change when one of `paths` is replaced, rewritten, made or removed."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            seen = os.stat(path)  # noqa: PTH116 - a no-op stats hundreds of paths
            numbers = (seen.st_mode, seen.st_size, seen.st_mtime_ns, seen.st_ino)
            facts = f"{path}\0{numbers}\n"
        except OSError:
            facts = f"{path}\0-\n"
        digest.update(facts.encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
