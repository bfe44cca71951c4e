"""Finds out what a directory holds that a spec can be made of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

IGNORED: Final = (".algaenv/", "*.local.yaml")
"""What belongs to this machine: state with secrets, and the overlay of one author."""
_LONGEST_NAME: Final = 41
_ANY_NAME: Final = "extensions"


def environment_name(directory: Path) -> str:
    """A name that the spec takes, after that of the directory."""
    words = re.sub(r"[^a-z0-9]+", "-", directory.resolve().name.lower()).strip("-")
    return words[:_LONGEST_NAME].strip("-") or _ANY_NAME


def ignored_lines(directory: Path) -> str | None:
    """What `.gitignore` there has to hold, with the lines it has; None when it needs none."""
    path = directory / ".gitignore"
    try:
        before = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        before = ""
    listed = {line.strip().strip("/") for line in before.splitlines()}
    missing = [line for line in IGNORED if line.strip("/") not in listed]
    if not missing:
        return None
    ended = before if not before or before.endswith("\n") else f"{before}\n"
    return ended + "".join(f"{line}\n" for line in missing)
