"""Resolves the build of an extension to its steps."""

from __future__ import annotations

from algaenv.model.intent import BuildIntent, BuildStep
from algaenv.spec.diagnostics import Diagnostics
from algaenv.spec.document import BuildSpec, StepSpec, StepsSpec
from algaenv.spec.nodes import NodePath, SourceMap
from algaenv.spec.paths import PathResolver
from algaenv.spec.resolve.checks import warn_unbraced_variable

ONLY_STEP = "build"
"""The name of the step of a build of one command."""
AUTO = "auto"
"""In the place of a command: the files of the source say how it is built."""


def resolve_build(
    build: str | list[str] | BuildSpec | StepsSpec | None,
    source: str,
    path: NodePath,
    source_map: SourceMap,
    diagnostics: Diagnostics,
) -> BuildIntent | None:
    """The build at `path` of the spec; None where there is none."""
    match build:
        case None:
            return None
        case BuildSpec() | StepsSpec():
            spec = build
        case _:
            spec = BuildSpec(command=build)
    workspace = source
    if spec.workspace is not None:
        where = source_map.value((*path, "workspace"))
        workspace = PathResolver(diagnostics).workspace(spec.workspace, source, where)
    _warn_of_variables(spec.environment, path, source_map, diagnostics)
    resolver = _StepResolver(spec, path, source_map, diagnostics)
    return BuildIntent(resolver.steps(), workspace, dict(spec.environment), spec.timeout)


class _StepResolver:
    def __init__(
        self,
        spec: BuildSpec | StepsSpec,
        path: NodePath,
        source_map: SourceMap,
        diagnostics: Diagnostics,
    ) -> None:
        self._spec = spec
        self._path = path
        self._source_map = source_map
        self._diagnostics = diagnostics

    def steps(self) -> tuple[BuildStep, ...]:
        if isinstance(self._spec, BuildSpec) and self._spec.command == AUTO:
            for key in ("inputs", "outputs", "ignore"):
                if key in self._spec.model_fields_set:
                    self._diagnostics.add_error(
                        "spec-build-auto",
                        f"use {key} with a build that is found in the source",
                        "delete it, or write the command instead of `auto`",
                        self._source_map.key((*self._path, key)),
                    )
            return ()
        if isinstance(self._spec, BuildSpec):
            return (self._step(ONLY_STEP, self._spec, self._path),)
        names: set[str] = set()
        steps = []
        for index, spec in enumerate(self._spec.steps):
            path = (*self._path, "steps", index)
            if spec.name in names:
                self._diagnostics.add_error(
                    "spec-step-twice",
                    f"tell two steps apart that are both called {spec.name}",
                    "rename one of them",
                    self._source_map.value((*path, "name")),
                )
            names.add(spec.name)
            _warn_of_variables(spec.environment, path, self._source_map, self._diagnostics)
            steps.append(self._step(spec.name, spec, path))
        return tuple(steps)

    def _step(self, name: str, spec: BuildSpec | StepSpec, path: NodePath) -> BuildStep:
        command = spec.command
        return BuildStep(
            name=name,
            command=(command,) if isinstance(command, str) else tuple(command),
            shell=isinstance(command, str),
            environment={**self._spec.environment, **spec.environment},
            timeout=self._spec.timeout if spec.timeout is None else spec.timeout,
            inputs=tuple(spec.inputs),
            outputs=tuple(spec.outputs),
            ignore=tuple(spec.ignore),
            where=self._source_map.value((*path, "inputs" if spec.inputs else "outputs")),
        )


def _warn_of_variables(
    environment: dict[str, str], path: NodePath, source_map: SourceMap, diagnostics: Diagnostics
) -> None:
    for name in environment:
        where = source_map.value((*path, "environment", name))
        if where is not None:
            warn_unbraced_variable(where, diagnostics)
