"""Which names Alga's runner unpacks from an archive, and which of them it serves.

The runner skips an invalid name silently, so the packer must refuse the names it would skip.
"""

from __future__ import annotations

import unicodedata

SERVED = ("html", "js", "css", "json", "map", "svg", "png", "jpg", "jpeg", "webp", "woff", "woff2")
"""Extensions the runner answers; any other file with an extension is a 400."""

MAX_PATH = 1024
"""Bytes of a path in the archive; PATH_MAX minus the directory it is unpacked to."""

_LEFT_BY_TOOLS = frozenset(
    {".DS_Store", ".git", ".gitattributes", ".gitignore", ".gitkeep", ".gitmodules"}
)
_JUNK = {"node_modules", "__pycache__", "thumbs.db"}


def is_junk(name: str) -> bool:
    """Whether a directory entry never belongs into a bundle: hidden, left by a tool or editor."""
    return (
        name.startswith(".")
        or name.lower() in _JUNK
        or name.endswith("~")
        or (name.startswith("#") and name.endswith("#"))
    )


def is_hidden(name: str) -> bool:
    """Whether a hidden name is more than what a system or Git leaves in any directory."""
    return (
        name.startswith(".")
        and not name.startswith("._")
        and name not in _LEFT_BY_TOOLS
        and not name.endswith("~")
    )


def extracted_path(name: str) -> str | None:
    """The path below the bundle that the runner gives an archive's name; None if it skips it."""
    while name.startswith("./"):
        name = name[2:]
    if ".." in name or not is_utf8(name):
        return None
    if any(not segment or segment.startswith(".") for segment in name.split("/")):
        return None
    return name


def name_problem(path: str) -> str | None:
    """Why the runner would not serve a file of this path; None if it would."""
    if not is_utf8(path):
        return "its name is not valid UTF-8"
    if ".." in path:
        return 'its name holds ".."'
    if any(it == "\\" or unicodedata.category(it) == "Cc" for it in path):
        return "its name holds a backslash or a control character"
    if len(path.encode()) > MAX_PATH:
        return f"its path is longer than {MAX_PATH} bytes"
    return None


def casefold_path(path: str) -> str:
    """Equal for paths that some file systems cannot keep apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def unserved_extension(path: str) -> str | None:
    """The extension for which the runner refuses a file of the page, if it does."""
    _, dot, extension = path.rpartition("/")[2].rpartition(".")
    return extension.lower() if dot and extension.lower() not in SERVED else None


def is_utf8(text: str) -> bool:
    """Whether the text holds no undecodable byte of a file name."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
