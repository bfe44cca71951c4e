"""What a load gives back; importable without YAML and pydantic, for the cache."""

from __future__ import annotations

from pathlib import Path

from algaenv.bundle.value import dataclass
from algaenv.model.intent import Intent
from algaenv.model.problem import Problem


@dataclass(frozen=True, slots=True)
class Loaded:
    """A spec that is right.

    `files` are all that were read or looked for in vain: the spec and what it extends, the local
    file, secrets, engines. `variables` are the names of the environment variables asked for.
    """

    intent: Intent
    warnings: tuple[Problem, ...]
    files: tuple[Path, ...]
    variables: tuple[str, ...]
