"""The tools that build guests: found, asked for their version, run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from _pytest.outcomes import Skipped


class ToolMissing(Skipped):
    """This machine cannot build a guest. In a test this is a skip that says why."""

    def __init__(self, why: str) -> None:
        super().__init__(why, _use_item_location=True)


def run(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """What the program printed.

    Raises CalledProcessError with what it printed, on both channels, in its notes.
    """
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=dict(os.environ) | dict(env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        failed = subprocess.CalledProcessError(done.returncode, list(argv), done.stdout)
        failed.add_note(done.stdout[-4000:])
        raise failed
    return done.stdout


@cache
def version(*argv: str) -> str:
    """The first line a tool prints about itself. Raises ToolMissing if it is not there."""
    if shutil.which(argv[0]) is None:
        raise ToolMissing(f"{argv[0]} is not on PATH")
    try:
        return run(argv, cwd=Path("/")).strip().split("\n", 1)[0]
    except subprocess.CalledProcessError as failed:
        raise ToolMissing(f"{' '.join(argv)} fails: {failed.stdout.strip()[-200:]}") from None


def node() -> tuple[str, ...]:
    """Node and npm; jco and esbuild come from the lock file."""
    if int(version("node", "--version").lstrip("v").split(".")[0]) < 20:
        raise ToolMissing(
            f"building JavaScript guests needs node 20, this is {version('node', '--version')}"
        )
    version("npm", "--version")
    return ("node " + version("node", "--version"),)


@cache
def cargo() -> tuple[str, ...]:
    """Cargo with a standard library for wasm32-wasip2."""
    found = version("cargo", "--version")
    sysroot = Path(version("rustc", "--print", "sysroot"))
    if not (sysroot / "lib/rustlib/wasm32-wasip2/lib").is_dir():
        raise ToolMissing("Rust has no target wasm32-wasip2: rustup target add wasm32-wasip2")
    return (found,)


def same_paths(crate: Path) -> Mapping[str, str]:
    """The environment in which rustc writes no path of this machine into what it makes."""
    homes = {
        crate: "/guest",
        Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo"): "/cargo",
        Path(version("rustc", "--print", "sysroot")): "/rust",
    }
    flags = [f"--remap-path-prefix={home}={name}" for home, name in homes.items()]
    return {"CARGO_ENCODED_RUSTFLAGS": "\x1f".join(flags)}


def python() -> tuple[str, ...]:
    """This Python, with pip; componentize-py comes from the requirements."""
    version(sys.executable, "-m", "pip", "--version")
    return (f"python {sys.version_info.major}.{sys.version_info.minor}",)


def text() -> tuple[str, ...]:
    """The engine's own reader of the text format."""
    from importlib.metadata import version as of

    return (f"wasmtime {of('wasmtime')}",)
