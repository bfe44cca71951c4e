"""Packages of npm, installed once for each lock file, and the tools that algaenv brings itself.

Builds run this as a program, in a directory of their mirror:

    python -P -m algaenv.drivers.build.node_packages install DIRECTORY
    python -P -m algaenv.drivers.build.node_packages run TOOL ARGUMENT…

`install` puts what the lock file of DIRECTORY names into its `node_modules`. The files are copies
of one installation in the user's cache, for a build may write into them; a file system that can
share their storage does. `run` executes esbuild or jco in the versions of
`node_tools/package-lock.json`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from algaenv.drivers.build import file_tree
from algaenv.drivers.state import private_files

TOOLS: Final = Path(__file__).with_name("node_tools")
"""The project whose lock file pins the tools."""
ALGA_WIT: Final = "@alga"
"""An argument that stands for the directory of Alga's own WIT."""
KEPT: Final = 8
"""Installations that stay in the cache, the last used first."""
_MANIFESTS: Final = ("package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc")
_INSTALL: Final = ("npm", "ci", "--no-audit", "--no-fund", "--prefer-offline")
_FRESH: Final = ".fresh-"
"""Before the key of an installation that has begun."""
_NOT_FOUND = 127


class InstallError(Exception):
    """Packages cannot be installed; `code` is the exit code to end with."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Where installations are kept, below `$XDG_CACHE_HOME` or `~/.cache`."""
    configured = environ.get("XDG_CACHE_HOME", "")
    base = Path(configured) if configured.startswith("/") else Path("~/.cache").expanduser()
    return base / "algaenv" / "node"


def tools_digest() -> str:
    """Changes with the versions of the tools."""
    return hashlib.sha256((TOOLS / "package-lock.json").read_bytes()).hexdigest()[:16]


def installed(project: Path, cache: Path, environ: Mapping[str, str]) -> Path:
    """The directory in `cache` whose `node_modules` is what the project's lock file names.

    Runs npm where there is none yet; a second process waits for the first. Raises InstallError and
    OSError.
    """
    key = installation_key(project, environ)
    place = cache / key
    cache.mkdir(mode=private_files.PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    with _lock(cache / f".{key}.lock"):
        if not place.is_dir():
            fresh = cache / f"{_FRESH}{key}"
            private_files.remove_path(fresh)  # Of an installation that was ended.
            fresh.mkdir(mode=private_files.PRIVATE_DIRECTORY)
            try:
                _install(project, fresh, environ)
                fresh.replace(place)
            finally:
                private_files.remove_path(fresh)
            _prune(cache, place)
        os.utime(place)
    return place


def copy(installation: Path, target: Path) -> None:
    """Make `target` a copy of the `node_modules` of an installation. Raises OSError."""
    private_files.remove_path(target)
    source = str(installation / file_tree.DEPENDENCIES)
    for directory, directories, names in os.walk(source):
        there = f"{target}{directory.removeprefix(source)}"
        Path(there).mkdir()
        for name in [*names, *(it for it in directories if Path(directory, it).is_symlink())]:
            original, made = Path(directory, name), Path(there, name)
            if original.is_symlink():
                made.symlink_to(original.readlink())
            else:
                file_tree.copy_file(original, made)
                shutil.copystat(original, made)


def installation_key(project: Path, environ: Mapping[str, str]) -> str:
    """The name in the cache of what the lock file of a project names, for this node and npm."""
    digest = hashlib.sha256()
    for name in _MANIFESTS:
        with contextlib.suppress(FileNotFoundError):
            digest.update(f"{name}\n".encode() + (project / name).read_bytes())
    digest.update(f"{_node_version(environ)}\n{npm_version(environ)}\n".encode())
    for name, value in sorted(environ.items()):
        if name == "NODE_ENV" or name.lower().startswith("npm_config_"):
            digest.update(f"{name}={value}\n".encode())
    return digest.hexdigest()[:32]


def _node_version(environ: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            ["node", "--version"],
            env=dict(environ),
            capture_output=True,
            check=False,
            text=True,
            start_new_session=True,
        )
    except OSError as error:
        raise InstallError(
            f"cannot run node: {error.strerror}; install Node.js 20 or later", _NOT_FOUND
        ) from error
    return done.stdout.strip()


def npm_version(environ: Mapping[str, str]) -> str:
    """Read from its package, as npm takes long to say it; empty where there is none."""
    found = shutil.which("npm", path=environ.get("PATH"))
    if found is None:
        return ""
    program = Path(os.path.realpath(found))
    try:
        return str(json.loads((program.parents[1] / "package.json").read_bytes())["version"])
    except (OSError, ValueError, LookupError, TypeError):
        asked = subprocess.run(
            [found, "--version"],
            env=dict(environ),
            capture_output=True,
            check=False,
            text=True,
            start_new_session=True,
        )
        return asked.stdout.strip()


def _install(project: Path, place: Path, environ: Mapping[str, str]) -> None:
    for name in _MANIFESTS:
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(project / name, place / name)
    print(f"installing the packages of {project / 'package.json'}", flush=True)  # noqa: T201
    try:
        # A build that is given up ends it by its variables, wherever it runs.
        code = subprocess.run(
            _INSTALL, cwd=place, env=dict(environ), check=False, start_new_session=True
        ).returncode
    except OSError as error:
        raise InstallError(
            f"cannot run npm: {error.strerror}; install npm beside Node.js", _NOT_FOUND
        ) from error
    if code:
        raise InstallError(
            f"cannot install packages: npm ended with exit code {code}; it needs its registry, or "
            "its cache, once for each lock file",
            1,
        )
    (place / ".npmrc").unlink(missing_ok=True)  # It may hold a token, and is of no more use.
    (place / file_tree.DEPENDENCIES).mkdir(exist_ok=True)


@contextlib.contextmanager
def _lock(file: Path, *, wait: bool = True) -> Iterator[None]:
    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _prune(cache: Path, newest: Path) -> None:
    for begun in cache.glob(f"{_FRESH}*"):
        key = begun.name.removeprefix(_FRESH)
        with contextlib.suppress(OSError), _lock(cache / f".{key}.lock", wait=False):
            private_files.remove_path(begun)
    found = [it for it in cache.iterdir() if it.is_dir() and not it.name.startswith(".")]
    found.sort(key=lambda it: it.stat().st_mtime, reverse=True)
    for old in [it for it in found if it != newest][KEPT - 1 :]:
        with contextlib.suppress(OSError):
            private_files.remove_path(old)


def _run(tool: str, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    from algaenv.spec.paths import stacks_root

    place = installed(TOOLS, cache_directory(environ), environ)
    program = place / file_tree.DEPENDENCIES / ".bin" / tool
    wit = str(stacks_root() / "samples" / "wit")
    words = [tool, *(wit if it == ALGA_WIT else it for it in arguments)]
    os.execve(program, words, dict(environ))  # noqa: S606


def main(argv: Sequence[str]) -> int:
    """Run as a program; returns the exit code."""
    environ = os.environ
    try:
        match argv:
            case ["install", directory]:
                project = Path(directory).absolute()
                place = installed(project, cache_directory(environ), environ)
                copy(place, project / file_tree.DEPENDENCIES)
            case ["run", tool, *arguments]:
                _run(tool, arguments, environ)
            case _:
                raise InstallError("cannot do this: write `install` or `run`", 2)
    except InstallError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.code
    except OSError as error:
        print(f"cannot install packages: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
