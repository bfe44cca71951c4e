"""Isolated environments: further ones of the same spec, each with a path of its own for a spec.

All of an environment follows the path of its spec: its id, and with it its containers, volumes,
state, log and note. An isolated one has a path below the state of the spec that its author wrote:

    /x/algaenv.yaml                              the author's, and the environment without a name
    /x/.algaenv/isolated/feature/algaenv.yaml    the isolated environment `feature` of it

At the second path lies a file without content, which is never read: the author's is.
"""

from __future__ import annotations

import os.path
import re
from pathlib import Path
from typing import Final

from algaenv.model.intent import ExternalDatabase, Intent, with_free_ports

STATE_ROOT: Final = ".algaenv"
DEFAULT_NAME: Final = "isolated"
_DIRECTORY = "isolated"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,18}[a-z0-9])?")
_LONGEST = 41
"""Characters of an environment's name."""


def is_isolated_name(text: str) -> bool:
    """Whether `text` can name an isolated environment: up to 20 of `a-z`, `0-9` and `-`."""
    return _NAME.fullmatch(text) is not None


def isolated_spec(spec: Path, name: str) -> Path:
    """The path that stands for the isolated environment `name` of the author's `spec`."""
    real = Path(os.path.realpath(spec))
    return real.parent / STATE_ROOT / _DIRECTORY / name / real.name


def isolated_name(spec: Path) -> str | None:
    """The name of the isolated environment that a path stands for; None for any other path."""
    *_, root, directory, name, _ = ("", "", "", "", *spec.parts)
    named = (root, directory) == (STATE_ROOT, _DIRECTORY) and is_isolated_name(name)
    return name if named else None


def authored_spec(spec: Path) -> Path:
    """The spec that is read for the environment of a path: another one for an isolated one."""
    return spec.parents[3] / spec.name if isolated_name(spec) is not None else spec


def isolate(intent: Intent, name: str) -> Intent:
    """The intent of the isolated environment `name`: a name of its own, and every port left open.

    Raises ValueError for an external database: two environments would have the same rows.
    """
    if isinstance(intent.database, ExternalDatabase):
        raise ValueError("an external database")
    shown = intent.name[: _LONGEST - len(name) - 1].rstrip("-")
    return with_free_ports(intent, f"{shown}-{name}")
