"""Paths in a spec: resolved, checked, and warned of when they expose too much; and our own data.

Checks never raise: a name that is too long or out of reach does not exist. The data of this package
are the ready-made environments and the profiles of engines.
"""

from __future__ import annotations

import os
import os.path
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Where
from algaenv.spec.diagnostics import Diagnostics

if TYPE_CHECKING:
    from algaenv.model.intent import Profile
_ENGINES = "engines"


def absolute(home: Path, text: str) -> str:
    """`text` as an absolute path that starts at `home`, with `~`, `.` and `..` worked out."""
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # a user that this machine does not know
        path = Path(text)
    return os.path.normpath(home / path)


def is_directory(path: str) -> bool:
    """Whether a directory is there."""
    return stat.S_ISDIR(_mode(path))


def is_file(path: str) -> bool:
    """Whether a regular file is there."""
    return stat.S_ISREG(_mode(path))


def _mode(path: str) -> int:
    try:
        return Path(path).stat().st_mode
    except (OSError, ValueError):
        return 0


SPEC_FILE = "algaenv.yaml"


def find_spec(start: Path) -> Path | None:
    """`algaenv.yaml` in `start` or the nearest parent that has one; None when none has."""
    here = start.absolute()
    for directory in (here, *here.parents):
        candidate = directory / SPEC_FILE
        try:
            if candidate.is_file():
                return candidate
        except OSError:  # a directory out of reach has no spec for us
            continue
    return None


MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class PathResolver:
    """Resolves and checks the paths of one load."""

    diagnostics: Diagnostics

    def absolute(self, text: str, where: Where) -> str:
        """`text` as an absolute path, `~` and `..` worked out."""
        return absolute(self.diagnostics.base_directories[where.file], text)

    def source(self, text: str, where: Where) -> str:
        """The directory of an extension; adds an error unless it holds a manifest."""
        path = self.absolute(text, where)
        if not is_directory(path):
            missing, hint = "there is no such directory", "correct the path"
        elif not is_file(f"{path}/{MANIFEST}"):
            missing, hint = f"it holds no {MANIFEST}", "name the directory of the manifest"
        else:
            return path
        self.diagnostics.add_error(
            "spec-source-missing", f"use {text} as a source: {missing}", hint, where
        )
        return path

    def workspace(self, text: str, source: str, where: Where) -> str:
        """The directory that a build copies; adds an error unless the source lies inside."""
        path = self.absolute(text, where)
        if not is_directory(path):
            self.diagnostics.add_error(
                "spec-workspace",
                f"use {text} as a workspace: there is no such directory",
                "correct the path",
                where,
            )
        elif not _is_inside(source, path):
            self.diagnostics.add_error(
                "spec-workspace",
                f"use {text} as a workspace: the source lies outside of it",
                "name a directory that the source is in",
                where,
            )
        return path

    def context(self, text: str, dockerfile: str, where: Where) -> str:
        """The directory that an image is built from; adds an error without its Dockerfile."""
        path = self.absolute(text, where)
        if not is_directory(path):
            missing, hint = "there is no such directory", "correct the path"
        elif not is_file(f"{path}/{dockerfile}"):
            missing, hint = f"it holds no {dockerfile}", "name the file in `dockerfile`"
        else:
            return path
        self.diagnostics.add_error(
            "spec-context-missing", f"build an image from {text}: {missing}", hint, where
        )
        return path


def _is_inside(path: str, directory: str) -> bool:
    real = os.path.realpath(directory)
    return os.path.commonpath([os.path.realpath(path), real]) == real


_SOCKETS: Final = re.compile(r"(?:docker|podman|containerd|crio|buildkitd)\.sock")
_SYSTEM_DIRECTORIES: Final = frozenset(
    map(Path, ("/boot", "/dev", "/etc", "/home", "/proc", "/root", "/run", "/sys", "/var/run"))
)
_CREDENTIAL_PATHS: Final = (
    ".aws",
    ".config",
    ".docker",
    ".gnupg",
    ".kube",
    ".netrc",
    ".npmrc",
    ".ssh",
)


def warn_broad_mount(source: str, what: str, where: Where, diagnostics: Diagnostics) -> None:
    """Warn of a mount, or a build context, that gives away more than an extension needs.

    `source` is absolute; `what` completes "cannot ".
    """
    if given := _exposure(Path(source), diagnostics):
        hint = "mount the one directory that is needed, or trust the author of this spec"
        diagnostics.add_warning("spec-mount-wide", f"{what} {source} safely: {given}", hint, where)


def warn_outside_secret(file: Path, named: str, where: Where, diagnostics: Diagnostics) -> None:
    """Warn of a secret that is read from a file outside the directory of the spec."""
    home = diagnostics.base_directories[where.file].resolve()
    if not file.resolve().is_relative_to(home):
        diagnostics.add_warning(
            "spec-secret-outside",
            f"tell whether {named} is meant for this: it lies outside of {home}",
            "keep the secret beside the spec, or trust the author of this spec",
            where,
        )


def _exposure(source: Path, diagnostics: Diagnostics) -> str:
    """What a mount of `source` exposes; empty when it is nothing special."""
    real = Path(os.path.realpath(source))
    if _SOCKETS.fullmatch(source.name) or _SOCKETS.fullmatch(real.name) or _is_socket(real):
        return "it is a socket, and with that of an engine one can do anything on this machine"
    if real == Path("/"):
        return "it is the whole machine"
    home = Path(os.path.realpath(diagnostics.variable("HOME") or Path.home()))
    if home.is_relative_to(real):
        return "it holds your home directory, with the keys in it"
    if any(real.is_relative_to(home / name) for name in _CREDENTIAL_PATHS):
        return "keys and passwords of yours are usually there"
    if real in _SYSTEM_DIRECTORIES or source in _SYSTEM_DIRECTORIES:
        return "it is a directory of the system"
    return ""


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def stacks_root() -> Path:
    """`stacks` inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "stacks"
    return installed if installed.is_dir() else package.parent / "stacks"


def names_in(root: Path) -> tuple[str, ...]:
    """The stacks of a directory: its sub-directories that hold a spec."""
    return tuple(sorted(path.parent.name for path in root.glob(f"*/{SPEC_FILE}")))


def profile_names() -> tuple[str, ...]:
    """The engines that are shipped."""
    return tuple(sorted(path.stem for path in (stacks_root() / _ENGINES).glob("*.yaml")))


def profile_file(name: str) -> Path:
    """Where the profile of a shipped engine lies, whether or not it exists."""
    return stacks_root() / _ENGINES / f"{name}.yaml"


def profile(name: str) -> Profile:
    """The profile of a shipped engine; raises SpecError for an unknown or broken one."""
    from algaenv.model.problem import SpecError
    from algaenv.spec.diagnostics import Diagnostics
    from algaenv.spec.resolve.engines import EngineRegistry

    diagnostics = Diagnostics({})
    shipped = EngineRegistry(diagnostics).shipped(name, None)
    if shipped is None:
        raise SpecError.of(diagnostics.problems)
    return shipped.profile
