"""A look costs the same number of round trips for one extension as for a hundred."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.drivers.content_environment import ContentEnvironment, ExtensionFixture
from tests.drivers.wire_counters import counted_statements, counting_proxy
from tests.params import slow_params

MANY = 100


@pytest.mark.parametrize("count", [1, *slow_params(MANY)])
def test_round_trips_of_a_look(env: ContentEnvironment, count: int) -> None:
    env.buckets = (*env.buckets, f"{env.bucket}-more")
    env.extensions = {
        f"ext{n}": ExtensionFixture(name=f"com.example.ext{n}")
        for n in range(1 if count == 1 else MANY)
    }
    env.up()
    with counting_proxy(env.store.port) as requests, counted_statements(env.database) as sql:
        env.store_port = requests.port
        snapshot = env.snapshot()
        wanted = env.wanted(snapshot)
        seen = snapshot.observe(wanted)
        assert snapshot.blockers(wanted) == {}
    assert len(seen) == 2 * count + 4
    assert all(getattr(it, "drift", None) == () for it in seen.values())
    assert (sql.connections, sql.statements) == (1, 3)
    tenant = snapshot.ids.tenant_id
    assert requests.lines == [
        f"GET /{env.bucket}?list-type=2&prefix=tenants%2F{tenant}%2Fextensions%2F",
        f"GET /{env.bucket}-more?list-type=2&prefix=algaenv%2F",
    ]


@pytest.mark.slow
def test_a_release_costs_the_same_beside_many_others(env: ContentEnvironment) -> None:
    counts = []
    for others in (0, 30):
        env.extensions |= {
            f"ext{n}": ExtensionFixture(name=f"com.example.ext{n}") for n in range(others)
        }
        env.up()
        env.change(enabled=not env.extensions["hello"].enabled)
        with counted_statements(env.database) as sql:
            assert env.up() == ["update release/hello"]
        counts.append((sql.connections, sql.statements))
    assert counts[0] == counts[1]


def test_looking_imports_no_slow_library_that_it_does_not_need() -> None:
    code = (
        "import sys; import algaenv.drivers.content_host;"
        "print(*{it.partition('.')[0] for it in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    slow = {"psycopg", "boto3", "botocore", "obstore", "tenacity", "pydantic", "yaml"}
    assert not slow & set(done.stdout.split())


def test_the_reading_of_rows_imports_nothing_of_ours_but_constants() -> None:
    code = (
        "import sys; import algaenv.drivers.database.queries;"
        "print(*(it for it in sys.modules if it.startswith('algaenv')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert set(done.stdout.split()) == {
        "algaenv",
        "algaenv.drivers",
        "algaenv.drivers.database.queries",
        "algaenv.drivers.database",
    }
