"""Handlers in Rust, Python and Go: one step, whose result becomes `dist/main.wasm`."""

from __future__ import annotations

import re
import shlex
import tomllib

from algaenv.bundle.source_tree import WASM
from algaenv.drivers.build.detection.project import Detected, Project, bundle_globs, world_of

_COMPONENTIZE_PY = "componentize-py"
_PYTHON_FILES = ("requirements.txt", "pyproject.toml")


def rust(project: Project) -> Detected | None:
    """cargo-component where the crate is configured for it, else Cargo for wasm32-wasip2."""
    try:
        crate = tomllib.loads(project.text("Cargo.toml"))
    except tomllib.TOMLDecodeError:
        return None
    package = crate.get("package")
    if not isinstance(package, dict) or not isinstance(package.get("name"), str):
        return None
    metadata = package.get("metadata")
    with_component = isinstance(metadata, dict) and "component" in metadata
    library = crate.get("lib")
    named = library.get("name") if isinstance(library, dict) else None
    is_library = library is not None or (project.directory / "src/lib.rs").is_file()
    name = str(named or package["name"])
    name = name.replace("-", "_") if is_library else name
    target = "wasm32-wasip1" if with_component else "wasm32-wasip2"
    options = ["build", "--release", "--target-dir", project.from_source("target")]
    options += ["--manifest-path", project.from_source("Cargo.toml")]
    options += ["--locked"] if project.has("Cargo.lock") else []
    program = ["cargo", "component"] if with_component else ["cargo"]
    target_option = [] if with_component else ["--target", target]
    made = project.from_source(f"target/{target}/release/{name}.wasm")
    command = shlex.join([*program, *options, *target_option])
    step = project.step(
        "cargo",
        f"{command} && {_copied(made)}",
        outputs=[project.in_source(WASM)],
        ignore=bundle_globs(project),
    )
    return Detected((step,), ("cargo-component",) if with_component else ("cargo",))


def python(project: Project) -> Detected | None:
    """componentize-py, where the requirements name it or there is an `app.py` and WIT."""
    named = any(_COMPONENTIZE_PY in project.text(name) for name in _PYTHON_FILES)
    module = next((it for it in ("app", "main") if project.has(f"{it}.py")), None)
    if module is None or not (named or (project.directory / "wit").is_dir()):
        return None
    options = ["-d", project.from_source("wit"), "-w", world_of(project), "componentize"]
    options += ["-p", project.from_source("."), module, "-o", WASM]
    step = project.step(
        _COMPONENTIZE_PY,
        f"mkdir -p dist && {shlex.join([_COMPONENTIZE_PY, *options])}",
        inputs=[*project.paths(("**/*.py", "wit")), *_present(project, _PYTHON_FILES)],
        outputs=[project.in_source(WASM)],
    )
    return Detected((step,), (_COMPONENTIZE_PY,))


def go(project: Project) -> Detected | None:
    """TinyGo, for a main package."""
    sources = [it.name for it in project.directory.glob("*.go")]
    if not any(re.search(r"^package main\b", project.text(it), re.MULTILINE) for it in sources):
        return None
    options = ["build", "-target=wasip2", "-o", WASM]
    if (project.directory / "wit").is_dir():
        options += ["--wit-package", project.from_source("wit"), "--wit-world", world_of(project)]
    options += [f"./{project.from_source('.')}"]
    step = project.step(
        "tinygo",
        f"mkdir -p dist && {shlex.join(['tinygo', *options])}",
        outputs=[project.in_source(WASM)],
        ignore=bundle_globs(project),
    )
    return Detected((step,), ("tinygo",))


def _copied(made: str) -> str:
    return f"mkdir -p dist && cp {shlex.quote(made)} {WASM}"


def _present(project: Project, names: tuple[str, ...]) -> tuple[str, ...]:
    return project.paths(name for name in names if project.has(name))
