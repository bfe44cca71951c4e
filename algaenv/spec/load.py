"""From a file to an Intent, or to every complaint about it at once."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from algaenv.bundle.value import dataclass
from algaenv.model.problem import SpecError
from algaenv.spec import dotenv
from algaenv.spec.complaints import validated
from algaenv.spec.document import Document
from algaenv.spec.layers import Layers
from algaenv.spec.ledger import Ledger
from algaenv.spec.loaded import Loaded
from algaenv.spec.settle import settle
from algaenv.spec.stacks import stacks_root
from algaenv.spec.strip import strip
from algaenv.spec.tree import Places
from algaenv.spec.variables import Variables

__all__ = ["Loaded", "Traced", "load", "trace"]


@dataclass(frozen=True, slots=True)
class Traced:
    """A load, and a digest (SHA-256, lower hex) of what was read in each file, None for absent."""

    loaded: Loaded
    digests: Mapping[Path, str | None]


def load(path: Path, environ: Mapping[str, str], *, stacks: Path | None = None) -> Loaded:
    """Read the spec at `path`, with `environ` for its variables and below that the file `.env`.

    `stacks` is where `extends:` looks for names, by default the stacks of this package. Raises
    SpecError with every complaint, in the order of their places, and with what it warns of.
    """
    return trace(path, environ, stacks=stacks).loaded


def trace(path: Path, environ: Mapping[str, str], *, stacks: Path | None = None) -> Traced:
    """The same, with what a cache must see unchanged; raises SpecError likewise."""
    ledger = Ledger(environ)
    ledger.beside = functools.partial(dotenv.read, path, ledger)
    tree = Layers(ledger, stacks or stacks_root()).read(path)
    intent = None
    if tree is not None:
        places = Places(Variables(ledger).fill(strip(tree, ledger)))
        document, cut = validated(Document, places, ledger, stand_ins={"name": "unnamed"})
        if document is not None:
            intent = settle(document, places, ledger, cut)
    if ledger.problems or intent is None:
        raise SpecError.of(dict.fromkeys(ledger.problems), ledger.warnings)
    loaded = Loaded(intent, tuple(ledger.warnings), tuple(ledger.digests), tuple(ledger.variables))
    return Traced(loaded, ledger.digests)
