"""Every key of the models is on the reference page, in the example, and free where it must be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, JsonValue

from algaenv.spec.document import Document
from algaenv.spec.gateway import GatewaySpec
from algaenv.spec.load import load
from algaenv.spec.services import (
    EngineSpec,
    InlineEngine,
    ManagedSpec,
    RedisSpec,
    RunnerSpec,
    StoreSpec,
)
from algaenv.spec.variables import FREE_FORM_KEYS, NAMED_KEYS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "spec.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "algaenv.yaml.example"
APP = "gateway:                          # or"
FORMS = {"file", "env"}
"""Keys of a secret's own forms, explained once."""


def inner(annotation: Any, prefix: str) -> Iterator[tuple[type[BaseModel], str]]:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from inner(args[0], prefix)
    elif origin is dict:
        yield from inner(args[1], f"{prefix}*.")
    elif origin is list or origin is Union or args:
        for arg in args:
            yield from inner(arg, prefix)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, prefix


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key as the page writes it, with its type; engines have a table of their own."""
    for name, info in model.model_fields.items():
        path = f"{prefix}{info.alias or name}"
        yield path, info.annotation
        for found, below in inner(info.annotation, f"{path}."):
            if not issubclass(found, EngineSpec):
                yield from keys(found, below)


def all_keys() -> list[tuple[str, Any]]:
    found = dict([*keys(Document), *keys(InlineEngine)])
    return [(path, kind) for path, kind in found.items() if path.split(".")[-1] not in FORMS]


def test_every_key_has_a_row() -> None:
    missing = [path for path, _ in all_keys() if f"\n| `{path}` |" not in PAGE]
    assert missing == []
    assert len(all_keys()) > 60


def test_every_row_has_a_key() -> None:
    tables = PAGE.partition("## Top level")[2].partition("Templates may hold")[0]
    rows = set(re.findall(r"^\| `([a-z_.*]+)` \|", tables, flags=re.MULTILINE))
    engines = {"silo", "minio", "rustfs", "rclone", "valkey", "redis"}
    assert rows - {path for path, _ in all_keys()} - engines == set()


def test_defaults_on_the_page_are_those_of_the_models() -> None:
    sections: dict[str, type[BaseModel]] = {
        "store": StoreSpec,
        "redis": RedisSpec,
        "database": ManagedSpec,
        "runner": RunnerSpec,
        "gateway": GatewaySpec,
    }
    for section, model in sections.items():
        for name, info in model.model_fields.items():
            default = info.default
            if isinstance(default, str | int):
                shown = str(default).lower() if isinstance(default, bool) else default
                row = PAGE.partition(f"\n| `{section}.{name}` |")[2].partition("\n")[0]
                assert f"| `{shown}` |" in row, f"{section}.{name}"


def test_every_key_is_in_the_example() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    paths = [path for path, _ in keys(Document) if path.split(".")[-1] not in FORMS]
    missing = [path for path in paths if not re.search(rf"\b{path.split('.')[-1]}:", text)]
    assert missing == []


def test_the_example_is_the_shortest_spec() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# yaml-language-server: $schema=")
    assert (EXAMPLE.parent / lines[0].partition("=")[2]).is_file()
    assert [line for line in lines if line and not line.startswith("#")] == ["name: my-environment"]


def test_the_example_works_with_its_comments_taken_away(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8").partition("\n")[2]
    kept = [
        line[2:] for line in text.splitlines() if re.match(r"# (?:  )*(?!#)(?:- \{)?[a-z_]+:", line)
    ]
    # Of two ways to say one thing the first is kept.
    text = "\n".join(kept)
    for twice, after in (("database:                         #", "runner:"), (APP, "tenant:")):
        first, _, second = text.partition(twice)
        text = f"{first}{after}{second.partition(after)[2]}"
    spec = tmp_path / "algaenv.yaml"
    spec.write_text(f"name: demo\n{text}\n", encoding="utf-8")
    for name in ("hello", "invoices"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    (tmp_path / "base.yaml").write_text("redis: {}\n")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "algaenv.fragment.yaml").write_text("version: 1\n")
    (tmp_path / "secrets").mkdir()
    for name in ("api_token", "redis", "database"):
        (tmp_path / "secrets" / name).write_text("a-secret-value\n")
    (tmp_path / "seeds" / "documents").mkdir(parents=True)
    (tmp_path / "seeds" / "customers.sql").touch()
    (tmp_path / "seeds" / "items.json").write_text("{}")
    intent = load(spec, {"STORE_ACCESS_KEY": "access", "STORE_SECRET_KEY": "secret-key"}).intent
    assert [each.name for each in intent.every_extension] == ["hello", "invoices"]
    assert [each.extension for each in intent.seed.records] == ["hello"]
    assert [each.name for each in intent.every_extension] == ["hello", "invoices"]
    assert intent.runner.volumes == (f"{tmp_path}/fixtures:/fixtures:ro",)


def test_free_mappings_are_those_of_the_models() -> None:
    free = set()
    for path, kind in [*keys(Document), *keys(InlineEngine)]:
        found = [kind, *get_args(kind)]
        if any(get_origin(each) is dict or each is JsonValue for each in found):
            free.add(path.split(".")[-1])
    assert free == FREE_FORM_KEYS | NAMED_KEYS
