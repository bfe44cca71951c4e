"""Guests: real components for the tests, each built once a machine by the field's own tools.

`built("script")` gives the path of a component; `python -m tests.guests [NAME…]` does the same by
hand, with progress, and with `--commit` renews the ones that the repository holds. A guest is
looked up by the digest of everything it is made from: its sources, its lock files and the versions
of the tools. The cache is `$XDG_CACHE_HOME/algaenv-guests` (else `~/.cache/algaenv-guests`) and
may be deleted at any time.

Import this module at the top of a test module: tests get a cache home of their own, and the one
that lasts is read when this is imported.
"""

from __future__ import annotations

from pathlib import Path

from .cache import BuildCache, Told
from .recipes import RECIPES
from .tools import ToolMissing

NAMES = tuple(RECIPES)
_SHELF = BuildCache.of_this_machine()


def built(name: str, told: Told = lambda line: None) -> Path:
    """The guest's .wasm, built now if it is not there yet; `told` gets the progress, line by line.

    Raises ToolMissing, which skips the test that asked, if this machine cannot build it;
    KeyError for a name not in NAMES; CalledProcessError, with the tool's words, if a build fails.
    """
    recipe = RECIPES[name]
    prebuilt = recipe.prebuilt
    if prebuilt is not None and prebuilt.current(recipe.ingredients()):
        return prebuilt.file
    return made(name, told)


def made(name: str, told: Told = lambda line: None) -> Path:
    """As `built`, but made by the tools even if the repository holds one."""
    return _SHELF.holds(RECIPES[name], told)


def commit(told: Told = lambda line: None) -> None:
    """Renew the guests that the repository holds."""
    for name, recipe in RECIPES.items():
        if recipe.prebuilt is not None:
            recipe.prebuilt.keep(made(name, told), recipe.ingredients())


__all__ = ["NAMES", "ToolMissing", "built", "commit", "made"]
