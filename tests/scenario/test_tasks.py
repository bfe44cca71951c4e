"""Tasks of a real environment: `up` runs them in order, and `run` by hand."""

from __future__ import annotations

import json

from tests.scenario.conftest import docker_slow
from tests.scenario.project import Project

SQL = "CREATE TABLE IF NOT EXISTS notes (text text); INSERT INTO notes VALUES ('one')"
SEED = """
import os, pathlib, psycopg
with psycopg.connect(
    host=os.environ["DB_HOST"], port=os.environ["DB_PORT"], user=os.environ["DB_USER_ADMIN"],
    password=os.environ["DB_PASSWORD_ADMIN"], dbname=os.environ["DB_NAME_SERVER"],
) as connection:
    connection.execute(pathlib.Path("notes.sql").read_text())
print("seeded as", os.environ["DB_PASSWORD_ADMIN"])
"""


def notes(project: Project) -> int:
    ((found,),) = project.sql("SELECT count(*) FROM notes")
    return int(found)


@docker_slow("running")
def test_up_runs_tasks_in_order_and_only_when_they_have_to(running: Project) -> None:
    project = running
    (project.root / "db").mkdir()
    (project.root / "db/notes.sql").write_text(SQL)
    (project.root / "db/seed.py").write_text(SEED)
    asks = 'test -n "$ALGAENV_GATEWAY_URL" && echo ok'
    project.spec["tasks"] = {
        "check": {"run": asks, "needs": ["seed", "hello"]},
        "seed": {
            "run": ["python", "seed.py"],
            "dir": "./db",
            "inputs": ["*"],
            "needs": ["database"],
        },
    }
    project.write()
    project.sql("DROP TABLE IF EXISTS notes")
    run = project.up().ok()
    assert list(run.steps()) == ["run task/seed", "run task/check"]
    assert run.cause("task/seed") == "has not run"
    assert notes(project) == 1
    again = project.up().ok()
    assert list(again.steps()) == ["run task/check"]
    assert again.cause("task/check") == "runs in every up"
    (project.root / "db/notes.sql").write_text(f"{SQL}, ('two')")
    edited = project.up().ok()
    assert edited.cause("task/seed") == "inputs changed: notes.sql"
    assert notes(project) == 3
    shown = project.text("run", "seed")
    password = project.secrets()["DB_PASSWORD_ADMIN"]
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines() == ["$ python seed.py", "seeded as ***"]
    assert notes(project) == 5
    assert password not in (project.home / "logs/task-seed.log").read_text()
    drift = project.text("drift")
    assert drift.returncode == 0, drift.stdout + drift.stderr


def test_a_task_that_fails_says_why_and_runs_again(running_process: Project) -> None:
    project = running_process
    project.spec["tasks"] = {
        "broken": {"run": "echo no table notes; exit 3", "inputs": []},
        "after": {"run": "echo after", "needs": ["broken"], "inputs": []},
    }
    project.write()
    run = project.up()
    assert run.code == 7
    assert run.steps() == {"run task/broken": "failed", "run task/after": "skipped"}
    (problem,) = [it for it in run.problems() if it["code"] == "task-failed"]
    assert problem["detail"] == ["no table notes"]
    by_hand = project.text("run", "broken")
    assert by_hand.returncode == 7
    assert by_hand.stdout.splitlines()[-1] == "no table notes"
    assert "error[task-failed]: cannot run the task broken" in by_hand.stderr
    events = [json.loads(it) for it in project.text("run", "after", "--json").stdout.splitlines()]
    assert events[-1]["event"] == "report"
    assert {"verb": "run", "address": "task/after"}.items() <= events[-1]["steps"][0].items()
    project.spec["tasks"]["broken"]["run"] = "true"
    project.write()
    assert list(project.up().ok().steps()) == ["run task/broken", "run task/after"]
    assert project.up().ok().changed == 0
