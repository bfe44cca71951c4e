"""The private mirror of an extension's workspace, in which its build command runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from algaenv.bundle.value import dataclass, field
from algaenv.drivers.build import file_tree
from algaenv.drivers.build.file_tree import Stamp
from algaenv.drivers.state import private_files, state_dir
from algaenv.model.intent import BuildIntent, BuildStep, ExtensionIntent
from algaenv.model.lock import Environment
from algaenv.model.problem import Problem, ResolveError

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True)
class BuildJob:
    """A build: whose it is, and where it happens; `environ` is what its command inherits."""

    intent: ExtensionIntent
    step: BuildStep
    workspace: Path
    build_directory: Path
    log: Path
    below: str
    """The extension's source, relative to the workspace."""
    environ: Mapping[str, str] = field(repr=False)

    @property
    def tree(self) -> Path:
        """The mirror of the workspace."""
        return self.build_directory / "tree"

    @property
    def place(self) -> Path:
        """The source of the extension in the mirror, where the command runs."""
        return self.tree / self.below

    @property
    def shown(self) -> str:
        """The command, for people."""
        return self.step.command[0] if self.step.shell else " ".join(self.step.command)

    def problem(self, code: str, why: str, hint: str, detail: Sequence[str] = ()) -> ResolveError:
        """The error of this build."""
        summary = f"cannot build {self.intent.name}: {why}"
        return ResolveError(Problem(code, summary, hint, self.intent.where, tuple(detail)))

    def cancelled(self) -> ResolveError:
        """The error of a build that the run gave up (`build-cancelled`)."""
        return self.problem("build-cancelled", "the run was interrupted", "run `algaenv up` again")


def make_job(
    intent: ExtensionIntent,
    build: BuildIntent,
    environment: Environment,
    environ: Mapping[str, str],
) -> BuildJob:
    """The build of an extension. Raises ResolveError (`build-workspace`)."""
    workspace = os.path.realpath(build.workspace)
    below = os.path.relpath(os.path.realpath(intent.source), workspace)
    base = Path(os.path.realpath(state_dir.open_state_dir(environment)))
    job = BuildJob(
        intent=intent,
        step=build.steps[0],
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


def state_while_mirroring(known: WorkspaceState, seen: WorkspaceState) -> WorkspaceState:
    """While the tree is brought up to date: all that was in it, and all that will be."""
    files = dict.fromkeys(
        known.files.keys() | seen.files.keys(), (file_tree.UNRELIABLE_STAMP, 0, "")
    )
    files |= {it: was for it, was in known.files.items() if seen.files.get(it, was)[1:] == was[1:]}
    directories = sorted({*known.directories, *seen.directories})
    return WorkspaceState(files, {**known.links, **seen.links}, directories)


def state_after_mirroring(known: WorkspaceState, seen: WorkspaceState) -> WorkspaceState:
    """Once it is: what is new in it is copied again after a build that fails and may have
    changed it."""
    files = {
        it: about
        if (was := known.files.get(it)) is not None and was[1:] == about[1:]
        else (file_tree.UNRELIABLE_STAMP, 0, "")
        for it, about in seen.files.items()
    }
    return WorkspaceState(files, seen.links, seen.directories)


@dataclass(slots=True)
class WorkspaceState:
    """What is known of a workspace: file → stamp, mode and SHA-256; link → what it leads to."""

    files: dict[str, tuple[Stamp, int, str]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    directories: list[str] = field(default_factory=list)
    key: str = ""
    """Of the build that last ended well; empty when none did since the tree was touched."""
    made: str = ""
    """The state it left the tree in."""

    @classmethod
    def read(cls, build_directory: Path) -> WorkspaceState:
        """The state of the last build; an empty one when there is none, or it is damaged."""
        try:
            state = cls(**json.loads(private_files.read_private(build_directory / "state.json")))
            state.files = {
                path: ((int(a), int(b), int(c), int(d)), int(mode), str(sha))
                for path, ((a, b, c, d), mode, sha) in state.files.items()
            }
            build_key(state, [])
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return cls()
        return state

    def write(self, build_directory: Path) -> None:
        """Keep it for the next build. Raises Failed."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        private_files.write_private(build_directory / "state.json", json.dumps(fields).encode())


def scan_workspace(job: BuildJob, known: WorkspaceState) -> WorkspaceState:
    """The workspace as it is; only files whose stamp is new or too young are read."""
    now = time.time_ns()
    seen = WorkspaceState(key=known.key, made=known.made)
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


def _mirrored_link_target(job: BuildJob, link: file_tree.TreeEntry) -> str:
    """Where a link leads in the mirror: to its place there, or to what is outside the workspace."""
    text = str(Path(link.full).readlink())
    target = os.path.realpath(link.full)
    if not target.startswith(f"{job.workspace}{os.sep}"):
        return target
    inside = os.path.relpath(target, job.workspace)
    return str(job.tree / inside) if Path(text).is_absolute() else text


def build_key(seen: WorkspaceState, command: Sequence[object]) -> str:
    """Changes with everything a build depends on."""
    files = sorted((path, mode & 0o111, sha) for path, (_, mode, sha) in seen.files.items())
    text = json.dumps([files, sorted(seen.links.items()), sorted(seen.directories), command])
    return hashlib.sha256(text.encode()).hexdigest()


def mirror(job: BuildJob, known: WorkspaceState, seen: WorkspaceState) -> None:
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


def _remove_build_results(tree: Path, seen: WorkspaceState) -> None:
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


def _copy(job: BuildJob, name: str, mode: int) -> None:
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


def _unreadable(job: BuildJob, error: OSError) -> ResolveError:
    return job.problem(
        "build-unreadable",
        f"{error.filename or job.workspace}: {error.strerror or error}",
        "let the current user read the whole workspace",
    )
