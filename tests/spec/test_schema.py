"""The schema for editors agrees with the models, describes every key, and is current."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from algaenv.model.problem import SpecError
from algaenv.spec.load import load
from algaenv.spec.paths import SPEC_FILE, names_in, stacks_root
from algaenv.spec.schema import schema, text

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILE = ROOT / "docs" / "reference" / "algaenv.schema.json"
EXAMPLE = ROOT / "algaenv.yaml.example"
SOURCE = str(HERE / "good" / "with" / "hello")


@functools.cache
def validator() -> Draft7Validator:
    Draft7Validator.check_schema(schema())
    return Draft7Validator(schema())


def test_the_file_is_current() -> None:
    assert FILE.read_text(encoding="utf-8") == text(), (
        "run python -m algaenv.spec.schema docs/reference/algaenv.schema.json"
    )


def test_every_property_is_described() -> None:
    def mappings(node: Any) -> Iterator[dict[str, Any]]:
        if isinstance(node, dict):
            yield node
            for value in node.values():
                yield from mappings(value)
        elif isinstance(node, list):
            for item in node:
                yield from mappings(item)

    whole = schema()
    del whole["then"]
    described = [each for node in mappings(whole) for each in node.get("properties", {}).values()]
    assert len(described) > 50
    assert [each for each in described if not each.get("description")] == []


def test_the_example_and_the_stacks_fit() -> None:
    paths = [EXAMPLE, *(stacks_root() / name / SPEC_FILE for name in names_in(stacks_root()))]
    for path in paths:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert list(validator().iter_errors(document)) == [], path
        load(path, {})


@pytest.mark.parametrize("path", sorted((HERE / "good").glob("*.yaml")), ids=lambda p: p.stem)
def test_good_specs_fit(path: Path) -> None:
    document = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    if path.stem == "yaml":  # dates and base-60 numbers are PyYAML's reading, not the spec's
        document["extensions"]["hello"]["config"] = {}
    assert list(validator().iter_errors(document)) == []


GOOD: list[dict[str, Any]] = [
    {},
    {"version": 1, "runtime": None, "extensions": None},
    {"x-anything": {"at": ["all"]}},
    {"extensions": {"a": SOURCE, "x-note": 5}},
    {"extensions": {"a": {"source": SOURCE, "build": "make", "x-n": 1, "config": {"n": None}}}},
    {"extensions": {"a": {"source": SOURCE, "build": ["make"], "capabilities": []}}},
    {"extensions": {"a": {"source": SOURCE, "secrets": {"k.1": "", "l": {"env": "HOME"}}}}},
    {"store": {"port": "auto", "console_port": 4, "buckets": ["abc"], "engine": {"uid": 5}}},
    {"store": {"engine": {"image": {"repositories": ["a/b"], "digest": None}, "recipe": ""}}},
    {"store": {"credentials": {"access_key": "abc"}}},
    {"redis": {"password": "", "persistent": False, "engine": "redis"}},
    {"redis": {"port": "${PORT:-7000}", "persistent": "${ON:-yes}"}},
    {"database": {"version": 18, "user": "me"}},
    {"database": {"url": "postgresql://u:p@h/d"}},
    {"runner": {"image": "bundled", "environment": {"A": "1", "B": {"env": "HOME"}}}},
    {"runner": {"image": "localhost:5000/a/b:1@sha256:" + "a" * 64, "volumes": ["./a:/b"]}},
    {"keep_versions": 0, "ready_timeout": 1.5, "app_url": "http://h:1"},
    {"ready_timeout": "90s"},
    {"tenant": {"id": "51BBBFE5-0720-4d9b-b3e5-b5b43e441a52"}},
]
BAD: list[dict[str, Any]] = [
    {"name": None},
    {"name": "Demo"},
    {"name": 5},
    {"version": 2},
    {"runtime": "dokcer"},
    {"stroe": {}},
    {"store": []},
    {"store": {"port": 0}},
    {"store": {"port": "4569"}},
    {"store": {"bucket": "A"}},
    {"store": {"buckets": "abc"}},
    {"store": {"engine": 5}},
    {"store": {"engine": {"ports": {"web": 80}}}},
    {"store": {"engine": {"image": {"tag": "a"}}}},
    {"store": {"credentials": {"access_key": 12345}}},
    {"redis": {"persistent": "yes"}},
    {"redis": {"password": {"fil": "a"}}},
    {"redis": {"password": {"file": "a", "env": "b"}}},
    {"database": {"version": 16}},
    {"database": {"url": "postgresql://u:p@h/d", "port": 5}},
    {"runner": {"environment": {"A-B": "x"}}},
    {"runner": {"environment": {"A": True}}},
    {"runner": {"environment": {"A": None}}},
    {"runner": {"image": {"build": {}}}},
    {"runner": {"image": "A/b"}},
    {"extensions": ["a"]},
    {"extensions": {"A b": SOURCE}},
    {"extensions": {"a": None}},
    {"extensions": {"a": ""}},
    {"extensions": {"a": {"source": None}}},
    {"extensions": {"a": {"source": SOURCE, "secrets": {"k": None}}}},
    {"extensions": {"a": {"enabled": True}}},
    {"extensions": {"a": {"source": SOURCE, "build": {"timeout": 5}}}},
    {"extensions": {"a": {"source": SOURCE, "build": []}}},
    {"extensions": {"a": {"source": SOURCE, "enabled": "yes"}}},
    {"keep_versions": -1},
    {"keep_versions": True},
    {"ready_timeout": "90"},
    {"ready_timeout": 0},
    {"tenant": {"id": "51bbbfe5"}},
    {"tenant": {"name": ""}},
]


def models_take(document: dict[str, Any], directory: Path) -> bool:
    path = directory / "algaenv.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    try:
        load(path, {"HOME": "/home/me"})
    except SpecError:
        return False
    return True


@pytest.mark.parametrize("document", GOOD, ids=json.dumps)
def test_both_take(document: dict[str, Any], tmp_path: Path) -> None:
    document = {"name": "demo", **document}
    assert list(validator().iter_errors(document)) == []
    assert models_take(document, tmp_path)


@pytest.mark.parametrize("document", BAD, ids=json.dumps)
def test_both_refuse(document: dict[str, Any], tmp_path: Path) -> None:
    document = {"name": "demo", **document}
    assert not validator().is_valid(document)
    assert not models_take(document, tmp_path)


def test_a_file_that_extends_may_say_less(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        json.dumps({"name": "demo", "extensions": {"a": {"source": SOURCE, "build": "make"}}})
    )
    document = {
        "extends": "./base.yaml",
        "extensions": {"a": {"enabled": False, "build": {"command": "make", "timeout": 5}}},
    }
    assert validator().is_valid(document)
    assert models_take(document, tmp_path)
    assert not validator().is_valid({"extends": "./base.yaml", "redis": {"prot": 1}})
