"""The paths and the specs of isolated environments."""

from __future__ import annotations

from pathlib import Path

import pytest

from algaenv.model.intent import BundledGateway, Intent, ManagedDatabase
from algaenv.model.isolated import (
    authored_spec,
    is_isolated_name,
    isolated_name,
    isolated_spec,
)
from algaenv.model.problem import SpecError
from algaenv.spec.cache import load_cached
from algaenv.spec.load import load
from algaenv.spec.provenance import explain_field

SPEC = """\
name: demo
store: {port: 4001, console_port: 4002}
redis: {port: 4003}
database: {port: 4004}
runner: {port: 4005}
gateway: {port: 4006}
tenant: {name: "${TENANT}"}
"""


def ports_of(intent: Intent) -> list[int | None]:
    database, gateway = intent.database, intent.gateway
    assert isinstance(database, ManagedDatabase)
    assert isinstance(gateway, BundledGateway)
    services = (intent.redis, database, intent.runner, gateway)
    return [intent.store.port, intent.store.console_port, *(it.port for it in services)]


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("feature", True),
        ("7", True),
        ("a-b", True),
        ("a" * 20, True),
        ("a" * 21, False),
        ("", False),
        ("A", False),
        ("-a", False),
        ("a-", False),
        ("../a", False),
    ],
)
def test_names(name: str, good: bool) -> None:
    assert is_isolated_name(name) is good


def test_a_path_stands_for_a_name_and_leads_back(tmp_path: Path) -> None:
    spec = tmp_path / "team.yaml"
    path = isolated_spec(spec, "feature")
    assert path == tmp_path / ".algaenv/isolated/feature/team.yaml"
    assert (isolated_name(path), authored_spec(path)) == ("feature", spec)
    assert (isolated_name(spec), authored_spec(spec)) == (None, spec)
    assert isolated_name(Path("algaenv.yaml")) is None
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert isolated_spec(link / "team.yaml", "feature") == path


def test_the_authors_files_are_read_with_another_name_and_free_ports(tmp_path: Path) -> None:
    spec = tmp_path / "algaenv.yaml"
    spec.write_text(SPEC)
    (tmp_path / ".env").write_text("TENANT=Emerald City\n")
    (tmp_path / "algaenv.local.yaml").write_text("keep_versions: 7\n")
    path = isolated_spec(spec, "feature")
    for loaded in (load(path, {}), *(load_cached(path, {}, tmp_path / "c") for _ in range(2))):
        intent = loaded.intent
        assert intent.name == "demo-feature"
        assert ports_of(intent) == [None] * 6
        assert (intent.tenant.name, intent.keep_versions) == ("Emerald City", 7)
        assert spec in loaded.files
    own = load_cached(spec, {}, tmp_path / "c").intent
    assert (own.name, ports_of(own)) == ("demo", [4001, 4002, 4003, 4004, 4005, 4006])
    (setting,) = explain_field(path, {}, "redis.port").settings
    assert setting.where.file == str(spec)


def test_a_long_name_leaves_room(tmp_path: Path) -> None:
    spec = tmp_path / "algaenv.yaml"
    spec.write_text(f"name: {'a' * 39}-b\n")
    name = load(isolated_spec(spec, "f" * 20), {}).intent.name
    assert name == f"{'a' * 20}-{'f' * 20}"


def test_an_external_database_is_refused_at_its_place(tmp_path: Path) -> None:
    spec = tmp_path / "algaenv.yaml"
    spec.write_text(
        "name: demo\ngateway: none\ndatabase:\n  url: postgresql://me:pw@localhost:5432/server\n"
    )
    load(spec, {})
    with pytest.raises(SpecError) as caught:
        load(isolated_spec(spec, "feature"), {})
    (problem,) = caught.value.problems
    assert problem.code == "spec-isolated-database"
    assert problem.where is not None
    assert (problem.where.file, problem.where.line) == (str(spec), 4)
