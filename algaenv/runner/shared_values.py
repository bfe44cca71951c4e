"""Small values by name, shared by the processes that share a cache: one SQLite database.

Writers take turns for microseconds, readers wait for nobody. Nothing is synced to disk: what is
lost with the machine is not needed.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

PRIVATE = 0o700
_FILE = "values.sqlite3"
_BUSY_SECONDS = 1.0
_SHARES = 4
"""No value may take more than this share of the space."""
_SWEEP_ROWS = 500
"""Rows or pages deleted at once: other processes cannot write meanwhile."""

_SCHEMA = """
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS entries (
    position INTEGER PRIMARY KEY,
    name BLOB NOT NULL UNIQUE,
    written_at REAL NOT NULL,
    content BLOB NOT NULL
)
"""
_GET = "SELECT content, written_at FROM entries WHERE name = ?"
_PUT = """
INSERT OR REPLACE INTO entries
SELECT coalesce(max(position), 0) + ?, ?, ?, ? FROM entries
"""
_TRIM = "DELETE FROM entries WHERE position <= (SELECT max(position) FROM entries) - ?"
_EXPIRE = """
DELETE FROM entries WHERE position IN (
    SELECT position FROM (SELECT position, written_at FROM entries ORDER BY position LIMIT ?)
    WHERE written_at < ?
)
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many values, how many bytes of them, and for how many seconds they are kept."""

    max_entries: int
    max_bytes: int
    seconds: float


class SharedValues:
    """Values below `folder`, a directory of our own. Belongs to one thread, but for `sweep`.

    The methods raise OSError, also for a directory that other users may read or own. Its `errno` is
    EBUSY where other processes kept the database for too long: the next attempt may work.
    """

    def __init__(self, folder: Path, bounds: Bounds) -> None:
        self._folder = folder
        self._path = str(folder / _FILE)
        self._bounds = bounds
        self._min_cost = max(1, bounds.max_bytes // bounds.max_entries)
        self._connection: sqlite3.Connection | None = None
        self._inode = 0

    def prepare(self) -> None:
        """Create missing directories, and check that no other user can use them."""
        folder = self._folder
        folder.parent.parent.mkdir(parents=True, exist_ok=True)
        for each in (folder.parent, folder):
            each.mkdir(mode=PRIVATE, exist_ok=True)
            status = each.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                raise PermissionError(errno.EACCES, "not a directory of ours", str(each))
            if status.st_mode & 0o077:
                raise PermissionError(errno.EACCES, "others may use the directory", str(each))

    def get(self, name: bytes) -> bytes | None:
        """The value written last under this name, by any process; None when expired."""
        with _os_errors():
            row = self._open().execute(_GET, (name,)).fetchone()
        if row is None or time.time() - row[1] > self._bounds.seconds:
            return None
        content: bytes = row[0]
        return content

    def put(self, name: bytes, content: bytes) -> None:
        """Write a value in place of the one before; one that is far too long is not written.

        What exceeds the bounds is deleted, the oldest first. `position` counts bytes, and a small
        value counts as so many that there cannot be too many of them.
        """
        cost = max(self._min_cost, len(content))
        if cost > max(self._min_cost, self._bounds.max_bytes // _SHARES):
            return
        now = time.time()
        with _os_errors():
            connection = self._open()
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(_PUT, (cost, name, now, content))
                connection.execute(_TRIM, (self._bounds.max_bytes,))
                connection.execute(_EXPIRE, (2, now - self._bounds.seconds))

    def sweep(self) -> None:
        """Delete what is expired, and give the space back. Blocks; any thread may call it."""
        oldest = time.time() - self._bounds.seconds
        with _os_errors(), closing(self._connect()) as connection:
            while connection.execute(_EXPIRE, (_SWEEP_ROWS, oldest)).rowcount:
                pass
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            for _ in range(0, free, _SWEEP_ROWS):
                connection.executescript(f"PRAGMA incremental_vacuum({_SWEEP_ROWS})")

    def _open(self) -> sqlite3.Connection:
        """The connection, a new one when the cache was deleted meanwhile."""
        try:
            inode = os.stat(self._path).st_ino  # noqa: PTH116 - on the path of requests
        except FileNotFoundError:
            inode = 0
        if self._connection is None or inode != self._inode:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._connect()
            self._inode = os.stat(self._path).st_ino  # noqa: PTH116
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        self.prepare()
        # SQLite gives its other files the mode of this one.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def _os_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
        raise OSError(errno.EBUSY if busy else errno.EIO, str(error)) from error
