"""A no-op costs the same handful of round trips for one extension and for fifty."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenario.project import Project, until
from tests.scenario.switchboard import Switchboard

READS = {"GET", "HEAD"}


def s3_requests(project: Project) -> Counter[str]:
    """What MinIO has served so far, by API name."""
    url = f"http://127.0.0.1:{project.ports['store']}/minio/metrics/v3/api/requests"
    with urllib.request.urlopen(url, timeout=5) as answer:
        text = answer.read().decode()
    found = re.findall(r'^minio_api_requests_total\{name="(\w+)".*?\} (\d+)', text, re.MULTILINE)
    return Counter({name: int(count) for name, count in found})


class Statements:
    """Counts the SQL statements of a database run as a process, by its own log."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.ended = 0
        project.sql("ALTER SYSTEM SET log_statement = 'all'")
        project.sql("SELECT pg_reload_conf()")
        until("the log says so", lambda: "log_statement" in self._log())

    def _log(self) -> str:
        return (self.project.home / "logs" / "database.log").read_text(errors="replace")

    def since(self) -> list[str]:
        """The statements of the last run, without those of this class."""
        log = self._log()
        fresh, self.ended = log[self.ended :], len(log)
        found = re.findall(r"LOG:  (?:statement|execute [^:]*): (\w+)", fresh)
        return [verb.upper() for verb in found]


def open_metrics(project: Project) -> None:
    """Let MinIO show its counters to a client without credentials."""
    shown = {"MINIO_PROMETHEUS_AUTH_TYPE": "public"}
    engine = {"from": "minio", "environment": shown, "process_environment": shown}
    ports = project.ports
    project.spec["store"] = {
        "engine": engine,
        "port": ports["store"],
        "console_port": ports["console"],
    }
    project.write()


def grow(project: Project, count: int) -> None:
    """Make it `count` extensions, written to the spec once."""
    for number in range(count - 1):
        project.extension(f"extension-{number}")


@pytest.mark.slow
def test_a_no_op_of_50_extensions_makes_no_more_round_trips_than_of_one(
    make_project: Callable[..., Project],
) -> None:
    project = make_project("process")
    open_metrics(project)
    project.extension()
    project.up().ok()
    statements = Statements(project)
    costs = {}
    for count in (1, 50):
        grow(project, count)
        project.up().ok()
        statements.since()
        before = s3_requests(project)
        assert project.up().ok().changed == 0
        made = statements.since()
        served = s3_requests(project) - before
        # Of the runner asking for bundles nothing is left: it has them all.
        assert set(served) <= {"ListObjectsV2", "ListBuckets", "HeadBucket"}, served
        assert set(made) <= {"SELECT", "BEGIN", "COMMIT", "SET", "SHOW", "WITH"}, made
        costs[count] = (sum(served.values()), len(made))
    assert costs[1] == costs[50]


@pytest.mark.docker
def test_a_no_op_writes_nothing_to_the_engine(running_docker: Project, tmp_path: Path) -> None:
    project = running_docker
    with Switchboard(tmp_path / "engine.sock", "/var/run/docker.sock") as board:
        project.environ["DOCKER_HOST"] = board.host
        costs = {}
        for count in (1, 12):
            grow(project, count)
            project.up().ok()
            board.requests.clear()
            assert project.up().ok().changed == 0
            assert {method for method, _ in board.requests} <= READS, board.requests
            costs[count] = len(board.requests)
        assert costs[1] == costs[12]
