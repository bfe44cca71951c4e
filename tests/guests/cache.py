"""Where built guests lie: one directory a digest, filled by one process at a time."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .recipe import Recipe

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BuildCache:
    """A directory of things that are named by the digest of what they are made from."""

    root: Path

    @classmethod
    def of_this_machine(cls) -> BuildCache:
        """The user's own cache directory."""
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return cls(Path(home) / "algaenv-guests")

    def holds(self, recipe: Recipe, told: Told) -> Path:
        """The guest of a recipe, built if it is not there."""

        def make(into: Path) -> None:
            started = time.monotonic()
            told(f"{recipe.name}: building")
            made = recipe.build(self, into, told)
            made.replace(into / f"{recipe.name}.wasm")
            size = (into / f"{recipe.name}.wasm").stat().st_size
            told(f"{recipe.name}: built, {size:,} bytes, {time.monotonic() - started:.1f} s")

        return self.once(recipe.digest(), make) / f"{recipe.name}.wasm"

    def cache_of_the_engine(self) -> Path:
        """The configuration of wasmtime's own cache of compiled guests, beside them."""

        def configure(into: Path) -> None:
            place = json.dumps(str(self.root / "compiled"))
            (into / "cache.toml").write_text(f"[cache]\ndirectory = {place}\n")

        return self.once("engine", configure) / "cache.toml"

    def once(self, key: str, make: Callable[[Path], None]) -> Path:
        """The directory `key`, filled by `make` if nobody has; it appears whole or not at all."""
        place = self.root / key
        if place.is_dir():
            return place
        with self.alone(key):
            if not place.is_dir():
                with tempfile.TemporaryDirectory(dir=self.root, prefix=".making-") as made:
                    filled = Path(made) / "filled"
                    filled.mkdir()
                    make(filled)
                    filled.replace(place)
        return place

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Keep other processes out that name the same key."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f"{key}.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield
