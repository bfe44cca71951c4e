"""The guests, by tool chain."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from . import tools
from .cache import BuildCache, Told
from .recipe import HERE, WIT, Prebuilt, Recipe

JAVASCRIPT = HERE / "javascript"
SAMPLES = WIT.parents[1]
ALL_BUT_STDIO = ("random", "clocks", "http", "fetch-event")
NOT_SOURCES = ("node_modules", "dist", "generated", ".algaenv")
Build = Callable[[BuildCache, Path, Told], Path]


def _javascript(
    name: str, entry: str, *, wasi: bool = False, disabled: Sequence[str] = ("all",)
) -> Recipe:
    """esbuild bundles `entry`, jco makes a component of it: as Alga's CLI does, unless `wasi`."""
    options = () if wasi else tuple(word for it in disabled for word in ("--disable", it))

    def build(build_cache: BuildCache, into: Path, told: Told) -> Path:
        bin_ = node_modules(build_cache, JAVASCRIPT, told) / ".bin"
        bundle, made = into / "bundle.js", into / "component.wasm"
        shape = ("--bundle", "--format=esm", "--platform=neutral", "--external:alga:*")
        tools.run([str(bin_ / "esbuild"), entry, *shape, f"--outfile={bundle}"], cwd=JAVASCRIPT)
        world = ("--wit", str(WIT), "--world-name", "runner")
        jco = [str(bin_ / "jco"), "componentize", str(bundle), *world, *options, "-o", str(made)]
        tools.run(jco, cwd=into)
        bundle.unlink()
        return made

    modules = (entry, "base64.js", "language.js", "package-lock.json")
    sources = (*(JAVASCRIPT / module for module in modules), WIT)
    return Recipe(name, sources, tools.node, build, (entry, *options))


def node_modules(build_cache: BuildCache, project: Path, told: Told) -> Path:
    """What a project's lock file names, installed once for everybody with that lock file."""
    lock = project / "package-lock.json"

    def install(into: Path) -> None:
        told(f"npm ci for {project.name}")
        for file in (lock, project / "package.json"):
            shutil.copy(file, into)
        tools.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=into)

    asked = Recipe("node_modules", (lock,), tools.node, _nothing)
    return build_cache.once(asked.digest(), install) / "node_modules"


def _sample(name: str) -> Recipe:
    """What `npm run build` makes of a sample that is shipped."""
    sample = SAMPLES / name

    def build(build_cache: BuildCache, into: Path, told: Told) -> Path:
        project = into / "project"
        shutil.copytree(sample, project, ignore=shutil.ignore_patterns(*NOT_SOURCES))
        (project / "node_modules").symlink_to(node_modules(build_cache, sample, told))
        tools.run(["npm", "run", "build"], cwd=project)
        made = into / "component.wasm"
        (project / "dist/main.wasm").replace(made)
        shutil.rmtree(project)
        return made

    configured = ("package-lock.json", "package.json", "tsconfig.json")
    sources = (*sorted(sample.glob("src/*.ts")), *(sample / file for file in configured))
    return Recipe(
        f"sample-{name}", (*sources, sample / "wit/extension-runner.wit"), tools.node, build
    )


def _rust(name: str, *, prebuilt: bool) -> Recipe:
    """Cargo builds the crate of this name for wasm32-wasip2, where the linker makes components."""
    crate = HERE / name

    def build(build_cache: BuildCache, into: Path, told: Told) -> Path:
        target = into / "target"
        options = ("--release", "--locked", "--target", "wasm32-wasip2", "--target-dir")
        tools.run(["cargo", "build", *options, str(target)], cwd=crate, env=tools.same_paths(crate))
        made = into / "component.wasm"
        (target / f"wasm32-wasip2/release/{name}.wasm").replace(made)
        shutil.rmtree(target)
        return made

    sources = (*sorted(crate.glob("src/*.rs")), crate / "Cargo.toml", crate / "Cargo.lock", WIT)
    committed = Prebuilt(HERE / f"prebuilt/{name}.wasm") if prebuilt else None
    return Recipe(name, sources, tools.cargo, build, prebuilt=committed)


def _python(name: str, *options: str) -> Recipe:
    """componentize-py, which bundles CPython."""
    folder = HERE / "python"
    requirements = folder / "requirements.txt"

    def install(into: Path) -> None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        tools.run([*pip, "-r", str(requirements), "-t", str(into)], cwd=into)

    def build(build_cache: BuildCache, into: Path, told: Told) -> Path:
        asked = Recipe("componentize-py", (requirements,), tools.python, _nothing)
        site = build_cache.once(asked.digest(), install)
        made = into / "component.wasm"
        program = [sys.executable, "-c", "from componentize_py import script; script()"]
        command = [
            *program,
            "-d",
            str(WIT),
            "-w",
            "runner",
            "componentize",
            *options,
            "-p",
            str(folder),
            "app",
            "-o",
            str(made),
        ]
        tools.run(command, cwd=into, env={"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"})
        return made

    sources = (folder / "app.py", requirements, WIT)
    return Recipe(name, sources, tools.python, build, options)


def _text(name: str) -> Recipe:
    """A component written by hand, in text."""
    source = HERE / f"text/{name}.wat"

    def build(build_cache: BuildCache, into: Path, told: Told) -> Path:
        from wasmtime import wat2wasm

        made = into / "component.wasm"
        made.write_bytes(wat2wasm(source.read_text()))
        return made

    return Recipe(name, (source,), tools.text, build)


def _nothing(build_cache: BuildCache, into: Path, told: Told) -> Path:
    raise AssertionError("only the digest of this recipe is used")


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            _text("minimal"),
            _rust("script", prebuilt=True),
            _javascript("everything-js", "everything.js"),
            _javascript("plain-js", "everything.js", wasi=True),
            _javascript("fetch-js", "fetch.js", wasi=True),
            _javascript("mistakes-js", "mistakes.js", disabled=ALL_BUT_STDIO),
            _javascript("mistakes-mute-js", "mistakes.js"),
            _python("python"),
            _python("python-stub", "--stub-wasi"),
            _sample("capabilities"),
            _sample("notes"),
        )
    }
)
