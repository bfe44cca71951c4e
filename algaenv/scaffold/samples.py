"""The samples that are shipped, as files to copy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from algaenv.scaffold.spec_text import SCHEMA_LINE
from algaenv.spec.paths import SPEC_FILE, names_in, stacks_root

_NOT_COPIED: Final = frozenset({"node_modules", "dist", "generated", ".algaenv"})
"""What a build or a run leaves in a sample of a checkout."""
_SCHEMA: Final = re.compile(r"^# yaml-language-server:.*$", re.MULTILINE)
_NAME: Final = re.compile(r"^name: .*$", re.MULTILINE)


def samples_root() -> Path:
    """The directory of the samples."""
    return stacks_root() / "samples"


def sample_names() -> tuple[str, ...]:
    """The names of the samples."""
    return names_in(samples_root())


def sample_files(sample: str, name: str | None) -> Mapping[str, bytes]:
    """The files of a sample by relative path; `name` becomes that of its environment."""
    root = samples_root() / sample
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and _NOT_COPIED.isdisjoint(path.relative_to(root).parts)
    }
    spec = _SCHEMA.sub(SCHEMA_LINE, files[SPEC_FILE].decode(), count=1)
    if name is not None:
        spec = _NAME.sub(f"name: {name}", spec, count=1)
    return {**files, SPEC_FILE: spec.encode()}
