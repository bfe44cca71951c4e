"""Builds an extension by its author's command, in a private mirror of its workspace.

A `plan` builds too, and must change nothing: the command runs in a copy below the environment's
state directory, so nothing in the author's tree is written. What the command makes stays in the
copy, so that a tool that builds incrementally still does, until the author deletes something: what
was made of that must not be packed. When nothing changed, nothing runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import signal
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from algaenv.bundle.value import dataclass
from algaenv.drivers.build import file_tree
from algaenv.drivers.build.file_tree import Stamp
from algaenv.drivers.build.output import BuildOutput
from algaenv.drivers.state import environment_lock, private_files, state_dir
from algaenv.model.intent import BuildIntent, ExtensionIntent
from algaenv.model.lock import Environment
from algaenv.model.problem import Problem, ResolveError
from algaenv.reconcile.protocols import OnProgress
from algaenv.system import processes

if TYPE_CHECKING:
    import subprocess

MARK: Final = "ALGAENV_BUILD"
"""The variable by which the processes of a build are found; its value is the build directory."""

_CHUNK = 64 * 1024
_NOT_FOUND = 127
"""With which a shell ends that does not find the program."""
_PAUSE = 0.05
_GRACE = 2.0


def build(
    intent: ExtensionIntent,
    environment: Environment,
    on_progress: OnProgress,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    environ: Mapping[str, str] = os.environ,
) -> Path:
    """The directory that holds the built extension; the command runs only if something changed.

    `environ` is what the command inherits. What it prints goes to `say`, line by line, and to
    `logs/build-<extension>.log` in the state directory; of a lot both get a part, and the author's
    files go by their own paths in either. Raises ResolveError (`build-failed`,
    `build-program-missing`, `build-timeout`, `build-cancelled`, `build-workspace`,
    `build-unreadable`) and what the state directory raises. Nothing of the command is left running,
    however it ends.
    """
    if intent.build is None:
        return Path(intent.source)
    job = _job(intent, intent.build, environment, environ)
    with private_files.translate_os_errors(job.build_directory):
        job.build_directory.mkdir(mode=private_files.PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    with environment_lock.exclusive_file_lock(
        job.build_directory / "lock", on_progress, cancelled
    ) as held:
        if not held:
            raise job.cancelled()
        _build_if_changed(job, on_progress, cancelled)
    return job.place


@dataclass(frozen=True, slots=True)
class _Job:
    intent: ExtensionIntent
    build: BuildIntent
    workspace: Path
    build_directory: Path
    log: Path
    below: str
    """The extension's source, relative to the workspace."""
    environ: Mapping[str, str] = field(repr=False)

    @property
    def tree(self) -> Path:
        return self.build_directory / "tree"

    @property
    def place(self) -> Path:
        return self.tree / self.below

    @property
    def shown(self) -> str:
        return self.build.command[0] if self.build.shell else " ".join(self.build.command)

    def problem(self, code: str, why: str, hint: str, detail: Sequence[str] = ()) -> ResolveError:
        summary = f"cannot build {self.intent.name}: {why}"
        return ResolveError(Problem(code, summary, hint, self.intent.where, tuple(detail)))

    def cancelled(self) -> ResolveError:
        return self.problem("build-cancelled", "the run was interrupted", "run `algaenv up` again")


def _job(
    intent: ExtensionIntent,
    build: BuildIntent,
    environment: Environment,
    environ: Mapping[str, str],
) -> _Job:
    workspace = os.path.realpath(build.workspace)
    below = os.path.relpath(os.path.realpath(intent.source), workspace)
    base = Path(os.path.realpath(state_dir.open_state_dir(environment)))
    job = _Job(
        intent=intent,
        build=build,
        workspace=Path(workspace),
        build_directory=base / "build" / intent.name,
        log=base / "logs" / f"build-{intent.name}.log",
        below=below,
        environ=environ,
    )
    if Path(below).parts[:1] == (os.pardir,):
        raise job.problem(
            "build-workspace",
            f"its source is not inside its workspace {workspace}",
            "name a workspace that holds the source, or leave it out",
        )
    return job


def _build_if_changed(job: _Job, on_progress: OnProgress, cancelled: Callable[[], bool]) -> None:
    running = job.build_directory / "running"
    if running.exists():
        processes.kill_with_variable(MARK, str(job.build_directory))
    known = _WorkspaceState.read(job.build_directory)
    seen = _scan_workspace(job, known)
    build = job.build
    command = [build.command, build.shell, job.below, sorted(build.environment.items())]
    key = _build_key(seen, command)
    if known.key != key or known.made != file_tree.tree_digest(job.tree):
        # Until all has ended well nothing counts as built. Whatever may be in the tree is on record
        # before it gets there: what the author deletes is taken out again however a run ends.
        _state_while_mirroring(known, seen).write(job.build_directory)
        _mirror(job, known, seen)
        _state_after_mirroring(known, seen).write(job.build_directory)
        private_files.write_private(running, b"")
        try:
            _run(job, on_progress, cancelled)
        finally:
            private_files.remove_path(running)
        seen.key, seen.made = key, file_tree.tree_digest(job.tree)
    if seen != known:
        seen.write(job.build_directory)


def _state_while_mirroring(known: _WorkspaceState, seen: _WorkspaceState) -> _WorkspaceState:
    """While the tree is brought up to date: all that was in it, and all that will be."""
    files = dict.fromkeys(
        known.files.keys() | seen.files.keys(), (file_tree.UNRELIABLE_STAMP, 0, "")
    )
    files |= {it: was for it, was in known.files.items() if seen.files.get(it, was)[1:] == was[1:]}
    directories = sorted({*known.directories, *seen.directories})
    return _WorkspaceState(files, {**known.links, **seen.links}, directories)


def _state_after_mirroring(known: _WorkspaceState, seen: _WorkspaceState) -> _WorkspaceState:
    """Once it is: what is new in it is copied again after a build that fails and may have
    changed it."""
    files = {
        it: about
        if (was := known.files.get(it)) is not None and was[1:] == about[1:]
        else (file_tree.UNRELIABLE_STAMP, 0, "")
        for it, about in seen.files.items()
    }
    return _WorkspaceState(files, seen.links, seen.directories)


@dataclass(slots=True)
class _WorkspaceState:
    """What is known of a workspace: file → stamp, mode and SHA-256; link → what it leads to."""

    files: dict[str, tuple[Stamp, int, str]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    directories: list[str] = field(default_factory=list)
    key: str = ""
    """Of the build that last ended well; empty when none did since the tree was touched."""
    made: str = ""
    """The state it left the tree in."""

    @classmethod
    def read(cls, build_directory: Path) -> _WorkspaceState:
        try:
            state = cls(**json.loads(private_files.read_private(build_directory / "state.json")))
            state.files = {
                path: ((int(a), int(b), int(c), int(d)), int(mode), str(sha))
                for path, ((a, b, c, d), mode, sha) in state.files.items()
            }
            _build_key(state, [])
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return cls()
        return state

    def write(self, build_directory: Path) -> None:
        fields = {name: getattr(self, name) for name in self.__slots__}
        private_files.write_private(build_directory / "state.json", json.dumps(fields).encode())


def _scan_workspace(job: _Job, known: _WorkspaceState) -> _WorkspaceState:
    """The workspace as it is; only files whose stamp is new or too young are read."""
    now = time.time_ns()
    seen = _WorkspaceState(key=known.key, made=known.made)
    try:
        for found in file_tree.walk(str(job.workspace)):
            match found.kind:
                case "directory":
                    seen.directories.append(found.path)
                case "dependencies":
                    seen.links[found.path] = found.full
                case "link":
                    seen.links[found.path] = _mirrored_link_target(job, found)
                case "file":
                    stamp = file_tree.stamp_of(found.status)
                    mode = stat.S_IMODE(found.status.st_mode)
                    kept = known.files.get(found.path)
                    sha = kept[2] if kept and kept[0] == stamp else file_tree.sha256_of(found.full)
                    reliable = file_tree.is_stamp_reliable(stamp, now)
                    believed = stamp if reliable else file_tree.UNRELIABLE_STAMP
                    seen.files[found.path] = (believed, mode, sha)
    except OSError as error:
        raise _unreadable(job, error) from error
    return seen


def _mirrored_link_target(job: _Job, link: file_tree.TreeEntry) -> str:
    """Where a link leads in the mirror: to its place there, or to what is outside the workspace."""
    text = str(Path(link.full).readlink())
    target = os.path.realpath(link.full)
    if not target.startswith(f"{job.workspace}{os.sep}"):
        return target
    inside = os.path.relpath(target, job.workspace)
    return str(job.tree / inside) if Path(text).is_absolute() else text


def _build_key(seen: _WorkspaceState, command: Sequence[object]) -> str:
    """Changes with everything a build depends on."""
    files = sorted((path, mode & 0o111, sha) for path, (_, mode, sha) in seen.files.items())
    text = json.dumps([files, sorted(seen.links.items()), sorted(seen.directories), command])
    return hashlib.sha256(text.encode()).hexdigest()


def _mirror(job: _Job, known: _WorkspaceState, seen: _WorkspaceState) -> None:
    """Bring the author's changes into the tree; what the build made there is left alone.

    Nothing is written or removed through a link: one that the build made may lead anywhere.
    """
    tree = job.tree
    with private_files.translate_os_errors(tree):
        for directory in ("", *sorted(seen.directories)):
            path = tree / directory
            if path.is_symlink() or not path.is_dir():
                private_files.remove_path(path)
                path.mkdir(mode=private_files.PRIVATE_DIRECTORY)
        gone = (known.files.keys() | known.links.keys()) - seen.files.keys() - seen.links.keys()
        if known.files.keys() - seen.files.keys() or known.links.keys() - seen.links.keys():
            _remove_build_results(tree, seen)
        for name in sorted(gone) + sorted(set(known.directories) - {*seen.directories})[::-1]:
            path = tree / name
            if os.path.realpath(path.parent) == str(path.parent):
                with contextlib.suppress(OSError):
                    path.unlink() if name in gone else path.rmdir()
        for name, target in seen.links.items():
            path = tree / name
            if not path.is_symlink() or str(path.readlink()) != target:
                private_files.remove_path(path)
                path.symlink_to(target)
    for name, about in seen.files.items():
        kept = known.files.get(name)
        if kept is None or kept[1:] != about[1:] or not (tree / name).is_file():
            _copy(job, name, about[1])


def _remove_build_results(tree: Path, seen: _WorkspaceState) -> None:
    """Take out what the build made, for some of it may come from what the author has deleted.

    A command that copies a directory copies nothing away. Installed dependencies and caches that
    say so stay: no bundle is packed from them.
    """
    emptied = []
    for found in list(file_tree.walk(str(tree))):
        if found.kind == "directory":
            emptied.append(found.full)
        elif found.kind != "dependencies" and not (
            found.path in seen.files or found.path in seen.links
        ):
            private_files.remove_path(Path(found.full))
    for directory in reversed(emptied):
        if os.path.relpath(directory, tree) not in seen.directories:
            with contextlib.suppress(OSError):
                Path(directory).rmdir()


def _copy(job: _Job, name: str, mode: int) -> None:
    import shutil

    target = job.tree / name
    try:
        source = open(job.workspace / name, "rb", opener=file_tree.open_no_follow)  # noqa: SIM115
    except OSError as error:
        raise _unreadable(job, error) from error
    with source, private_files.translate_os_errors(target):
        private_files.remove_path(target)
        with target.open("xb") as copy:
            shutil.copyfileobj(source, copy)
        status = os.fstat(source.fileno())
        target.chmod(mode | stat.S_IRUSR | stat.S_IWUSR)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _unreadable(job: _Job, error: OSError) -> ResolveError:
    return job.problem(
        "build-unreadable",
        f"{error.filename or job.workspace}: {error.strerror or error}",
        "let the current user read the whole workspace",
    )


def _run(job: _Job, on_progress: OnProgress, cancelled: Callable[[], bool]) -> None:
    """Run the command and see it end well; however it ends, nothing of it stays running."""
    on_progress(f"$ {job.shown}")
    with private_files.translate_os_errors(job.log):
        job.log.parent.mkdir(mode=private_files.PRIVATE_DIRECTORY, exist_ok=True)
        log = job.log.open("wb", buffering=0)
        job.log.chmod(private_files.PRIVATE_FILE)
    output = BuildOutput(job.tree, job.workspace, log, on_progress)
    with log, _start(job) as process:
        handle = os.pidfd_open(process.pid)
        try:
            _wait_for_end(job, process, handle, output, cancelled)
        except BaseException:
            for number in (signal.SIGTERM, signal.SIGKILL):
                _signal(process, number)
                select.select([handle], [], [], _GRACE)
            processes.kill_with_variable(MARK, str(job.build_directory))
            raise
        finally:
            output.end()
            os.close(handle)
    _raise_on_failure(job, process.returncode, output.tail)


def _start(job: _Job) -> subprocess.Popen[bytes]:
    import subprocess

    argv = ["/bin/sh", "-c", job.shown] if job.build.shell else list(job.build.command)
    try:
        return subprocess.Popen(
            argv,
            cwd=job.place,
            env={
                **job.environ,
                **job.build.environment,
                "ALGAENV": "1",
                MARK: str(job.build_directory),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise _program_missing(job, f"{argv[0]}: {error.strerror}", ()) from error


def _wait_for_end(
    job: _Job,
    process: subprocess.Popen[bytes],
    handle: int,
    output: BuildOutput,
    cancelled: Callable[[], bool],
) -> None:
    deadline = time.monotonic() + job.build.timeout
    pipe = process.stdout.fileno() if process.stdout else -1
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    poll.register(handle, select.POLLIN)
    flows, runs = True, True
    while True:
        ready = dict(poll.poll(_PAUSE * 1000))
        if pipe in ready:
            chunk = os.read(pipe, _CHUNK)
            output.write(chunk)
            if not chunk:
                poll.unregister(pipe)
                flows = False
        if handle in ready:
            # What it left in the background would keep the pipe, and write to the tree. It is
            # not waited for yet, so that its number still means its group and no other.
            _signal(process, signal.SIGKILL)
            poll.unregister(handle)
            runs = False
        if not runs and not (flows and ready):
            return output.end()
        if cancelled():
            raise job.cancelled()
        if time.monotonic() > deadline:
            raise job.problem(
                "build-timeout",
                f"`{job.shown}` ran longer than {job.build.timeout:g} s",
                f"raise its timeout in the spec, or see in {job.log} what it waits for",
                output.tail,
            )


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _raise_on_failure(job: _Job, code: int, tail: Sequence[str]) -> None:
    if code == _NOT_FOUND and job.build.shell:
        raise _program_missing(job, f"`{job.shown}` ended with exit code {code}", tail)
    if code:
        how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
        hint = f"mend what it complains of; all it said is in {job.log}"
        raise job.problem("build-failed", f"`{job.shown}` ended with {how}", hint, tail)


def _program_missing(job: _Job, why: str, tail: Sequence[str]) -> ResolveError:
    hint = "install the program that its command names, or correct the command"
    return job.problem("build-program-missing", why, hint, tail)
