"""Where the spec is when nobody says: here, or in the nearest directory above."""

from __future__ import annotations

from pathlib import Path

NAME = "algaenv.yaml"


def find_spec(start: Path) -> Path | None:
    """`algaenv.yaml` in `start` or the nearest parent that has one; None when none has."""
    here = start.absolute()
    for directory in (here, *here.parents):
        candidate = directory / NAME
        try:
            if candidate.is_file():
                return candidate
        except OSError:  # a directory out of reach has no spec for us
            continue
    return None
