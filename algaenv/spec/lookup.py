"""Questions about paths that never raise: a name too long or out of reach is simply not there."""

from __future__ import annotations

import os.path
import stat
from pathlib import Path


def absolute(home: Path, text: str) -> str:
    """`text` as an absolute path that starts at `home`, with `~`, `.` and `..` worked out."""
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # a user that this machine does not know
        path = Path(text)
    return os.path.normpath(home / path)


def is_directory(path: str) -> bool:
    """Whether a directory is there."""
    return stat.S_ISDIR(_mode(path))


def is_file(path: str) -> bool:
    """Whether a regular file is there."""
    return stat.S_ISREG(_mode(path))


def _mode(path: str) -> int:
    try:
        return Path(path).stat().st_mode
    except (OSError, ValueError):
        return 0
