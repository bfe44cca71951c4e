"""What has to be watched for an extension, so that every edit is seen and no build is.

A build writes only into its private mirror, below `.algaenv`, which never counts. What a tool of
the author's writes into the workspace (outputs, dependencies, caches) does not count either, so
that neither it nor an editor's temporary file sets off a build.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from algaenv.bundle.source_tree import is_bundle_path
from algaenv.bundle.value import dataclass
from algaenv.drivers.build.detection.detect import detect
from algaenv.drivers.build.file_tree import DEPENDENCIES, EXCLUDED_NAMES, is_in_cache
from algaenv.drivers.build.patterns import Glob, globs, is_never_counted, is_temporary, matches_any
from algaenv.drivers.build.toolchain import configuration_of, programs_of
from algaenv.model.intent import BuildStep, ExtensionIntent


@dataclass(frozen=True, slots=True)
class Watched:
    """`roots` are directories to watch with all below them, real paths; `counts(path)` is True for
    an absolute path below one of them whose change may change the bundle, `enters(directory)` for
    a root, and for a directory below one that may hold such files."""

    roots: tuple[Path, ...]
    counts: Callable[[str | os.PathLike[str]], bool]
    enters: Callable[[str | os.PathLike[str]], bool]


def watched_paths(intent: ExtensionIntent) -> Watched:
    """The directories to watch for an extension, and which of their files count.

    Without a build these are the files of the bundle; with one also every input of a step that is
    no output of any. Reads only what tells how a source without steps is built. Never raises:
    what is not there counts as soon as it is.
    """
    source = os.path.realpath(intent.source)
    if intent.build is None:
        found = _Filter(source, source, ())
        return Watched((Path(source),), found.counts, found.enters)
    workspace = os.path.realpath(intent.build.workspace)
    steps = intent.build.steps
    if not steps:
        detected = detect(Path(workspace), os.path.relpath(source, workspace), intent.build)
        steps = detected.steps if detected is not None else ()
    # Where nothing tells yet how it is built, any file may.
    found = _Filter(workspace, source, steps, counts_all=not steps)
    return Watched((Path(workspace),), found.counts, found.enters)


class _Filter:
    def __init__(
        self,
        workspace: str,
        source: str,
        steps: tuple[BuildStep, ...],
        *,
        counts_all: bool = False,
    ) -> None:
        self._workspace = workspace
        self._below = os.path.relpath(source, workspace)
        self._steps = [(globs(it.inputs), globs(it.ignore)) for it in steps]
        if counts_all:
            self._steps.append(((), ()))
        programs = (it for step in steps for it in programs_of(step, Path(source)))
        self._configuration = frozenset(configuration_of(programs, self._below))
        self._outputs = tuple(glob for step in steps for glob in globs(step.outputs))

    def counts(self, path: str | os.PathLike[str]) -> bool:
        relative = self._relative(os.fspath(path))
        if relative is None or is_temporary(relative) or self._is_derived(relative):
            return False
        if matches_any(relative, self._outputs):
            return False
        in_source = relative if self._below == "." else _below(relative, self._below)
        if in_source is not None and is_bundle_path(in_source):
            return True
        if relative in self._configuration:
            return True
        return not is_never_counted(relative) and any(
            _is_input(relative, *it) for it in self._steps
        )

    def enters(self, directory: str | os.PathLike[str]) -> bool:
        path = os.fspath(directory)
        if path.rstrip("/") == self._workspace.rstrip("/"):
            return True
        relative = self._relative(path)
        return (
            relative is not None
            and not self._is_derived(f"{relative}/*")
            and not matches_any(relative, self._outputs)
        )

    def _relative(self, path: str) -> str | None:
        # The file itself may be a link, or gone; its directory is known by its real path.
        directory, name = os.path.split(path)
        return _below(f"{os.path.realpath(directory)}/{name}", self._workspace)

    def _is_derived(self, relative: str) -> bool:
        names = relative.split("/")
        if not EXCLUDED_NAMES.isdisjoint(names) or DEPENDENCIES in names:
            return True
        return is_in_cache(relative, self._workspace)


def _is_input(path: str, inputs: tuple[Glob, ...], ignore: tuple[Glob, ...]) -> bool:
    return (not inputs or matches_any(path, inputs)) and not matches_any(path, ignore)


def _below(path: str, directory: str) -> str | None:
    prefix = directory.rstrip("/") + "/"
    return path.removeprefix(prefix) if path.startswith(prefix) else None
