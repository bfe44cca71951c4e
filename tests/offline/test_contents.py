"""What an export takes along: the packages that builds install, and nothing that is not here."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.dependencies import Request
from algaenv.drivers.build import node_packages
from algaenv.drivers.dev_shell import bundler
from algaenv.model.intent import BuildIntent, ExtensionIntent, Intent
from algaenv.model.lock import Lock
from algaenv.model.problem import Where
from algaenv.offline.archive import Content
from algaenv.offline.contents import Parts
from algaenv.wiring import Container
from tests.runtimes.locks import make_lock

VERSION = "#!/bin/sh\necho v22.0.0\n"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A machine with node and npm, of which only the versions are asked."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("node", "npm", "minio", "valkey-server", "postgres", "initdb"):
        (programs / name).write_text(VERSION)
        (programs / name).chmod(0o755)
    cache = tmp_path / "cache"
    return {"PATH": f"{programs}:/usr/bin:/bin", "XDG_CACHE_HOME": str(cache)}


def parts(tmp_path: Path, environ: dict[str, str], **changes: object) -> Parts:
    lock: Lock = make_lock(tmp_path, runtime="process")
    intent: Intent = replace(lock.intent, **changes)  # type: ignore[arg-type]
    request = Request(tmp_path / "algaenv.yaml", environ)
    return Parts(Container(environ), request, intent, lock.environment)


def extension(source: Path) -> ExtensionIntent:
    """With a handler in TypeScript, and packages of its own."""
    (source / "src").mkdir(parents=True)
    endpoints = [{"method": "GET", "path": "/x", "handler": "dist/main"}]
    manifest = {"name": "x", "runtime": "wasm-js@1", "api": {"endpoints": endpoints}}
    (source / "manifest.json").write_text(json.dumps(manifest))
    (source / "src/handler.ts").write_text("export function handler() {}")
    (source / "package.json").write_text('{"dependencies": {"a": "1"}}')
    packages = {"": {}, "node_modules/a": {"version": "1", "resolved": "https://x/a.tgz"}}
    lock = {"lockfileVersion": 3, "packages": packages}
    (source / "package-lock.json").write_text(json.dumps(lock))
    build = BuildIntent((), str(source), {}, 60.0)
    where = Where("algaenv.yaml", 1, 1)
    return ExtensionIntent("hello", str(source), build, {}, {}, None, True, None, where)


def names(content: Content) -> list[str]:
    stream = io.BytesIO()
    content.write(stream)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar:
        return tar.getnames()


def test_packages_of_builds_are_taken_along_by_their_keys(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    source = tmp_path / "hello"
    hello = extension(source)
    found = parts(tmp_path, environ, extensions=(hello,))
    assert found.node() == []
    assert [it.code for it in found.missing] == ["offline-missing"] * 2
    assert "hello is built with" in found.missing[0].summary
    cache = node_packages.cache_directory(environ)
    keys = [node_packages.installation_key(it, environ) for it in (source, node_packages.TOOLS)]
    for key in keys:
        (cache / key / "node_modules" / ".bin").mkdir(parents=True)
        (cache / key / "node_modules" / "tool").write_text("x")
        (cache / key / "node_modules" / ".bin" / "tool").symlink_to("../tool")
    esbuild = bundler.installation(tmp_path / "cache" / "algaenv")
    esbuild.mkdir(parents=True)
    found = parts(tmp_path, environ, extensions=(hello,))
    contents = found.node()
    assert found.missing == []
    assert {it.name for it in contents} == {f"{it}.tar" for it in (*keys, esbuild.name)}
    assert names(contents[0]) == [
        "node_modules",
        "node_modules/.bin",
        "node_modules/.bin/tool",
        "node_modules/tool",
    ]


def test_what_a_build_fetches_by_itself_is_told(tmp_path: Path, environ: dict[str, str]) -> None:
    hello = extension(tmp_path / "hello")
    (tmp_path / "hello/package-lock.json").write_text('{"lockfileVersion": 3}')
    found = parts(tmp_path, environ, extensions=(hello,))
    found.node()
    assert found.left_out == {
        "what hello is built of": "`npm ci` has a cache or registry of its own"
    }


def test_a_program_that_no_wheel_brings_is_taken_along(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    found = parts(tmp_path, environ)
    assert [(it.kind, it.name) for it in found.programs()] == [("program", "minio")]
    assert parts(tmp_path, environ, runtime="docker").programs() == []


def test_without_an_engine_auto_leaves_images_out(tmp_path: Path, environ: dict[str, str]) -> None:
    environ["DOCKER_HOST"] = f"unix://{tmp_path}/none.sock"
    found = parts(tmp_path, environ, runtime="auto")
    assert found.images() == []
    assert list(found.left_out) == ["images"]
    assert parts(tmp_path, environ, runtime="process").images() == []


def test_the_lock_file_goes_along(tmp_path: Path, environ: dict[str, str]) -> None:
    found = parts(tmp_path, environ)
    assert found.lock() == []
    (tmp_path / "algaenv.lock").write_text("version = 1\n")
    assert [it.name for it in found.lock()] == ["algaenv.lock"]
