"""Loads a spec: from a file to an Intent, or to all errors in it at once.

Importable without YAML and pydantic: those are loaded when a spec is read.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from algaenv.bundle.value import dataclass
from algaenv.model.intent import Intent
from algaenv.model.isolated import authored_spec, isolate, isolated_name
from algaenv.model.problem import Problem, SpecError


@dataclass(frozen=True, slots=True)
class LoadedSpec:
    """A spec without errors.

    `files` are all that were read or looked for in vain: the spec and what it extends, the local
    file, secrets, engines. `variables` are the names of the environment variables asked for.
    """

    intent: Intent
    warnings: tuple[Problem, ...]
    files: tuple[Path, ...]
    variables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoadTrace:
    """A loaded spec, and a digest (SHA-256, lower hex) of each file; None for an absent one."""

    loaded: LoadedSpec
    digests: Mapping[Path, str | None]


def load(path: Path, environ: Mapping[str, str], *, stacks: Path | None = None) -> LoadedSpec:
    """Read the spec at `path`, with `environ` for its variables and below that the file `.env`.

    For an isolated environment that is the author's spec, with another name and free ports.
    `stacks` is where `extends:` looks for names, by default the stacks of this package. Raises
    SpecError with every error, in the order of their positions, and with the warnings.
    """
    return load_with_trace(path, environ, stacks=stacks).loaded


def load_with_trace(
    path: Path, environ: Mapping[str, str], *, stacks: Path | None = None
) -> LoadTrace:
    """As `load`, with the digests that a cache compares; raises SpecError likewise."""
    from algaenv.spec.diagnostics import Diagnostics
    from algaenv.spec.document import Document
    from algaenv.spec.errors import validate_tree
    from algaenv.spec.merge import LayerReader
    from algaenv.spec.nodes import SourceMap
    from algaenv.spec.paths import stacks_root
    from algaenv.spec.resolve.intent import resolve_intent
    from algaenv.spec.variables import VariableExpander, read_dotenv, remove_extension_fields

    isolated, path = isolated_name(path), authored_spec(path)
    diagnostics = Diagnostics(environ)
    diagnostics.load_dotenv = functools.partial(read_dotenv, path, diagnostics)
    tree = LayerReader(diagnostics, stacks or stacks_root()).read(path)
    intent = None
    if tree is not None:
        expander = VariableExpander(diagnostics)
        source_map = SourceMap(expander.fill(remove_extension_fields(tree, diagnostics)))
        document, cut = validate_tree(
            Document, source_map, diagnostics, stand_ins={"name": "unnamed"}
        )
        if document is not None:
            intent = resolve_intent(document, source_map, diagnostics, cut)
        if intent is not None and isolated is not None:
            try:
                intent = isolate(intent, isolated)
            except ValueError:
                diagnostics.add_error(
                    "spec-isolated-database",
                    f"bring {intent.name} up as {isolated} beside itself: both would keep their "
                    "rows in the same external database",
                    "leave `--isolated` out, or have algaenv run the database: remove "
                    "`database.url`",
                    source_map.value(("database", "url")),
                )
    if diagnostics.problems or intent is None:
        raise SpecError.of(dict.fromkeys(diagnostics.problems), diagnostics.warnings)
    loaded = LoadedSpec(
        intent,
        tuple(diagnostics.warnings),
        tuple(diagnostics.digests),
        tuple(diagnostics.variables),
    )
    return LoadTrace(loaded, diagnostics.digests)
