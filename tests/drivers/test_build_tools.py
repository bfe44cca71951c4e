"""Builds that are found in a source, with the real tools: npm, esbuild, jco and Cargo."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from algaenv.drivers.build.builds import build
from algaenv.drivers.build.node_packages import copy, installed
from algaenv.drivers.state import state_dir
from algaenv.model.intent import BuildIntent, ExtensionIntent
from algaenv.model.problem import ResolveError, Where
from tests import guests
from tests.guests import tools
from tests.guests.recipes import SAMPLES

WHERE = Where("algaenv.yaml", 7, 13)
COMPONENT = b"\0asm\x0d\0\x01\0"
PACKAGE = {
    "name": "x",
    "private": True,
    "scripts": {"build": "esbuild src/main.ts --bundle --outfile=ui/main.js"},
    "dependencies": {"ms": "2.1.3"},
    "devDependencies": {"esbuild": "0.28.2"},
}
PYTHON = """\
from wit_world import WitWorld
from wit_world.imports.types import ExecuteRequest, ExecuteResponse, HttpHeader


class WitWorld(WitWorld):
    def handler(self, request: ExecuteRequest) -> ExecuteResponse:
        return ExecuteResponse(200, [HttpHeader("content-type", "text/plain")], b"hello")
"""
HANDLER = """\
import { getContext } from "alga:extension/context";
export function handler(request) {
  const body = new TextEncoder().encode(getContext().tenantId + request.http.url);
  return { status: 200, headers: [], body };
}
"""


@dataclass
class FoundBuild:
    """A source whose files say how it is built."""

    source: Path
    cache: Path
    path: str = os.environ["PATH"]
    messages: list[str] = field(default_factory=list)
    workspace: Path | None = None

    def build(self) -> Path:
        self.messages.clear()
        intent = ExtensionIntent(
            "hello",
            str(self.source),
            BuildIntent((), str(self.workspace or self.source), {}, 600.0),
            {},
            {},
            None,
            True,
            None,
            WHERE,
        )
        environment = state_dir.identify(self.source.parent / "algaenv.yaml", "demo")
        environ = {**os.environ, "XDG_CACHE_HOME": str(self.cache), "PATH": self.path}
        return build(intent, environment, self.messages.append, environ=environ).place

    def ran(self) -> list[str]:
        """The tools that the last build ran."""
        return [it.removeprefix("$ ") for it in self.messages if it.startswith("$ ")]

    def has_run(self, tool: str) -> bool:
        return any(it.startswith(tool) for it in self.ran())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    tools.node()
    made = tmp_path_factory.mktemp("cache")
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_edit_of_the_page_runs_no_componentizer(tmp_path: Path, cache: Path) -> None:
    source = tmp_path / "notes"
    shutil.copytree(
        SAMPLES / "notes", source, ignore=shutil.ignore_patterns("node_modules", "dist", ".algaenv")
    )
    found = FoundBuild(source, cache)
    place = found.build()
    assert found.messages[0] == "detected: npm, jco, tsc, esbuild"
    assert [it.split()[0] for it in found.ran()] == ["npm", "jco", "tsc", "esbuild", "jco"]
    component = (place / "dist/main.wasm").read_bytes()
    assert component.startswith(COMPONENT)
    (source / "ui/index.html").write_text("<!doctype html><title>Edited</title>")
    found.build()
    assert found.ran() == []
    assert (place / "ui/index.html").read_text().endswith("Edited</title>")
    answer = source / "src/answer.ts"
    answer.write_text(f"// A comment is no code.\n{answer.read_text()}")
    found.build()
    assert found.has_run("esbuild")
    assert not found.has_run("jco")
    assert (place / "dist/main.wasm").read_bytes() == component
    # What an install made is kept; what a build makes of it is its own.
    (package,) = cache.glob("algaenv/node/*/node_modules/esbuild/package.json")
    copied = place / "node_modules/esbuild/package.json"
    assert copied.read_bytes() == package.read_bytes()
    assert not copied.samefile(package)
    assert not (source / "node_modules").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_handler_that_brings_no_tools(tmp_path: Path, cache: Path) -> None:
    source = tmp_path / "hello"
    (source / "src").mkdir(parents=True)
    (source / "manifest.json").write_text('{"api": {"endpoints": [{"method": "GET"}]}}')
    (source / "src/handler.js").write_text(HANDLER)
    found = FoundBuild(source, cache)
    place = found.build()
    assert [it.split()[0] for it in found.ran()] == ["esbuild", "jco"]
    assert (place / "dist/main.wasm").read_bytes().startswith(COMPONENT)
    found.build()
    assert found.ran() == []
    (source / "src/handler.js").write_text(f"const AT = Math.random();\n{HANDLER}")
    with pytest.raises(ResolveError) as caught:
        found.build()
    problem = caught.value.problem
    assert "`jco componentize dist/js/handler.js" in problem.summary
    assert problem.hint.startswith("move `Math.random()`, `crypto` and `Date` into functions")


@pytest.mark.timeout(600)
def test_a_crate(tmp_path: Path) -> None:
    tools.cargo()
    source = tmp_path / "hello"
    (source / "src").mkdir(parents=True)
    (source / "Cargo.toml").write_text(
        '[package]\nname = "my-handler"\nedition = "2021"\n[lib]\ncrate-type = ["cdylib"]\n'
    )
    (source / "src/lib.rs").write_text("#[no_mangle] pub extern fn answer() -> i32 { 42 }\n")
    found = FoundBuild(source, tmp_path / "cache")
    place = found.build()
    assert (place / "dist/main.wasm").read_bytes().startswith(COMPONENT)
    (source / "ui").mkdir()
    (source / "ui/index.html").write_text("page")
    found.build()
    assert found.ran() == []
    (source / "src/lib.rs").write_text("#[no_mangle] pub extern fn answer() -> i32 { 43 }\n")
    found.build()
    assert len(found.ran()) == 1


MANAGERS = {
    "pnpm": ("pnpm@12.21.0", ("pnpm", "install", "--lockfile-only"), "pnpm"),
    "yarn": ("yarn@1.22.22", ("yarn", "install", "--ignore-scripts"), "yarn"),
    "yarn of today": ("@yarnpkg/cli-dist@4.18.1", ("yarn", "install"), "yarn"),
}
"""What npm calls a package manager, what makes its lock file, and its name."""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("manager", MANAGERS)
def test_other_package_managers_install_by_their_lock_file(
    tmp_path: Path, cache: Path, manager: str
) -> None:
    package, lock, name = MANAGERS[manager]
    npm = ("npm", "install", "--no-audit", "--no-fund", "--prefix", str(tmp_path / "tools"))
    tools.run([*npm, package], cwd=tmp_path)
    path = f"{tmp_path}/tools/node_modules/.bin:{os.environ['PATH']}"
    source = tmp_path / "hello"
    (source / "src").mkdir(parents=True)
    (source / "package.json").write_text(json.dumps(PACKAGE))
    (source / "pnpm-workspace.yaml").write_text("allowBuilds: {esbuild: false}\n")
    (source / "src/main.ts").write_text('import ms from "ms"; document.title = ms(3600000);\n')
    # Where CI is set, yarn makes no lock file unless it is told that it may.
    tools.run(lock, cwd=source, env={"PATH": path, "YARN_ENABLE_IMMUTABLE_INSTALLS": "false"})
    shutil.rmtree(source / "node_modules", ignore_errors=True)

    found = FoundBuild(source, cache, path)
    place = found.build()
    assert found.messages[0] == f"detected: {name}, esbuild"
    assert "require_ms()" in (place / "ui/main.js").read_text()
    (source / "src/main.ts").write_text("document.title = 'second';\n")
    found.build()
    assert [it.split()[0] for it in found.ran()] == ["esbuild"], "what is installed stays"
    assert "second" in (place / "ui/main.js").read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_handler_in_python(tmp_path: Path) -> None:
    tools.python()
    source = tmp_path / "hello"
    source.mkdir()
    requirements = source / "requirements.txt"
    shutil.copyfile(Path(guests.__file__).with_name("python") / "requirements.txt", requirements)
    (source / "app.py").write_text(PYTHON)
    shutil.copytree(SAMPLES / "wit", source / "wit")
    python = tmp_path / "python"
    tools.run([sys.executable, "-m", "uv", "venv", "-q", str(python)], cwd=tmp_path)
    install = ("pip", "install", "-q", "--python", str(python), "-r", str(requirements))
    tools.run([sys.executable, "-m", "uv", *install], cwd=tmp_path)

    found = FoundBuild(source, tmp_path / "cache", f"{python}/bin:{os.environ['PATH']}")
    place = found.build()
    assert found.messages[0] == "detected: componentize-py"
    assert (place / "dist/main.wasm").read_bytes().startswith(COMPONENT)
    (source / "app.py").write_text(PYTHON.replace("Response(200", "Response((200"))
    with pytest.raises(ResolveError) as caught:
        found.build()
    problem = caught.value.problem
    assert problem.where == Where(str(source / "app.py"), 7, 1)
    assert any("SyntaxError: '(' was never closed" in it for it in problem.detail)
    (source / "app.py").write_text(PYTHON)
    found.build()
    assert found.ran() == []


def project(tmp_path: Path) -> Path:
    made = tmp_path / "hello"
    made.mkdir()
    (made / "package.json").write_text('{"name": "x", "scripts": {"build": "node x.mjs"}}')
    packages = '{"": {"name": "x"}}'
    (made / "package-lock.json").write_text(
        f'{{"name": "x", "lockfileVersion": 3, "packages": {packages}}}'
    )
    return made


@pytest.mark.parametrize(("missing", "named"), [("node", "Node.js"), ("npm", "npm")])
def test_what_is_missing_is_named(tmp_path: Path, missing: str, named: str) -> None:
    tools.node()
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in {"node", "npm", "sh"} - {missing}:
        (programs / name).symlink_to(str(shutil.which(name)))
    found = FoundBuild(project(tmp_path), tmp_path / "cache", path=str(programs))
    with pytest.raises(ResolveError) as caught:
        found.build()
    assert caught.value.problem.code == "build-program-missing"
    assert any(named in it for it in caught.value.problem.detail)


def test_a_registry_that_does_not_answer(tmp_path: Path) -> None:
    tools.node()
    source = project(tmp_path)
    resolved = "http://127.0.0.1:9/gone/-/gone-1.0.0.tgz"
    (source / "package.json").write_text(
        '{"name": "x", "scripts": {"build": "true"}, "dependencies": {"gone": "1.0.0"}}'
    )
    (source / "package-lock.json").write_text(
        '{"name": "x", "lockfileVersion": 3, "packages": {"": {"name": "x", "dependencies":'
        f' {{"gone": "1.0.0"}}}}, "node_modules/gone": {{"version": "1.0.0", "resolved":'
        f' "{resolved}", "integrity": "sha512-AAAA"}}}}}}'
    )
    (source / ".npmrc").write_text("fetch-retries=0\n")
    with pytest.raises(ResolveError) as caught:
        FoundBuild(source, tmp_path / "cache").build()
    assert caught.value.problem.code == "build-failed"
    assert any("registry" in it for it in caught.value.problem.detail)
    assert [it.name for it in (tmp_path / "cache/algaenv/node").glob("*")] == [
        it.name for it in (tmp_path / "cache/algaenv/node").glob(".*.lock")
    ]


def test_one_installation_serves_all(tmp_path: Path) -> None:
    tools.node()
    source, cache = project(tmp_path), tmp_path / "cache"
    (source / ".npmrc").write_text("//registry.example.com/:_authToken=hunter2\n")
    place = installed(source, cache, os.environ)
    assert not (place / ".npmrc").exists()
    (place / "node_modules/a/.bin").mkdir(parents=True)
    (place / "node_modules/a/x.js").write_text("x")
    (place / "node_modules/a/.bin/x").symlink_to("../x.js")
    assert installed(source, cache, os.environ) == place
    copies = [tmp_path / "one", tmp_path / "two"]
    (place / "node_modules/a/x.js").chmod(0o755)
    for made in copies:
        copy(place, made)
        assert (made / "a/x.js").read_text() == "x"
        assert (made / "a/x.js").stat().st_mode & 0o777 == 0o755
        assert (made / "a/.bin/x").readlink() == Path("../x.js")
    (copies[0] / "a/cache").write_text("own")
    with (copies[0] / "a/x.js").open("a") as file:
        file.write("patched in place")
    assert (copies[1] / "a/x.js").read_text() == (place / "node_modules/a/x.js").read_text() == "x"
    assert not (copies[1] / "a/cache").exists()
    copy(place, copies[0])
    assert not (copies[0] / "a/cache").exists()
    for variable in ("NODE_ENV", "npm_config_omit", "NPM_CONFIG_IGNORE_SCRIPTS"):
        assert installed(source, cache, {**os.environ, variable: "x"}) != place, variable
    (source / "package-lock.json").write_text('{"name": "x", "lockfileVersion": 3, "packages": {}}')
    assert installed(source, cache, os.environ) != place


def test_another_npm_installs_anew(tmp_path: Path) -> None:
    tools.node()
    source, programs = project(tmp_path), tmp_path / "npm/bin"
    programs.mkdir(parents=True)
    (programs / "npm").write_text("#!/bin/sh\nexit 0\n")
    (programs / "npm").chmod(0o755)
    environ = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    places = set()
    for version in ("10.0.0", "11.0.0"):
        (tmp_path / "npm/package.json").write_text(f'{{"version": "{version}"}}')
        places.add(installed(source, tmp_path / "cache", environ))
    (tmp_path / "npm/package.json").unlink()
    places.add(installed(source, tmp_path / "cache", environ))
    assert len(places) == 3


def test_what_a_cancelled_installation_left_is_removed(tmp_path: Path) -> None:
    tools.node()
    source, cache = project(tmp_path), tmp_path / "cache"
    place = installed(source, cache, os.environ)
    shutil.rmtree(place)
    busy = cache / ".fresh-busy"
    for left in (cache / f".fresh-{place.name}", cache / ".fresh-other", busy):
        (left / "node_modules/half").mkdir(parents=True)
    with (cache / ".busy.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert installed(source, cache, os.environ) == place
    assert list(cache.glob(".fresh-*")) == [busy]
    assert not (place / "node_modules/half").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_package_that_others_use_is_built_before_them(tmp_path: Path) -> None:
    tools.node()
    esbuild = {"build": "esbuild src/index.ts --bundle --format=esm --outdir=dist"}
    files: dict[str, object] = {
        "package.json": {"private": True, "workspaces": ["packages/*", "hello"]},
        "packages/text/package.json": {
            "name": "@a/text",
            "version": "1.0.0",
            "main": "dist/index.js",
            "scripts": esbuild,
            "devDependencies": {"esbuild": "0.28.2"},
        },
        "packages/text/src/index.ts": "export const text = 'first';\n",
        "hello/package.json": {
            "name": "hello",
            "version": "1.0.0",
            "scripts": {"build": "esbuild src/main.ts --bundle --outfile=ui/main.js"},
            "dependencies": {"@a/text": "*"},
            "devDependencies": {"esbuild": "0.28.2"},
        },
        "hello/src/main.ts": "import { text } from '@a/text'; document.title = text;\n",
    }
    for name, content in files.items():
        file = tmp_path / "all" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    lock = ("npm", "install", "--package-lock-only", "--no-audit", "--no-fund")
    tools.run(lock, cwd=tmp_path / "all")
    found = FoundBuild(tmp_path / "all/hello", tmp_path / "cache", workspace=tmp_path / "all")
    made = found.build() / "ui/main.js"
    assert "first" in made.read_text()
    (tmp_path / "all/packages/text/src/index.ts").write_text("export const text = 'second';\n")
    found.build()
    assert [it.split(" && ")[-1].split()[0] for it in found.ran()] == ["npm", "esbuild"]
    assert "second" in made.read_text()
    (tmp_path / "all/hello/src/main.ts").write_text("document.title = 'third';\n")
    found.build()
    assert [it.split()[0] for it in found.ran()] == ["esbuild"]
