"""What is found in a directory, and the spec that is made of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from algaenv.scaffold.discovered_spec import discovered_spec
from algaenv.scaffold.discovery import discover
from algaenv.scaffold.samples import sample_files, sample_names
from algaenv.spec.load import LoadedSpec, load
from tests.scaffold.alga import HELLO, make_alga, manifest


def loaded(root: Path, *, taken: tuple[int, ...] = ()) -> LoadedSpec:
    """The spec of a directory, read again; it must be valid and nothing in it odd."""
    spec = root / "algaenv.yaml"
    spec.write_text(discovered_spec("x", discover(root), lambda port: port not in taken))
    found = load(spec, {})
    assert found.warnings == ()
    return found


def test_what_cannot_be_installed_is_left_out_with_its_reason(tmp_path: Path) -> None:
    make_alga(tmp_path)
    found = {it.source: it for it in discover(tmp_path).extensions}
    twin = "./ee/extensions/samples/twin"
    assert set(found) == {f"./{HELLO}", twin, "./extensions/linked", "./extensions/outdated"}
    assert found[f"./{HELLO}"].problem == ""
    assert "both are" in found[twin].problem
    assert "../../packages/ui-kit" in found["./extensions/linked"].problem
    assert "as version" in found["./extensions/outdated"].problem
    (extension,) = loaded(tmp_path).intent.extensions
    assert (extension.name, extension.source) == ("hello-world", str(tmp_path / HELLO))
    text = (tmp_path / "algaenv.yaml").read_text()
    for one in found.values():
        assert f"source: {one.source}\n" in text


def test_packages_of_a_workspace_are_built_in_it(tmp_path: Path) -> None:
    make_alga(tmp_path)
    (tmp_path / "packages/ui-kit").mkdir(parents=True)
    linked = next(it for it in discover(tmp_path).extensions if it.name == "linked")
    assert (linked.problem, linked.build) == ("", "{command: auto, workspace: .}")
    intents = {it.name: it for it in loaded(tmp_path).intent.extensions}
    build = intents["linked"].build
    assert build is not None
    assert build.workspace == str(tmp_path)


def test_ports_and_variables_of_the_runner_are_taken_over(tmp_path: Path) -> None:
    make_alga(tmp_path, runner=8086, store=9000)
    intent = loaded(tmp_path).intent
    assert (intent.runner.port, intent.store.port) == (8086, 9000)
    assert intent.runner.environment == {"RUST_LOG": "info"}
    text = (tmp_path / "algaenv.yaml").read_text()
    assert "local-runner-key" not in text
    assert "RUNNER_ALGA_AUTH_KEY of .env.runner" in text
    assert "docker-compose.runner-dev.yml" in text
    assert "context: ./ee/runner" in text


def test_a_port_that_something_holds_is_left_open(tmp_path: Path) -> None:
    make_alga(tmp_path, runner=8086, store=9000)
    intent = loaded(tmp_path, taken=(9000,)).intent
    assert (intent.runner.port, intent.store.port) == (8086, None)


@pytest.mark.parametrize(
    "line",
    [
        "RUNNER_DOCKER_PORT=99999",
        "RUNNER_DOCKER_PORT=none",
        "RUNNER_BUNDLE_STORE_BASE=http://[",
        "RUNNER_BUNDLE_STORE_BASE=https://bundles.example/x",
        "RUNNER_REGISTRY_BASE_URL=http://host:99999999/",
        "what is this",
    ],
)
def test_odd_variables_change_nothing(tmp_path: Path, line: str) -> None:
    (tmp_path / ".env.runner").write_text(f"{line}\n")
    intent = loaded(tmp_path).intent
    assert (intent.runner.port, intent.store.port) == (8085, 4569)


def test_an_extension_itself_and_an_empty_directory_have_specs(tmp_path: Path) -> None:
    assert loaded(tmp_path).intent.extensions == ()
    here = manifest(tmp_path / "a $b: #c", name="com.x.Größe")
    (here / "src").mkdir()
    (here / "src/handler.ts").write_text("export function handler() {}\n")
    (extension,) = loaded(here).intent.extensions
    assert (extension.name, extension.source) == ("gr-e", str(here))
    assert extension.build is not None
    (above,) = loaded(tmp_path).intent.extensions
    assert above.source == str(here)


def test_a_manifest_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    for number, text in enumerate(["", "[1]", "{", '{"name": 1, "runtime": "x"}']):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "manifest.json").write_text(text)
    (tmp_path / "loop").symlink_to(tmp_path)
    assert discover(tmp_path).extensions == ()


def test_names_are_given_once(tmp_path: Path) -> None:
    for directory, publisher in (("a", "A"), ("b", "B")):
        (manifest(tmp_path / directory, name="x.same", publisher=publisher) / "dist").mkdir()
        (tmp_path / directory / "dist/main.wasm").write_bytes(b"\0asm\x0d\0\1\0")
    assert [it.name for it in loaded(tmp_path).intent.extensions] == ["same", "same-2"]


def test_samples_are_copied_whole(tmp_path: Path) -> None:
    assert sample_names() == ("board", "capabilities", "hours", "notes", "workspace")
    files = sample_files("notes", "mine")
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert load(tmp_path / "algaenv.yaml", {}).intent.name == "mine"
    assert json.loads(files["manifest.json"])["name"] == "dev.algaenv.sample.notes"
    assert b"../../../docs" not in files["algaenv.yaml"]
    assert not [it for it in files if it.startswith(("node_modules", "dist"))]
