"""The spec is found here or above, and nowhere else."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from algaenv.spec.load import load
from algaenv.spec.paths import find_spec
from tests.docs.pages import read


def test_here_and_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert find_spec(inner) is None
    outer = tmp_path / "algaenv.yaml"
    outer.write_text("name: demo\n")
    assert find_spec(inner) == outer
    nearer = tmp_path / "a" / "algaenv.yaml"
    nearer.write_text("name: demo\n")
    assert find_spec(inner) == nearer
    monkeypatch.chdir(inner)
    assert find_spec(Path()) == nearer


def test_a_directory_of_that_name_is_no_spec(tmp_path: Path) -> None:
    (tmp_path / "algaenv.yaml").mkdir()
    assert find_spec(tmp_path) is None


def codes(spec: Path, home: Path) -> list[str]:
    return [it.code for it in load(spec, {"HOME": str(home)}).warnings]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory with a project in it, and something else beside that."""
    for name in ("project/data", ".ssh", "other"):
        (tmp_path / "home" / name).mkdir(parents=True)
    (tmp_path / "home/link").symlink_to("/")
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("source", "warned"),
    [
        ("/", True),
        ("~", True),
        ("..", True),
        ("../..", True),
        ("../.ssh", True),
        ("../link", True),
        ("/etc", True),
        ("/var/run/docker.sock", True),
        ("/run/podman/podman.sock", True),
        ("./engine", True),
        ("./data", False),
        ("../other", False),
    ],
)
def test_mounts(home: Path, monkeypatch: pytest.MonkeyPatch, source: str, warned: bool) -> None:
    monkeypatch.setenv("HOME", str(home))
    spec = home / "project" / "algaenv.yaml"
    spec.write_text(f"name: d\nrunner: {{volumes: ['{source}:/x:ro']}}\n")
    with socket.socket(socket.AF_UNIX) as engine:
        monkeypatch.chdir(spec.parent)
        engine.bind("engine")
        found = load(spec, {"HOME": str(home)}).warnings
    assert [it.code for it in found] == ["spec-mount-wide"] * warned
    for warning in found:
        assert warning.where is not None
        assert warning.where.line == 2


def test_a_build_context(home: Path) -> None:
    (home / "Dockerfile").write_text("FROM scratch\n")
    (home / "other" / "Dockerfile").write_text("FROM scratch\n")
    spec = home / "project" / "algaenv.yaml"
    for context, warned in (("..", True), ("../other", False)):
        spec.write_text(f"name: d\nrunner: {{image: {{build: {{context: {context}}}}}}}\n")
        assert codes(spec, home) == ["spec-mount-wide"] * warned


def test_secrets_outside_of_the_spec(home: Path) -> None:
    spec = home / "project" / "algaenv.yaml"
    (home / "key").write_text("secret-of-others\n")
    (home / "project" / "key").write_text("secret-of-ours\n")
    (home / "project" / "link").symlink_to(home / "key")
    for name, warned in (
        (str(home / "key"), True),
        ("../key", True),
        ("link", True),
        ("key", False),
    ):
        spec.write_text(f"name: d\nredis: {{password: {{file: {name}}}}}\n")
        found = load(spec, {"HOME": str(home)}).warnings
        assert [it.code for it in found] == ["spec-secret-outside"] * warned
        assert "secret-of" not in str(found)


def test_the_page_names_what_is_warned_of() -> None:
    page = read("docs/explanation/trust.md")
    for code in ("spec-mount-wide", "spec-secret-outside"):
        assert code in page
    assert "docs/explanation/trust.md" in read("SECURITY.md")
