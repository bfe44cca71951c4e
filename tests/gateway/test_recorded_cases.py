"""The gateway answers what the product's own handlers answered."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from _pytest.mark.structures import ParameterSet

from algaenv.gateway.quirks import DIFFERENCES
from tests.drivers.alga import migrate
from tests.gateway.gateway_process import gateway, settings_file
from tests.gateway.recorded_cases import Case, cases, differences, groups, world
from tests.gateway.stage import TOKEN, Stage
from tests.gateway.stub_runner import StubRunner
from tests.runner.observability.fake_redis import running
from tests.servers import Postgres, new_database

PAGE = Path(__file__).parents[2] / "docs/explanation/gateway-differences.md"
TIMEOUT_MS = 2500
"""As when the cases were recorded: a runner that takes longer is too slow."""


@pytest.fixture(scope="module")
def stage(
    postgres: Postgres, _runner: StubRunner, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    import redis

    folder = tmp_path_factory.mktemp("recorded")
    with (
        new_database(postgres, shared=True) as database,
        running(folder) as server,
        psycopg.connect(**database.dsn, autocommit=True) as connection,
    ):
        migrate(database)
        env = {
            "DATABASE_URL": database.url,
            "TENANT_ID": world()["tenant"],
            "RUNNER_BASE_URL": _runner.url,
            "RUNNER_STORAGE_API_TOKEN": TOKEN,
            "EXT_GATEWAY_TIMEOUT_MS": str(TIMEOUT_MS),
            "GATEWAY_SETTINGS": settings_file(folder, world()["settings"]),
            "RUNNER_DEBUG_REDIS_URL": server.url,
            "RUNNER_DEBUG_REDIS_STREAM_PREFIX": "recorded:",
        }
        client = redis.Redis.from_url(server.url)
        with client, gateway(env) as service:
            yield Stage(connection, _runner, service.port, client)


SLOW = {
    *("audit/ext-proxy-timeout", "runner-answers/ext-proxy-slow"),
    *(f"debug-stream/{it}" for it in ("blank-request", "install-upper", "request-none", "tech")),
}
"""They wait for a time-out or for the end of a stream, as others of their group do."""


def named_cases() -> Iterator[ParameterSet]:
    """Every recorded case under the name of its group and its own."""
    for group in groups():
        for case in cases(group):
            name = f"{group}/{case['id']}"
            yield pytest.param(case, id=name, marks=pytest.mark.slow if name in SLOW else ())


@pytest.mark.parametrize("case", list(named_cases()))
def test_the_gateway_answers_as_the_product(stage: Stage, case: Case) -> None:
    found = list(differences(case["product"], stage.play(case)))
    assert not found, json.dumps(case["request"])[:500]


def test_differences_on_purpose_are_announced_and_have_a_reason() -> None:
    told = re.findall(r"<!-- difference: ([a-z0-9-]+) -->", PAGE.read_text())
    assert told == list(DIFFERENCES)
