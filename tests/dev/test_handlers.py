"""Handlers from source: what is packed by whom, and when a component is owed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from algaenv.bundle.layout import DEV_SCRIPT
from algaenv.dev.handlers import SourceHandlers, digests_from_source
from algaenv.drivers.build.bundle_builder import CachingBundleBuilder
from algaenv.drivers.state import state_dir
from algaenv.model.intent import BuildIntent, BuildStep, ExtensionIntent
from algaenv.model.lock import Environment
from algaenv.model.problem import ResolveError, Where
from algaenv.reconcile.resolve import BundleBuilder
from tests import guests
from tests.guests import ToolMissing, tools
from tests.guests.cache import BuildCache

CACHE = BuildCache.of_this_machine().root / "esbuild"
HANDLER = 'import { text } from "./text";\nexport function handler() { return text; }\n'
TEXT = "src/text.ts"
COMMAND = "mkdir -p dist && cp main.wasm dist"
INSTALL = "echo 'globalThis.words = 1' > node_modules/words/index.js"


class Handlers:
    """An extension `hello` whose build copies its component."""

    def __init__(self, root: Path, command: str = COMMAND) -> None:
        self.source = root / "hello"
        (self.source / "src").mkdir(parents=True)
        self.write("src/handler.ts", HANDLER)
        self.write(TEXT, 'export const text = "first";\n')
        (self.source / "main.wasm").write_bytes(guests.built("script").read_bytes())
        manifest = {
            "name": "com.example.hello",
            "version": "0.1.0",
            "runtime": "wasm-js@1",
            "api": {"endpoints": [{"method": "GET", "path": "/x", "handler": "dist/main"}]},
        }
        self.write("manifest.json", json.dumps(manifest))
        step = BuildStep("component", (command,), shell=True, environment={}, timeout=60.0)
        where = Where("algaenv.yaml", 1, 1)
        build = BuildIntent((step,), str(self.source), {}, 60.0)
        self.intent = ExtensionIntent(
            "hello", str(self.source), build, {}, {}, None, True, None, where
        )
        self.environment: Environment = state_dir.identify(root / "algaenv.yaml", "demo")
        state_dir.open_state_dir(self.environment)
        self.handlers = SourceHandlers(self.environment, CACHE, os.environ)
        self.handlers.follow([self.intent])
        self._builder: BundleBuilder = self.handlers.wrap(CachingBundleBuilder(self.environment))

    def write(self, path: str, text: str) -> None:
        (self.source / path).write_text(text)

    def turn(self, *changed: str, components: bool = False) -> str:
        """The digest of what a turn about these files packs, applied."""
        files = [str(self.source / it) for it in changed]
        self.handlers.prepare({"hello": files}, components=components)
        locked, _ = self._builder.pack(self.intent, lambda _: None)
        self.handlers.settle(["hello"])
        assert locked.intent == self.intent
        return locked.digest.hex


@pytest.fixture
def hello(tmp_path: Path) -> Iterator[Handlers]:
    try:
        tools.node()
    except ToolMissing as missing:
        pytest.skip(str(missing))
    made = Handlers(tmp_path)
    yield made
    made.handlers.close()


def test_an_edit_of_a_module_runs_from_source_until_the_component_is_built(
    hello: Handlers,
) -> None:
    component = hello.turn()
    assert hello.handlers.owed() == ()
    hello.write(TEXT, 'export const text = "second";\n')
    source = hello.turn(TEXT)
    assert source != component
    assert hello.handlers.runs_from_source("hello")
    assert hello.handlers.owed() == ("hello",)
    assert digests_from_source(hello.environment) == {source}
    script = hello.environment.home / f"cache/source/trees/hello/{DEV_SCRIPT}"
    assert b'"second"' in script.read_bytes()
    hello.turn(components=True)
    assert not hello.handlers.runs_from_source("hello")
    assert hello.handlers.owed() == ()


def test_what_is_no_module_of_the_handler_is_built(hello: Handlers) -> None:
    hello.turn()
    hello.write(TEXT, 'export const text = "second";\n')
    hello.turn(TEXT)
    hello.write("src/unused.ts", "export {};\n")
    for other in ("manifest.json", "src/unused.ts"):
        hello.turn(other)
        assert not hello.handlers.runs_from_source("hello")
        hello.turn(TEXT)
        assert hello.handlers.runs_from_source("hello")
    hello.turn(TEXT, "manifest.json")
    assert not hello.handlers.runs_from_source("hello")
    assert hello.handlers.owed() == ()


def test_packages_that_only_the_build_has_installed_are_found(tmp_path: Path) -> None:
    tools.node()
    made = Handlers(tmp_path, f"{COMMAND} && mkdir -p node_modules/words && {INSTALL}")
    made.write("src/handler.ts", 'import "words";\n' + HANDLER)
    made.turn()
    made.write(TEXT, 'export const text = "second";\n')
    made.turn(TEXT)
    assert made.handlers.owed() == ("hello",)
    assert not (made.source / "node_modules").exists()
    made.handlers.close()


def test_before_the_first_build_the_component_is_built(hello: Handlers) -> None:
    hello.turn(TEXT)
    assert not hello.handlers.runs_from_source("hello")
    assert hello.handlers.owed() == ()


def test_a_mistake_has_the_place_of_its_author(hello: Handlers) -> None:
    hello.turn()
    hello.write(TEXT, "export const text = (\n")
    with pytest.raises(ResolveError) as caught:
        hello.turn(TEXT)
    (problem,) = caught.value.problems
    assert problem.where is not None
    assert problem.where.file == str(hello.source / TEXT)
    hello.write(TEXT, 'export const text = "third";\n')
    hello.turn(TEXT)
    assert hello.handlers.owed() == ("hello",)


def test_a_component_that_cannot_be_built_is_given_up_until_the_next_edit(
    hello: Handlers,
) -> None:
    hello.turn()
    hello.write(TEXT, 'export const text = "second";\n')
    hello.turn(TEXT)
    hello.handlers.give_up(["hello"])
    assert hello.handlers.owed() == ()
    hello.turn(TEXT)
    assert hello.handlers.owed() == ("hello",)


def test_an_extension_that_is_no_longer_in_the_spec_is_forgotten(hello: Handlers) -> None:
    hello.turn()
    hello.write(TEXT, 'export const text = "second";\n')
    hello.turn(TEXT)
    hello.handlers.follow([])
    assert (hello.handlers.any, hello.handlers.owed()) == (False, ())
    assert not hello.handlers.runs_from_source("hello")


def test_a_build_that_was_given_up_leaves_the_source_something_to_lie_beside(
    hello: Handlers,
) -> None:
    """A save during the build of a component gives that up, and runs from source all the same."""
    first = hello.turn(components=True)
    hello.write(TEXT, 'export const text = "second";\n')
    second = hello.turn(TEXT)
    state = hello.environment.home / "build" / "hello" / "state.json"
    for path in (hello.environment.home / "build" / "hello").iterdir():
        if path.is_file() and path.name != "lock":
            path.unlink()  # As after a build that did not end.
    assert not state.exists()
    hello.write(TEXT, 'export const text = "third";\n')
    third = hello.turn(TEXT)
    assert len({first, second, third}) == 3
    assert hello.handlers.runs_from_source("hello")
