"""Builds an extension by its author's commands, in a private mirror of its workspace.

A `plan` builds too, and must change nothing: commands run in a copy below the environment's
state directory, so nothing in the author's tree is written. What a command makes stays in the
copy, so that a tool that builds incrementally still does, until the author deletes something: what
was made of that must not be packed. A step whose inputs did not change does not run.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from algaenv.bundle.value import dataclass
from algaenv.drivers.build import file_tree
from algaenv.drivers.build.command import MARK, Command, open_log, run
from algaenv.drivers.build.steps import StepRunner, definition
from algaenv.drivers.build.toolchain import ToolVersions
from algaenv.drivers.build.workspace import (
    BuildJob,
    StepResult,
    WorkspaceState,
    build_key,
    make_job,
    mirror,
    scan_workspace,
    state_after_mirroring,
    state_while_mirroring,
)
from algaenv.drivers.state import environment_lock, private_files
from algaenv.model.intent import BuildStep, ExtensionIntent
from algaenv.model.lock import Environment
from algaenv.model.problem import Problem
from algaenv.reconcile.protocols import OnProgress
from algaenv.system import files, processes


@dataclass(frozen=True, slots=True)
class Built:
    """The directory that holds the built extension, and warnings."""

    place: Path
    warnings: tuple[Problem, ...] = ()


def build(
    intent: ExtensionIntent,
    environment: Environment,
    on_progress: OnProgress,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    environ: Mapping[str, str] = os.environ,
) -> Built:
    """Build an extension; a step runs only if something that it depends on changed.

    `environ` is what commands inherit. What they print goes to `on_progress`, line by line, and to
    `logs/build-<extension>.log` in the state directory; of a lot both get a part, and the author's
    files go by their own paths in either. Raises ResolveError (`build-failed`,
    `build-program-missing`, `build-timeout`, `build-cancelled`, `build-workspace`,
    `build-unreadable`, `build-undetected`) and what the state directory raises. Nothing of a
    command is left running, however it ends.
    """
    if intent.build is None:
        return Built(Path(intent.source))
    job = make_job(intent, intent.build, environment, environ)
    if job.detected:
        on_progress(f"detected: {', '.join(job.detected)}")
    with private_files.translate_os_errors(job.build_directory):
        job.build_directory.mkdir(mode=private_files.PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    with environment_lock.exclusive_file_lock(
        job.build_directory / "lock", on_progress, cancelled
    ) as held:
        if not held:
            raise job.cancelled()
        results = _build_if_changed(job, on_progress, cancelled)
    return Built(job.place, tuple(_warnings(job, results)))


def _build_if_changed(
    job: BuildJob, on_progress: OnProgress, cancelled: Callable[[], bool]
) -> Mapping[str, Sequence[StepResult]]:
    running = job.build_directory / "running"
    if running.exists():
        processes.kill_with_variable(MARK, str(job.build_directory))
    known = WorkspaceState.read(job.build_directory)
    seen = scan_workspace(job, known)
    tools = ToolVersions(job)
    commands = [
        [job.below, *definition(it), it.name, it.inputs, it.ignore, sorted(tools.of(it).items())]
        for it in job.steps
    ]
    key = build_key(seen, commands)
    if known.key != key or known.made != file_tree.tree_digest(job.tree):
        # Until all has ended well nothing counts as built. Whatever may be in the tree is on record
        # before it gets there: what the author deletes is taken out again however a run ends.
        state_while_mirroring(known, seen).write(job.build_directory)
        mirror(job, known, seen)
        state = state_after_mirroring(known, seen)
        with contextlib.ExitStack() as stack:
            logs: list[IO[bytes]] = []

            def run_step(step: BuildStep) -> None:
                if not logs:
                    state.write(job.build_directory)
                    with private_files.translate_os_errors(running):
                        files.write_atomic(running, b"")
                    stack.callback(private_files.remove_path, running)
                    logs.append(stack.enter_context(open_log(job)))
                run(Command(job, step, logs[0]), on_progress, cancelled)

            StepRunner(job, seen, state, tools, run=run_step, on_progress=on_progress).run_all()
        seen.results = state.results
        seen.key, seen.made = key, file_tree.tree_digest(job.tree)
    if seen != known:
        seen.write(job.build_directory)
    return seen.results


def _warnings(job: BuildJob, results: Mapping[str, Sequence[StepResult]]) -> list[Problem]:
    """Of globs that name nothing: they are no error, for a file may come and go."""
    return [
        Problem(
            "build-glob-unmatched",
            f"cannot find what `{text}` names for the step {step.name} of {job.intent.name}:"
            " there is no such file",
            f"correct it: it is relative to {job.workspace}",
            step.where or job.intent.where,
        )
        for step in (() if job.detected else job.steps)
        for text in (results[step.name][0].unmatched if results.get(step.name) else ())
    ]
