"""Tasks as real processes: their output, their records, and how they are ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.drivers.state import state_dir
from algaenv.drivers.tasks import MARK, TaskDriver, digests_of
from algaenv.model.intent import TaskIntent
from algaenv.model.kind import TASK, Tier
from algaenv.model.lock import Environment
from algaenv.model.problem import Failed, Where
from algaenv.model.resource import Absent, Present, Resource
from algaenv.model.secret import Secret
from algaenv.model.secret_mask import SecretMask
from algaenv.model.task import TaskRun
from algaenv.reconcile.wait import WaitInterrupted

PASSWORD = "a-long-password"


class Bench:
    """One environment, and what its tasks have printed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment: Environment = state_dir.identify(root / "algaenv.yaml", "demo")
        state_dir.open_state_dir(self.environment)
        self.lines: list[str] = []
        self.cancelled: Callable[[], bool] = lambda: False

    @property
    def driver(self) -> TaskDriver:
        mask = SecretMask([Secret(PASSWORD)])
        return TaskDriver(self.environment, dict(os.environ), mask, self.cancelled)

    def task(self, *words: str, timeout: float = 30.0) -> TaskIntent:
        where = Where("algaenv.yaml", 3, 5)
        shell = len(words) == 1
        return TaskIntent("seed", words, shell, str(self.root), {}, (), (), timeout, where)

    def run(self, task: TaskIntent) -> None:
        variables: dict[str, str | Secret] = {
            "DB_PASSWORD_ADMIN": Secret(PASSWORD),
            "DB_PORT": "5436",
        }
        body = TaskRun(task, variables)
        resource = Resource(TASK.address("seed"), Tier.CONTENT, {"run": [*task.command]}, body)
        self.driver.create(resource, self.lines.append)

    def fails(self, task: TaskIntent) -> Failed:
        with pytest.raises(Failed) as caught:
            self.run(task)
        assert self.last() == Absent(), "it runs again"
        return caught.value

    def last(self) -> Absent | Present:
        return self.driver.observe([self.task("x")])["seed"].last

    @property
    def log(self) -> Path:
        return self.environment.home / "logs" / "task-seed.log"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_task_has_the_variables_and_hides_secrets(bench: Bench) -> None:
    text = 'echo "$DB_PORT $DB_PASSWORD_ADMIN $KIND $(pwd)"; printf "\\033[31mred\\033[0m\\n"'
    bench.run(replace(bench.task(text), environment={"KIND": "mine"}))
    assert bench.lines[1:] == [f"5436 *** mine {bench.root}", "red"]
    assert PASSWORD not in bench.log.read_text()
    assert bench.log.stat().st_mode & 0o777 == 0o600
    last = bench.last()
    assert isinstance(last, Present)
    assert last.inputs == {"run": [text]}
    record = bench.environment.home / "tasks" / "seed.json"
    assert record.stat().st_mode & 0o777 == 0o600
    assert set(json.loads(record.read_text())) == {"fingerprint", "inputs"}
    record.write_text("{")
    assert bench.last() == Absent()


def test_a_list_of_words_needs_no_shell(bench: Bench) -> None:
    bench.run(bench.task("printf", "%s\n", "$HOME; ls"))
    assert bench.lines == ["$ printf %s\n $HOME; ls", "$HOME; ls"]


def test_what_fails_is_shown_with_its_last_lines(bench: Bench) -> None:
    bench.run(bench.task("true"))
    error = bench.fails(bench.task(f"echo table; echo {PASSWORD}; exit 3"))
    problem = error.problem
    assert problem.code == "task-failed"
    assert problem.summary.endswith("`echo table; echo ***; exit 3` ended with exit code 3")
    assert problem.detail == ("table", "***")
    assert problem.where == Where("algaenv.yaml", 3, 5)
    assert str(bench.log) in problem.hint
    killed = bench.fails(bench.task("kill -9 $$"))
    assert killed.problem.summary.endswith("ended with SIGKILL")


def test_a_program_that_is_not_there_is_named(bench: Bench) -> None:
    for words in (("no-such-program", "-x"), ("no-such-program -x",), ("a\0b", "c")):
        error = bench.fails(bench.task(*words))
        assert error.problem.code == "task-program-missing"
    gone = replace(bench.task("pwd"), directory=str(bench.root / "gone"))
    assert bench.fails(gone).problem.code == "task-program-missing"


def test_a_task_that_takes_too_long_is_ended(bench: Bench) -> None:
    error = bench.fails(bench.task("echo waiting; sleep 600", timeout=0.3))
    assert error.problem.code == "task-timeout"
    assert error.problem.detail == ("waiting",)


def test_what_a_task_leaves_in_the_background_is_ended(bench: Bench) -> None:
    bench.run(bench.task("sleep 600 & echo $!"))
    process = int(bench.lines[-1])
    deadline = time.monotonic() + 10
    while Path(f"/proc/{process}/stat").exists():
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z":
            break
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_interrupt_ends_a_task_and_it_runs_again(bench: Bench) -> None:
    begun = threading.Event()
    bench.cancelled = begun.is_set
    bench.run(bench.task("true"))
    task = bench.task("echo begun; sleep 600")
    resource = Resource(TASK.address("seed"), Tier.CONTENT, {}, TaskRun(task, {}))
    with pytest.raises(WaitInterrupted):
        bench.driver.create(resource, lambda line: begun.set() if line == "begun" else None)
    assert bench.last() == Absent()


def test_what_a_killed_run_left_is_ended_first(bench: Bench) -> None:
    """It would work on the same data as the task that runs again."""
    record = bench.environment.home / "tasks" / "seed.json"
    left = subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: str(record)})
    bench.run(bench.task("true"))
    assert left.wait(timeout=10) == -signal.SIGKILL


def test_inputs_are_the_files_that_globs_name(bench: Bench) -> None:
    for name in ("a.sql", "b.txt", "deep/c.sql", "deep/.d.sql.swp", ".git/x.sql"):
        path = bench.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    (bench.root / "link.sql").symlink_to("a.sql")
    task = replace(bench.task("x"), inputs=("**/*.sql",))
    found = digests_of(task)
    assert set(found) == {"a.sql", "deep/c.sql", "link.sql"}
    assert found["link.sql"] == "-> a.sql"
    assert set(digests_of(replace(task, inputs=("deep",)))) == {"deep/c.sql"}
    assert digests_of(replace(task, inputs=None)) == {}
    assert digests_of(replace(task, directory=str(bench.root / "none"))) == {}
    (bench.root / "a.sql").write_text("edited")
    assert digests_of(task)["a.sql"] != found["a.sql"]
