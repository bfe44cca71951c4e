"""Builds the component that runs handlers from source, which is part of the package.

    python -m tests.guests.shell

makes it anew from `algaenv/runner/shell/` and this file, with the tools that the lock file of the
JavaScript guests names, and puts it in place of the old one. componentize-js gives other bytes each
time, so what is recorded is what it was made from.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from algaenv.bundle.digest import Digest
from algaenv.runner.components.shell import COMPRESSED, RECORD, shell_digest

from . import tools
from .cache import BuildCache, Told
from .recipe import WIT, Recipe
from .recipes import ALL_BUT_STDIO, JAVASCRIPT, node_modules

SOURCES = COMPRESSED.parent


def _build(build_cache: BuildCache, into: Path, told: Told) -> Path:
    """Stdio stays in, as it does not in a build with `--disable all`: an error says where it is."""
    wit = into / "wit"
    (wit / "deps/extension").mkdir(parents=True)
    shutil.copy(SOURCES / "shell.wit", wit)
    shutil.copy(WIT, wit / "deps/extension")
    made = into / "component.wasm"
    options = (word for name in ALL_BUT_STDIO for word in ("--disable", name))
    jco = [str(node_modules(build_cache, JAVASCRIPT, told) / ".bin/jco"), "componentize"]
    world = ("--wit", str(wit), "--world-name", "runner-from-source")
    tools.run([*jco, str(SOURCES / "shell.js"), *world, *options, "-o", str(made)], cwd=into)
    shutil.rmtree(wit)
    return made


SHELL = Recipe(
    "shell",
    (SOURCES / "shell.js", SOURCES / "shell.wit", WIT, JAVASCRIPT / "package-lock.json"),
    tools.node,
    _build,
    ALL_BUT_STDIO,
)


def made(told: Told = lambda line: None) -> Path:
    """The component, built now if this machine has not done it. Raises ToolMissing."""
    return BuildCache.of_this_machine().holds(SHELL, told)


def packaged() -> Path:
    """The component that is part of the package, as a file that stays where it is."""

    def unpack(into: Path) -> None:
        import zstandard

        content = zstandard.ZstdDecompressor().decompress(COMPRESSED.read_bytes())
        (into / "shell.wasm").write_bytes(content)

    cache = BuildCache.of_this_machine()
    return cache.once(f"packaged-shell-{shell_digest().hex}", unpack) / "shell.wasm"


def main() -> None:
    """Build it and put it into the package."""
    import zstandard

    content = made(lambda line: print(line, file=sys.stderr)).read_bytes()  # noqa: T201
    COMPRESSED.write_bytes(zstandard.ZstdCompressor(level=19).compress(content))
    record = {"component": Digest.of(content).hex, "sources": SHELL.ingredients()}
    RECORD.write_text(f"{json.dumps(record, indent=2)}\n")


if __name__ == "__main__":
    main()
