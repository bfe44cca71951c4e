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
from typing import Any

from algaenv.bundle.value import dataclass, field, replace
from algaenv.drivers.build import file_tree
from algaenv.drivers.build.detection.detect import detect_build
from algaenv.drivers.build.file_tree import DEPENDENCIES, Stamp
from algaenv.drivers.build.package_links import bring_packages, package_links
from algaenv.drivers.build.patterns import Glob, globs, is_temporary, matches_any
from algaenv.drivers.state import private_files, state_dir
from algaenv.model.intent import BuildIntent, BuildStep, ExtensionIntent
from algaenv.model.lock import Environment
from algaenv.model.problem import Problem, ResolveError, Where


@dataclass(frozen=True, slots=True)
class BuildJob:
    """A build: whose it is, and where it happens; `environ` is what its commands inherit."""

    intent: ExtensionIntent
    steps: tuple[BuildStep, ...]
    workspace: Path
    build_directory: Path
    log: Path
    below: str
    """The extension's source, relative to the workspace."""
    environ: Mapping[str, str] = field(repr=False)
    detected: tuple[str, ...] = ()
    """The tools that were found in the source, for people; empty where the spec has the steps."""
    programs: tuple[str, ...] = ()
    """Directories, relative to the workspace, whose programs are found by their names."""

    @property
    def tree(self) -> Path:
        """The mirror of the workspace."""
        return self.build_directory / "tree"

    @property
    def place(self) -> Path:
        """The source of the extension in the mirror, where the command runs."""
        return self.tree / self.below

    @property
    def outputs(self) -> tuple[Glob, ...]:
        """What any step says it makes."""
        return tuple(glob for step in self.steps for glob in globs(step.outputs))

    def problem(
        self,
        code: str,
        why: str,
        hint: str,
        detail: Sequence[str] = (),
        where: Where | None = None,
    ) -> ResolveError:
        """The error of this build; without a place of its own it has that of the extension."""
        summary = f"cannot build {self.intent.name}: {why}"
        place = where or self.intent.where
        return ResolveError(Problem(code, summary, hint, place, tuple(detail)))

    def cancelled(self) -> ResolveError:
        """The error of a build that the run gave up (`build-cancelled`)."""
        return self.problem("build-cancelled", "the run was interrupted", "run `algaenv up` again")


def make_job(
    intent: ExtensionIntent,
    build: BuildIntent,
    environment: Environment,
    environ: Mapping[str, str],
) -> BuildJob:
    """The build of an extension, its steps found in the source where the spec names none.

    Raises ResolveError (`build-workspace`, `build-undetected`).
    """
    workspace = os.path.realpath(build.workspace)
    below = os.path.relpath(os.path.realpath(intent.source), workspace)
    base = Path(os.path.realpath(state_dir.open_state_dir(environment)))
    job = BuildJob(
        intent=intent,
        steps=build.steps,
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
    if job.steps:
        return job
    found = detect_build(intent, build)
    return replace(job, steps=found.steps, detected=found.tools, programs=found.programs)


def state_while_mirroring(known: WorkspaceState, seen: WorkspaceState) -> WorkspaceState:
    """While the tree is brought up to date: all that was in it, and all that will be."""
    files = dict.fromkeys(
        known.files.keys() | seen.files.keys(), (file_tree.UNRELIABLE_STAMP, 0, "")
    )
    files |= {it: was for it, was in known.files.items() if seen.files.get(it, was)[1:] == was[1:]}
    directories = sorted({*known.directories, *seen.directories})
    links = {**known.links, **seen.links}
    return WorkspaceState(files, links, directories, results=known.results)


def state_after_mirroring(known: WorkspaceState, seen: WorkspaceState) -> WorkspaceState:
    """Once it is: what is new in it is copied again after a build that fails and may have
    changed it."""
    files = {
        it: about
        if (was := known.files.get(it)) is not None and was[1:] == about[1:]
        else (file_tree.UNRELIABLE_STAMP, 0, "")
        for it, about in seen.files.items()
    }
    return WorkspaceState(files, seen.links, seen.directories, results=known.results)


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A file that a step made; of a link `sha256` is its target, of a directory of installed
    dependencies both are empty."""

    kind: str
    mode: int
    sha256: str
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class StepResult:
    """One run of a step: the key of what it read, and what it made."""

    key: str
    inputs: list[str]
    """Empty for all but the last run."""
    made: dict[str, MadeFile]
    unmatched: list[str]
    """Globs that named nothing."""

    def to_json(self) -> list[object]:
        """As JSON holds it; `parse` is the inverse."""
        made = {path: [it.kind, it.mode, it.sha256, it.stamp] for path, it in self.made.items()}
        return [self.key, self.inputs, made, self.unmatched]

    @classmethod
    def parse(cls, loaded: Any) -> StepResult:
        """The result of `to_json`. Raises TypeError, ValueError or AttributeError."""
        key, inputs, made, unmatched = loaded
        files = {
            str(path): MadeFile(str(kind), int(mode), str(sha), parse_stamp(stamp))
            for path, (kind, mode, sha, stamp) in made.items()
        }
        return cls(str(key), [str(it) for it in inputs], files, [str(it) for it in unmatched])


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
    results: dict[str, list[StepResult]] = field(default_factory=dict)
    """Step → what its last runs made, the newest first."""

    @classmethod
    def read(cls, build_directory: Path) -> WorkspaceState:
        """The state of the last build; an empty one when there is none, or it is damaged."""
        try:
            loaded = json.loads(private_files.read_private(build_directory / "state.json"))
            results = loaded.pop("results", {})
            state = cls(**loaded)
            state.files = {
                path: (parse_stamp(stamp), int(mode), str(sha))
                for path, (stamp, mode, sha) in state.files.items()
            }
            state.results = {
                str(name): [StepResult.parse(it) for it in listed]
                for name, listed in results.items()
            }
            build_key(state, [])
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return cls()
        return state

    def write(self, build_directory: Path) -> None:
        """Keep it for the next build. Raises Failed."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        fields["results"] = {
            name: [it.to_json() for it in results] for name, results in self.results.items()
        }
        private_files.write_private(build_directory / "state.json", json.dumps(fields).encode())


def scan_workspace(job: BuildJob, known: WorkspaceState) -> WorkspaceState:
    """The workspace as it is; only files whose stamp is new or too young are read."""
    now = time.time_ns()
    outputs = job.outputs
    seen = WorkspaceState(key=known.key, made=known.made, results=known.results)
    try:
        for found in file_tree.walk(str(job.workspace)):
            # What the author built is no source; what editors write lives for a moment only.
            if is_temporary(found.path) or matches_any(found.path, outputs):
                continue
            with contextlib.suppress(FileNotFoundError):  # It has vanished meanwhile.
                _note(job, found, known, seen, now)
    except OSError as error:
        raise _unreadable(job, error) from error
    return seen


def _note(
    job: BuildJob,
    found: file_tree.TreeEntry,
    known: WorkspaceState,
    seen: WorkspaceState,
    now: int,
) -> None:
    match found.kind:
        case "directory":
            seen.directories.append(found.path)
        case "dependencies":
            seen.links[found.path] = found.full
        case "link" if _is_dependencies(found):
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


def _is_dependencies(link: file_tree.TreeEntry) -> bool:
    return Path(link.path).name == DEPENDENCIES and Path(link.full).is_dir()


def _mirrored_link_target(job: BuildJob, link: file_tree.TreeEntry) -> str:
    """Where a link leads in the mirror: to its place there, or to what is outside the workspace."""
    text = str(Path(link.full).readlink())
    target = os.path.realpath(link.full)
    if not target.startswith(f"{job.workspace}{os.sep}"):
        return target
    inside = os.path.relpath(target, job.workspace)
    return str(job.tree / inside) if Path(text).is_absolute() else text


def build_key(seen: WorkspaceState, commands: Sequence[object]) -> str:
    """Changes with everything in the workspace, and with the commands."""
    files = sorted((path, mode & 0o111, sha) for path, (_, mode, sha) in seen.files.items())
    return digest_of([files, sorted(seen.links.items()), sorted(seen.directories), commands])


def digest_of(value: object) -> str:
    """SHA-256 over a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def parse_stamp(loaded: Sequence[int]) -> Stamp:
    """A stamp as JSON holds it. Raises TypeError or ValueError."""
    size, modified, changed, inode = loaded
    return (int(size), int(modified), int(changed), int(inode))


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
                    if name in gone and path.name == DEPENDENCIES:
                        private_files.remove_path(path)
                    else:
                        path.unlink() if name in gone else path.rmdir()
        for name, target in seen.links.items():
            path = tree / name
            if path.name == DEPENDENCIES and target == str(job.workspace / name):
                bring_packages(path, _package_links(job, target))
            elif not path.is_symlink() or str(path.readlink()) != target:
                private_files.remove_path(path)
                path.symlink_to(target)
    root = str(tree)
    for name, about in seen.files.items():
        kept = known.files.get(name)
        there = os.path.isfile(f"{root}/{name}")  # noqa: PTH113 - thousands of files
        if kept is None or kept[1:] != about[1:] or not there:
            _copy(job, name, about[1])


def _package_links(job: BuildJob, directory: str) -> dict[str, str | None]:
    try:
        return package_links(Path(directory), job.workspace, job.tree)
    except OSError as error:
        raise _unreadable(job, error) from error


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
    target = job.tree / name
    try:
        source = open(job.workspace / name, "rb", opener=file_tree.open_no_follow)  # noqa: SIM115
    except OSError as error:
        raise _unreadable(job, error) from error
    with source, private_files.translate_os_errors(target):
        private_files.remove_path(target)
        with target.open("xb") as copy:
            file_tree.copy_content(source, copy)
        status = os.fstat(source.fileno())
        target.chmod(mode | stat.S_IRUSR | stat.S_IWUSR)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _unreadable(job: BuildJob, error: OSError) -> ResolveError:
    return job.problem(
        "build-unreadable",
        f"{error.filename or job.workspace}: {error.strerror or error}",
        "let the current user read the whole workspace",
    )
