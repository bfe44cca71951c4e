"""Runs tasks, and keeps a record of each that ended well.

A record lies in `tasks/<name>.json` of the state directory, and holds the fingerprint and the
inputs of the run. It is removed before the task begins, so that one that failed, or was killed,
runs again. What a task prints goes to `logs/task-<name>.log`; secrets are hidden there as well.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from algaenv.drivers.build import file_tree
from algaenv.drivers.build.command import End, end_group, follow_to_end
from algaenv.drivers.build.file_tree import TreeEntry
from algaenv.drivers.build.output import BuildOutput
from algaenv.drivers.build.patterns import globs, is_temporary, matches_any
from algaenv.drivers.state import private_files, state_dir
from algaenv.model.intent import TaskIntent
from algaenv.model.kind import Address
from algaenv.model.lock import Environment
from algaenv.model.problem import Failed, Problem
from algaenv.model.resource import Absent, Present, Resource, spec_as
from algaenv.model.secret import Secret
from algaenv.model.secret_mask import SecretMask
from algaenv.model.task import SeenTask, TaskRun
from algaenv.reconcile.protocols import OnProgress
from algaenv.reconcile.wait import WaitInterrupted
from algaenv.system import processes

if TYPE_CHECKING:
    import subprocess

MARK: Final = "ALGAENV_TASK"
"""The variable by which the processes of a task are found; its value is the path of its record."""
RECORDS: Final = "tasks"
_UNREADABLE: Final = "unreadable"
_NOT_FOUND: Final = 127
"""With which a shell ends when a program is not there."""


class TaskDriver:
    """Implements TaskHost and ResourceDriver for the tasks of one environment.

    `environ` are the variables that a task begins with. `mask` hides what must not be shown.
    """

    def __init__(
        self,
        environment: Environment,
        environ: Mapping[str, str],
        mask: SecretMask,
        cancelled: Callable[[], bool],
    ) -> None:
        self._environment = environment
        self._environ = environ
        self._mask = mask
        self._cancelled = cancelled

    def observe(self, tasks: Sequence[TaskIntent]) -> Mapping[str, SeenTask]:
        """See TaskHost."""
        return {it.name: SeenTask(digests_of(it), self._last(it.name)) for it in tasks}

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """Run it to its end.

        Raises Failed (`task-failed`, `task-timeout`, `task-program-missing`), and WaitInterrupted
        when the run is interrupted: then nothing of it stays running.
        """
        body = spec_as(resource, TaskRun)
        record = self._record(body.task.name)
        with private_files.translate_os_errors(record):
            record.unlink(missing_ok=True)
        processes.kill_with_variable(MARK, str(record))  # A killed run may have left some.
        self._run(body, record, on_progress)
        state_dir.open_state_dir(self._environment)
        with private_files.translate_os_errors(record):
            private_files.make_private_directory(record.parent)
        kept = {"fingerprint": resource.fingerprint, "inputs": dict(resource.inputs)}
        private_files.write_private(record, json.dumps(kept).encode() + b"\n")

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        """As `create`, whatever was `seen`."""
        del seen
        self.create(resource, on_progress)

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Forget that it ran."""
        del seen, on_progress
        self._record(address.name).unlink(missing_ok=True)

    def log_location(self, address: Address) -> str:
        """The path of its log."""
        return str(self._log(address.name))

    def _record(self, name: str) -> Path:
        return self._environment.home / RECORDS / f"{name}.json"

    def _log(self, name: str) -> Path:
        return self._environment.home / "logs" / f"task-{name}.log"

    def _last(self, name: str) -> Absent | Present:
        try:
            kept = json.loads(private_files.read_private(self._record(name)))
            return Present(str(kept["fingerprint"]), dict(kept["inputs"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return Absent()

    def _run(self, body: TaskRun, record: Path, on_progress: OnProgress) -> None:
        task, log = body.task, self._log(body.task.name)
        shown = self._mask.text(task.command[0] if task.shell else " ".join(task.command))
        on_progress(f"$ {shown}")
        directory = Path(task.directory)
        with private_files.translate_os_errors(log):
            log.parent.mkdir(mode=private_files.PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            stream = log.open("wb", buffering=0)
            log.chmod(private_files.PRIVATE_FILE)
        with stream:
            output = BuildOutput(directory, directory, stream, on_progress, self._mask.bytes)
            with self._start(body, record, shown) as process:
                try:
                    end = follow_to_end(process, output, task.timeout, self._cancelled)
                except BaseException:
                    end_group(process)
                    raise
                finally:
                    output.end()
                if end is not End.ENDED:
                    end_group(process)
                    processes.kill_with_variable(MARK, str(record))
        if end is End.CANCELLED:
            raise WaitInterrupted
        said = tuple(output.excerpt)
        if end is End.LATE:
            hint = f"raise its `timeout` in the spec, or see in {log} what it waits for"
            why = f"`{shown}` ran longer than {task.timeout:g} s"
            raise _failed(task, "task-timeout", why, hint, said)
        if process.returncode == _NOT_FOUND:
            raise _missing(task, f"`{shown}` ended with exit code {_NOT_FOUND}", said)
        if process.returncode:
            code = process.returncode
            how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
            hint = f"mend what it complains of; all it said is in {log}"
            raise _failed(task, "task-failed", f"`{shown}` ended with {how}", hint, said)

    def _start(self, body: TaskRun, record: Path, shown: str) -> subprocess.Popen[bytes]:
        import subprocess

        task = body.task
        argv = ["/bin/sh", "-c", task.command[0]] if task.shell else list(task.command)
        own = {
            name: value.reveal() if isinstance(value, Secret) else value
            for name, value in {**body.variables, **task.environment}.items()
        }
        try:
            return subprocess.Popen(
                argv,
                cwd=task.directory,
                env={**self._environ, **own, "ALGAENV": "1", MARK: str(record)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "a NUL is in it"
            raise _missing(task, f"`{shown}`: {why}", ()) from error


def digests_of(task: TaskIntent) -> Mapping[str, str]:
    """Path, relative to the directory of the task → SHA-256 of each file that it reads."""
    return {it.path: _digest(it) for it in inputs_of(task)}


def inputs_of(task: TaskIntent) -> Sequence[TreeEntry]:
    """The files and links that a task reads; paths are relative to its directory."""
    if not task.inputs:
        return ()
    named = globs(task.inputs)
    try:
        return [
            it
            for it in file_tree.walk(task.directory)
            if it.kind in ("file", "link")
            and matches_any(it.path, named)
            and not is_temporary(it.path)
        ]
    except OSError:  # The task says what is wrong with its directory.
        return ()


def _digest(entry: TreeEntry) -> str:
    try:
        if entry.kind == "link":
            return f"-> {Path(entry.full).readlink()}"
        return file_tree.sha256_of(entry.full)
    except OSError:
        return _UNREADABLE


def _failed(task: TaskIntent, code: str, why: str, hint: str, said: tuple[str, ...]) -> Failed:
    return Failed(Problem(code, f"cannot run the task {task.name}: {why}", hint, task.where, said))


def _missing(task: TaskIntent, why: str, said: tuple[str, ...]) -> Failed:
    hint = "install the program that its command names, or correct the command"
    return _failed(task, "task-program-missing", why, hint, said)
