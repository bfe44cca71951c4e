"""The steps of a build: each runs only when what it depends on has changed.

The key of a step is made of the content of its inputs, its command, its environment and the
versions of its tools. What a step makes is recorded with its key. Files that it names as outputs
are kept besides, so that they come back byte for byte when another step has removed them, or when
an edit is taken back. Files of a step that names none count as made only while they are untouched.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from algaenv.bundle.value import replace
from algaenv.drivers.build import file_tree
from algaenv.drivers.build.file_tree import TreeEntry
from algaenv.drivers.build.made_files import KeptFiles, entries_of, is_same, made_file
from algaenv.drivers.build.patterns import globs, is_never_counted, matches_any
from algaenv.drivers.build.toolchain import ToolVersions, configuration_of
from algaenv.drivers.build.workspace import (
    BuildJob,
    MadeFile,
    StepResult,
    WorkspaceState,
    digest_of,
)
from algaenv.drivers.state import private_files
from algaenv.model.intent import BuildStep
from algaenv.reconcile.protocols import OnProgress

KEPT_RESULTS = 4
"""Runs of a step whose outputs are kept, the newest first."""


class StepRunner:
    """Runs the steps of a job in its tree, which holds the workspace as `seen`.

    `state` is written after each step, so that none runs twice when a later one fails. `run`
    executes the command of a step.
    """

    def __init__(
        self,
        job: BuildJob,
        seen: WorkspaceState,
        state: WorkspaceState,
        tools: ToolVersions,
        *,
        run: Callable[[BuildStep], None],
        on_progress: OnProgress,
    ) -> None:
        self._job = job
        self._state = state
        self._tools = tools
        self._run = run
        self._on_progress = on_progress
        self._runs = 0
        self._directories = seen.directories
        self._authors = seen.files.keys() | seen.links.keys()
        self._files: dict[str, tuple[int, str]] = {
            path: (mode & 0o111, sha) for path, (_, mode, sha) in seen.files.items()
        }
        self._files |= {path: (-1, target) for path, target in seen.links.items()}
        self._kept = KeptFiles(job.build_directory / "made")

    def run_all(self) -> None:
        """Run what has to be run. Raises what `run` raises, and Failed."""
        names = {step.name for step in self._job.steps}
        for name in [it for it in self._state.results if it not in names]:
            self._remove(path for result in self._state.results.pop(name) for path in result.made)
        for step in self._job.steps:
            runs = self._runs
            result = self._result(step)
            others = [
                replace(it, inputs=[])
                for it in self._state.results.get(step.name, [])
                if it.key != result.key
            ]
            self._state.results[step.name] = [result, *others][:KEPT_RESULTS]
            if self._runs > runs:
                self._state.write(self._job.build_directory)
            for path, made in result.made.items():
                mode = made.mode & 0o111 if made.kind == "file" else -1
                self._files[path] = (mode, made.sha256)
        self._put_back_removed()
        self._kept.prune(it for results in self._state.results.values() for it in results)

    def _put_back_removed(self) -> None:
        """A tool that empties its directory first takes files of earlier steps along."""
        tree = self._job.tree
        for step in self._job.steps:
            made = self._state.results[step.name][0].made if step.outputs else {}
            for path, it in made.items():
                if it.kind != "dependencies" and not os.path.lexists(tree / path):
                    self._kept.put(tree, path, it)

    def _result(self, step: BuildStep) -> StepResult:
        inputs, unmatched = self._inputs(step)
        key = self._key(step, inputs)
        results = self._state.results.get(step.name, [])
        known = next((it for it in results if it.key == key), None)
        if known is not None and known is not results[0] and _holds_dependencies(known):
            known = None  # They are not kept, and those of a later run look the same.
        if known is not None and (made := self._in_place(step, known)) is not None:
            return StepResult(key, inputs, made, known.unmatched)
        if known is not None and step.outputs and self._restore(step, known):
            self._on_progress(f"{step.name}: unchanged, its outputs are put back")
            return StepResult(key, inputs, self._made_now(known.made), known.unmatched)
        if results and not set(results[0].inputs) <= set(inputs):
            # A command that copies a directory copies nothing away.
            self._remove(results[0].made)
        if results and (not step.outputs or any(map(_holds_dependencies, results))):
            # Not all of its files are kept, so they count no longer once it has begun.
            self._state.results[step.name] = []
            self._state.write(self._job.build_directory)
        before = {} if step.outputs else self._stamps()
        self._runs += 1
        self._run(step)
        if step.outputs:
            others = self._of_others(step)
            now = self._made_now(it.path for it in self._outputs(step))
            made = {
                path: it
                for path, it in now.items()
                if path not in others or not is_same(it, others[path])
            }
            unmatched += self._unmade(step, made)
            self._kept.add(self._job.tree, made)
        else:
            changed = [path for path, stamp in self._stamps().items() if before.get(path) != stamp]
            earlier = results[0].made if results else {}
            made = self._made_now(dict.fromkeys([*earlier, *changed]))
        return StepResult(key, inputs, made, unmatched)

    def _inputs(self, step: BuildStep) -> tuple[list[str], list[str]]:
        """The paths a step depends on, and its inputs that name none of them."""
        named, ignore = globs(step.inputs), globs(step.ignore)
        configuration = set(configuration_of(self._tools.of(step), self._job.below))
        plain = {glob.text for glob in named}

        def counts(path: str) -> bool:
            if matches_any(path, ignore):
                return False
            if is_never_counted(path) and path not in plain:
                return False
            return not named or path in configuration or matches_any(path, named)

        paths = sorted(path for path in self._files if counts(path))
        unmatched = [it.text for it in named if not any(map(it.matches, self._files))]
        return paths, unmatched

    def _key(self, step: BuildStep, inputs: list[str]) -> str:
        return digest_of(
            [
                [(path, self._files[path]) for path in inputs],
                [] if step.inputs else self._counted_directories(step),
                [self._job.below, *definition(step)],
                sorted(self._tools.of(step).items()),
            ]
        )

    def _counted_directories(self, step: BuildStep) -> list[str]:
        ignore = globs(step.ignore)
        return sorted(it for it in self._directories if not matches_any(it, ignore))

    def _in_place(self, step: BuildStep, known: StepResult) -> dict[str, MadeFile] | None:
        """What a step made, if all of it lies in the tree as it was, and nothing besides."""
        if step.outputs and any(self._surplus(step, known)):
            return None
        now = {path: made_file(self._job.tree, path, was) for path, was in known.made.items()}
        found = {path: it for path, it in now.items() if it is not None}
        same = found.keys() == known.made.keys() and all(
            is_same(it, known.made[path]) for path, it in found.items()
        )
        return found if same else None

    def _restore(self, step: BuildStep, known: StepResult) -> bool:
        """Put what a step made back in its place; False when it is not kept any more."""
        if not self._kept.holds(known.made):
            return False
        tree = self._job.tree
        self._remove(self._surplus(step, known))
        for path, wanted in known.made.items():
            now = made_file(tree, path, wanted)
            in_place = now is not None and is_same(now, wanted)
            if not in_place and not self._kept.put(tree, path, wanted):
                return False
        return True

    def _outputs(self, step: BuildStep) -> Iterator[TreeEntry]:
        """What lies in the tree where a step writes; no directories."""
        found = {
            it.path: it
            for glob in globs(step.outputs)
            for it in entries_of(self._job.tree, glob)
            if it.kind != "directory"
        }
        yield from found.values()

    def _surplus(self, step: BuildStep, known: StepResult) -> Iterator[str]:
        """What lies where a step writes, and neither it nor another step made."""
        others = self._of_others(step)
        for found in self._outputs(step):
            if found.path not in known.made and found.path not in others:
                yield found.path

    def _of_others(self, step: BuildStep) -> dict[str, MadeFile]:
        """The files of other steps: of earlier ones as they are now, of later ones as they were."""
        return {
            path: made
            for other in self._job.steps
            if other.name != step.name
            for result in self._state.results.get(other.name, [])[:1]
            for path, made in result.made.items()
        }

    def _unmade(self, step: BuildStep, made: Iterable[str]) -> list[str]:
        paths = list(made)
        return [it.text for it in globs(step.outputs) if not any(map(it.matches, paths))]

    def _stamps(self) -> dict[str, object]:
        return {
            it.path: file_tree.stamp_of(it.status) if it.kind == "file" else it.kind
            for it in file_tree.walk(str(self._job.tree))
            if it.kind != "directory"
        }

    def _made_now(self, paths: Iterable[str]) -> dict[str, MadeFile]:
        found = ((path, made_file(self._job.tree, path, None)) for path in paths)
        return {path: made for path, made in found if made is not None}

    def _remove(self, paths: Iterable[str]) -> None:
        """Take files of a step out of the tree; the author's, dependencies and caches stay."""
        tree = self._job.tree
        for name in list(paths):
            path = tree / name
            if name in self._authors or (path.is_dir() and not path.is_symlink()):
                continue
            if file_tree.is_in_cache(name, str(tree)):
                continue
            if os.path.realpath(path.parent) == str(path.parent):
                with private_files.translate_os_errors(path):
                    private_files.remove_path(path)
                _remove_empty_parents(path, tree)


def definition(step: BuildStep) -> list[object]:
    """What a step is, apart from its inputs."""
    return [step.command, step.shell, step.outputs, sorted(step.environment.items())]


def _holds_dependencies(result: StepResult) -> bool:
    return any(it.kind == "dependencies" for it in result.made.values())


def _remove_empty_parents(path: Path, tree: Path) -> None:
    for parent in path.parents:
        if parent == tree:
            break
        try:
            parent.rmdir()
        except OSError:
            break
