"""Resolves tasks: their directories, their variables, and what they need."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from algaenv.bundle.value import dataclass
from algaenv.model.intent import TaskIntent
from algaenv.model.secret import Secret
from algaenv.spec.diagnostics import Diagnostics, suggestion
from algaenv.spec.document import Document, TaskSpec
from algaenv.spec.nodes import NodePath, SourceMap
from algaenv.spec.paths import PathResolver, is_directory
from algaenv.spec.resolve.checks import warn_unbraced_variable
from algaenv.spec.resolve.order import sorted_by_needs
from algaenv.spec.resolve.services import OURS
from algaenv.spec.secrets import SecretReader


@dataclass(frozen=True, slots=True)
class TaskResolver:
    """Resolves the tasks of one spec; `active` are the names that count in this run."""

    document: Document
    source_map: SourceMap
    diagnostics: Diagnostics
    secrets: SecretReader
    active: Collection[str]

    def tasks(self) -> tuple[TaskIntent, ...]:
        """All of them, each after those that it needs."""
        found = {name: self._task(name, spec) for name, spec in self.document.tasks.items()}
        return self._sorted(found)

    def _task(self, name: str, spec: TaskSpec) -> TaskIntent:
        path: NodePath = ("tasks", name)
        where = self.source_map.value((*path, "run"))
        self._check_name(name)
        for index, need in enumerate(spec.needs):
            self._check_need(name, need, (*path, "needs", index))
        return TaskIntent(
            name=name,
            command=(spec.run,) if isinstance(spec.run, str) else tuple(spec.run),
            shell=isinstance(spec.run, str),
            directory=self._directory(spec.dir, path),
            environment=self._environment(spec, path),
            needs=tuple(dict.fromkeys(spec.needs)),
            inputs=None if spec.inputs is None else tuple(spec.inputs),
            timeout=spec.timeout,
            where=where,
            active=name in self.active,
        )

    def _check_name(self, name: str) -> None:
        services = (*OURS, *self.document.services)
        kind = "a service" if name in services else "an extension"
        if name in services or name in self.document.extensions:
            self.diagnostics.add_error(
                "spec-task-name",
                f"call a task {name}: {kind} has that name, and `needs` would mean both",
                "give the task another name",
                self.source_map.key(("tasks", name)),
            )

    def _check_need(self, name: str, need: str, path: NodePath) -> None:
        where = self.source_map.value(path)
        parts = {**self.document.extensions, **self.document.tasks}
        services = (*OURS, *self.document.services)
        if need not in services and need not in parts:
            known = tuple(dict.fromkeys((*services, *parts)))
            self.diagnostics.add_error(
                "spec-task-need",
                f"need {need}: no service, extension or task has that name",
                suggestion(need, known),
                where,
            )
        elif need in parts and name in self.active and need not in self.active:
            self.diagnostics.add_error(
                "spec-task-need",
                f"need {need}: it belongs to a profile that is not asked for",
                "give both the same `profiles`, or ask for the profile with `--profile`",
                where,
            )

    def _directory(self, text: str | None, path: NodePath) -> str:
        resolver = PathResolver(self.diagnostics)
        if text is None:
            return resolver.absolute(".", self.source_map.value((*path, "run")))
        where = self.source_map.value((*path, "dir"))
        directory = resolver.absolute(text, where)
        if not is_directory(directory):
            self.diagnostics.add_error(
                "spec-task-dir",
                f"run a task in {text}: there is no such directory",
                "correct the path",
                where,
            )
        return directory

    def _environment(self, spec: TaskSpec, path: NodePath) -> Mapping[str, str | Secret]:
        environment: dict[str, str | Secret] = {}
        for name, form in spec.environment.items():
            at = (*path, "environment", name)
            if isinstance(form, str):
                warn_unbraced_variable(self.source_map.value(at), self.diagnostics)
                environment[name] = form
            elif (value := self.secrets.read(form, at)) is not None:
                environment[name] = value
        return environment

    def _sorted(self, tasks: Mapping[str, TaskIntent]) -> tuple[TaskIntent, ...]:
        """In the order of the file as far as their needs allow; adds an error for a circle."""

        def report(circle: tuple[str, ...]) -> None:
            self.diagnostics.add_error(
                "spec-task-cycle",
                f"order the tasks {' → '.join((*circle, circle[0]))}: each needs the next",
                "take one of these `needs` out",
                self.source_map.value(("tasks", circle[-1], "needs")),
            )

        names = sorted_by_needs({name: it.needs for name, it in tasks.items()}, report)
        return tuple(tasks[name] for name in names)
