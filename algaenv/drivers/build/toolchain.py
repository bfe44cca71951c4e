"""The tool chains that a step uses, and their versions: another version makes other files.

Asking a tool costs more than a build with nothing to do. So an answer is kept, and holds as long as
the program is the same file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from algaenv.drivers.build.file_tree import stamp_of
from algaenv.drivers.build.workspace import BuildJob
from algaenv.drivers.state import private_files
from algaenv.model.intent import BuildStep

_ASK_SECONDS = 20
_WORD = re.compile(r"[\w.-]+")
_NODE: Final = (
    *("node", "npm", "npx", "pnpm", "pnpx", "yarn"),
    *("tsc", "tsx", "vite", "esbuild", "jco", "rollup", "webpack", "swc"),
)
_PROGRAMS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(_NODE, ("node",)),
    **dict.fromkeys(("cargo", "rustc", "cargo-component"), ("cargo", "rustc")),
    "go": ("go",),
    "tinygo": ("tinygo", "go"),
    "componentize-py": ("componentize-py",),
    "bun": ("bun",),
    "deno": ("deno",),
}
"""A word of a command → the programs whose versions count."""
_MARKERS: Final[Mapping[str, str]] = {"package.json": "npm", "Cargo.toml": "cargo", "go.mod": "go"}
"""A file of the source → the tool that a command such as `make` is likely to use."""
_QUESTION: Final = {"go": "version", "tinygo": "version"}
_CONFIGURATION: Final[Mapping[str, tuple[str, ...]]] = {
    "node": (
        "package.json",
        "package-lock.json",
        "npm-shrinkwrap.json",
        "pnpm-lock.yaml",
        "pnpm-workspace.yaml",
        "yarn.lock",
        ".npmrc",
        ".yarnrc.yml",
    ),
    "bun": ("package.json", "bun.lock", "bun.lockb"),
    "cargo": (
        "Cargo.toml",
        "Cargo.lock",
        "rust-toolchain",
        "rust-toolchain.toml",
        ".cargo/config.toml",
    ),
    "go": ("go.mod", "go.sum"),
}
"""Files that a tool always reads, in the source and in the workspace."""


def programs_of(step: BuildStep, source: Path) -> tuple[str, ...]:
    """The programs whose versions count for a step of the extension in `source`."""
    words = [word for part in step.command for word in _WORD.findall(part)]
    likely = [tool for marker, tool in _MARKERS.items() if (source / marker).is_file()]
    found = (it for word in (*words, *likely) for it in _PROGRAMS.get(word, ()))
    return tuple(dict.fromkeys(found))


def configuration_of(programs: Iterable[str], below: str) -> Iterator[str]:
    """Paths, relative to the workspace, that steps with these programs depend on."""
    directories = {"", "" if below == "." else f"{below}/"}
    for program in programs:
        for name in _CONFIGURATION.get(program, ()):
            for directory in directories:
                yield f"{directory}{name}"


class ToolVersions:
    """Versions of tools for one job; answers are kept in its build directory."""

    def __init__(self, job: BuildJob) -> None:
        self._job = job
        self._file = job.build_directory / "toolchains.json"
        self._kept: dict[str, list[object]] | None = None
        self._known: dict[str, dict[str, str]] = {}

    def of(self, step: BuildStep) -> dict[str, str]:
        """Program → what it says of its version, for each that `step` names or is likely to use;
        empty for one that is not there."""
        if step.name not in self._known:
            self._known[step.name] = self._find(step)
        return self._known[step.name]

    def _find(self, step: BuildStep) -> dict[str, str]:
        path = {**self._job.environ, **step.environment}.get("PATH")
        programs = programs_of(step, self._job.workspace / self._job.below)
        return {it: self._version(it, path) for it in programs}

    def _version(self, program: str, path: str | None) -> str:
        found = shutil.which(program, path=path)
        if found is None:
            return ""
        kept = self._read()
        identity = [found, *self._stamps(found)]
        known = kept.get(program)
        if known is not None and known[:-1] == identity:
            return str(known[-1])
        version = self._ask(found, program)
        kept[program] = [*identity, version]
        private_files.write_private(self._file, json.dumps(kept).encode())
        return version

    def _read(self) -> dict[str, list[object]]:
        if self._kept is None:
            try:
                loaded = json.loads(private_files.read_private(self._file))
                self._kept = {str(name): list(answer) for name, answer in loaded.items() if answer}
            except (OSError, ValueError, TypeError, AttributeError, RecursionError):
                self._kept = {}
        return self._kept

    def _stamps(self, found: str) -> Iterator[list[int]]:
        # rustup's programs stay the same file whatever tool chain they run.
        environ = self._job.environ
        rustup = Path(environ.get("RUSTUP_HOME") or Path(environ.get("HOME", "/")) / ".rustup")
        files = [Path(found)]
        if os.path.realpath(found).endswith("rustup"):
            files += [rustup / "settings.toml", rustup / "toolchains", rustup / "update-hashes"]
            files += [self._job.workspace / self._job.below / "rust-toolchain.toml"]
        for file in files:
            try:
                yield list(stamp_of(file.stat()))
            except OSError:
                yield []

    def _ask(self, found: str, program: str) -> str:
        directory, environ = self._job.workspace / self._job.below, dict(self._job.environ)
        return ask_version(found, program, _ASK_SECONDS, cwd=directory, env=environ)


def ask_version(
    path: str,
    program: str,
    seconds: float,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """The first line of what the program at `path` says of its version; empty when it does not."""
    try:
        done = subprocess.run(
            [path, _QUESTION.get(program, "--version")],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace").strip().partition("\n")[0]
