"""What each guest is made from and how."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from .cache import BuildCache, Told

HERE = Path(__file__).parent
WIT = HERE.parents[1] / "stacks/samples/wit/extension-runner.wit"


@dataclass(frozen=True, slots=True)
class Prebuilt:
    """A guest small enough to lie in the repository, and the digest of what it is made from.

    That digest leaves the versions of the tools out: another compiler is no reason to build again.
    """

    file: Path

    @property
    def made_from(self) -> Path:
        """The file that says which sources it was built from."""
        return self.file.with_suffix(".sources")

    def current(self, sources: str) -> bool:
        """Whether it was made from these sources."""
        return self.made_from.is_file() and self.made_from.read_text().strip() == sources

    def keep(self, built: Path, sources: str) -> None:
        """Put a build in its place, to be committed."""
        self.file.parent.mkdir(exist_ok=True)
        shutil.copyfile(built, self.file)
        self.made_from.write_text(f"{sources}\n")


@dataclass(frozen=True, slots=True)
class Recipe:
    """One guest: `build(build_cache, into, told)` makes it in the empty directory `into`."""

    name: str
    sources: tuple[Path, ...]
    tools: Callable[[], tuple[str, ...]]
    build: Callable[[BuildCache, Path, Told], Path]
    options: tuple[str, ...] = ()
    prebuilt: Prebuilt | None = None

    def ingredients(self) -> str:
        """The digest of the sources and options, hexadecimal."""
        return _digest([self.name, *self.options], self.sources)

    def digest(self) -> str:
        """The digest of the sources, the options and the versions of the tools, hexadecimal."""
        return hashlib.sha256(f"{self.ingredients()} {self.tools()}".encode()).hexdigest()


def _digest(words: Iterable[str], files: Iterable[Path]) -> str:
    found = hashlib.sha256(json.dumps(list(words)).encode())
    for file in files:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        found.update(f"{os.path.relpath(file, HERE)} {content}\n".encode())
    return found.hexdigest()
