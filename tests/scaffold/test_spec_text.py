"""An extension is added to a spec, and every other byte of it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from algaenv.model.problem import SpecError
from algaenv.scaffold.discovery import environment_name, ignored_lines
from algaenv.scaffold.spec_text import add_extension, new_spec, yaml_text
from algaenv.spec.load import load

ENTRY = ("source: ./b", "build: auto")
ADDED = "  b:\n    source: ./b\n    build: auto\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("name: x\n", f"name: x\nextensions:\n{ADDED}"),
        ("name: x", f"name: x\nextensions:\n{ADDED}"),
        ("name: x\nextensions:\n", f"name: x\nextensions:\n{ADDED}"),
        ("name: x\nextensions: {}  # none\n", f"name: x\nextensions:  # none\n{ADDED}"),
        (
            "# mine\nname: x\nextensions:  # ours\n  a: ./a  # the first\n\n# ports\nports: auto\n",
            "# mine\nname: x\nextensions:  # ours\n  a: ./a  # the first\n"
            f"{ADDED}\n# ports\nports: auto\n",
        ),
        (
            "extensions:\n    a:\n        source: ./a\n        config: {greeting: 'hi'}\nname: x\n",
            "extensions:\n    a:\n        source: ./a\n        config: {greeting: 'hi'}\n"
            "    b:\n      source: ./b\n      build: auto\nname: x\n",
        ),
        (
            "name: x\nextensions:\n  a:\n    source: ./a\n    build: |\n      make\n      true\n",
            "name: x\nextensions:\n  a:\n    source: ./a\n    build: |\n      make\n      true\n"
            f"{ADDED}",
        ),
        (
            "name: x\nextensions:\n  a:\n    source: ./a\n    probe:\n    - /a\n    - /b",
            f"name: x\nextensions:\n  a:\n    source: ./a\n    probe:\n    - /a\n    - /b\n{ADDED}",
        ),
        (
            "name: x\r\nextensions:\r\n  a: ./a\r\n",
            "name: x\r\nextensions:\r\n  a: ./a\r\n" + ADDED.replace("\n", "\r\n"),
        ),
    ],
)
def test_lines_are_added_and_nothing_else_changes(before: str, after: str) -> None:
    assert add_extension(before, "algaenv.yaml", "b", ENTRY) == after


@pytest.mark.parametrize(
    "before",
    [
        '{"name": "x", "extensions": {"a": "./a"}}',
        "name: x\nextensions: {a: ./a}\n",
        "name: x\nextensions: ~\n",
        "name: x\nextensions: {a: ./a,\n  c: ./c}\n",
    ],
)
def test_a_form_without_lines_is_refused_with_the_lines_to_add(before: str) -> None:
    with pytest.raises(SpecError) as raised:
        add_extension(before, "algaenv.yaml", "b", ENTRY)
    assert raised.value.problem.code == "spec-edit"
    assert raised.value.problem.detail == ("b:", "  source: ./b", "  build: auto")


def test_a_new_spec_is_valid(tmp_path: Path) -> None:
    for name in ("b", "1.0", "null", "2"):
        source = tmp_path / "b"
        source.mkdir(exist_ok=True)
        (source / "manifest.json").write_text("{}")
        spec = tmp_path / "algaenv.yaml"
        spec.write_text(new_spec("x", name, ENTRY))
        loaded = load(spec, {})
        assert [it.name for it in loaded.intent.extensions] == [name]
        assert loaded.warnings == ()


def test_a_text_that_means_something_else_is_quoted() -> None:
    assert yaml_text("plain-text") == "plain-text"
    assert [yaml_text(it) for it in ("1.0", "on", "a: b", "./a #b")] == [
        '"1.0"',
        '"on"',
        '"a: b"',
        '"./a #b"',
    ]


@pytest.mark.parametrize(
    ("directory", "name"),
    [("My Shop", "my-shop"), ("_", "extensions"), ("a" * 60, "a" * 41), ("Größe", "gr-e")],
)
def test_an_environment_is_named_after_its_directory(
    tmp_path: Path, directory: str, name: str
) -> None:
    assert environment_name(tmp_path / directory) == name


def test_lines_of_gitignore_are_added_once(tmp_path: Path) -> None:
    assert ignored_lines(tmp_path) == ".algaenv/\n*.local.yaml\n"
    (tmp_path / ".gitignore").write_text("node_modules\n/.algaenv")
    assert ignored_lines(tmp_path) == "node_modules\n/.algaenv\n*.local.yaml\n"
    (tmp_path / ".gitignore").write_text(ignored_lines(tmp_path) or "")
    assert ignored_lines(tmp_path) is None
