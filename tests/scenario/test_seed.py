"""Seeds of a spec, from the command line, on both runtimes."""

from __future__ import annotations

import json

import pytest

from tests.scenario.conftest import BOTH, docker_slow
from tests.scenario.project import Project
from tests.scenario.test_drift_report import fields

SEEDS = ("seed-sql/seeds/notes.sql", "seed-objects/documents/demo/", "seed-records/hello")


def seed(project: Project) -> None:
    directory = project.root / "seeds"
    (directory / "files").mkdir(parents=True)
    (directory / "files" / "a.txt").write_text("one")
    (directory / "items.json").write_text(json.dumps({"first": {"count": 1}}))
    (directory / "notes.sql").write_text(
        "DROP TABLE IF EXISTS seeded;\nCREATE TABLE seeded (name text);\n"
        "INSERT INTO seeded SELECT name FROM extension_registry;\n"
    )
    project.spec["store"] = {
        "engine": "minio",
        "port": project.ports["store"],
        "console_port": project.ports["console"],
        "buckets": ["documents"],
    }
    project.spec["seed"] = {
        "sql": ["seeds/notes.sql"],
        "objects": [{"source": "seeds/files", "bucket": "documents", "prefix": "demo"}],
        "records": {"hello": {"items": "seeds/items.json", "settings": {"dark": True}}},
    }
    project.write()


def values(project: Project) -> dict[str, object]:
    """Of the seeded namespaces; handlers of other tests have others."""
    wanted = "SELECT key, value FROM ext_storage_records WHERE namespace IN ('items', 'settings')"
    return dict(project.sql(wanted))


@docker_slow("running")
def test_seeds_are_planned_applied_watched_and_removed(running: Project) -> None:
    project = running
    seed(project)
    planned = json.loads(project.text("plan", "--json").stdout)["plan"]["steps"]
    assert {it["address"] for it in planned} >= set(SEEDS)
    assert set(SEEDS) <= {it.partition(" ")[2] for it in project.up().ok().steps()}
    assert project.sql("SELECT name FROM seeded") == [("com.example.hello",)]
    assert values(project) == {"first": {"count": 1}, "dark": True}
    assert project.up().ok().steps() == {}

    project.s3().delete_object(Bucket="documents", Key="demo/a.txt")
    assert fields(project) == {"seed-objects/documents/demo/ objects.a.txt"}
    file = project.root / "seeds" / "notes.sql"
    file.write_text("SELECT 1;\nINSERT INTO seeded VALUES (missing);\n")
    failed = project.up()
    assert failed.code != 0
    (problem,) = [it for it in failed.problems() if it["code"] == "seed-sql"]
    assert problem["file"].endswith("seeds/notes.sql")
    assert (problem["line"], problem["column"]) == (2, 28)
    assert project.sql("SELECT name FROM seeded") == [("com.example.hello",)]


@pytest.mark.slow
@pytest.mark.parametrize("running", BOTH, indirect=True)
def test_seeds_stay_with_the_data_and_go_with_the_spec(running: Project) -> None:
    project = running
    seed(project)
    project.up().ok()
    file = project.root / "seeds" / "notes.sql"
    file.write_text("INSERT INTO seeded VALUES ('again');")
    again = project.up("hello").ok()
    assert again.steps() == {}, "a run about one extension applies no SQL"
    project.up().ok()
    assert len(project.sql("SELECT name FROM seeded")) == 2

    project.down().ok()
    assert project.up().ok().code == 0
    assert len(project.sql("SELECT name FROM seeded")) == 2, "down keeps what seeds have made"
    del project.spec["seed"]
    project.write()
    gone = project.up().ok().steps()
    assert set(gone) == {f"delete {it}" for it in SEEDS}
    assert values(project) == {}
    assert project.s3().list_objects_v2(Bucket="documents").get("Contents", []) == []
    assert len(project.sql("SELECT name FROM seeded")) == 2
    project.sql("DROP TABLE seeded")


@pytest.mark.slow
def test_a_seed_that_cannot_be_read_stops_the_run_before_it_changes_anything(
    running_process: Project,
) -> None:
    seed(running_process)
    (running_process.root / "seeds" / "notes.sql").write_bytes(b"\xff")
    run = running_process.up()
    assert run.codes() == {"seed-unreadable"}
    assert run.steps() == {}
