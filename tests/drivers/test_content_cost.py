"""A look costs the same number of round trips for one extension as for two hundred."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.drivers.tally import counted_statements, counting_proxy
from tests.drivers.worlds import Wanted, World

MANY = 200


@pytest.mark.parametrize("count", [1, MANY])
def test_round_trips_of_a_look(world: World, count: int) -> None:
    world.buckets = (*world.buckets, f"{world.bucket}-more")
    world.extensions = {
        f"ext{n}": Wanted(name=f"com.example.ext{n}") for n in range(1 if count == 1 else MANY)
    }
    world.up()
    with counting_proxy(world.store.port) as requests, counted_statements(world.database) as sql:
        world.store_port = requests.port
        snapshot = world.snapshot()
        wanted = world.wanted(snapshot)
        seen = snapshot.observe(wanted)
        assert snapshot.blockers(wanted) == {}
    assert len(seen) == 2 * count + 4
    assert all(getattr(it, "drift", None) == () for it in seen.values())
    assert (sql.connections, sql.statements) == (1, 3)
    tenant = snapshot.ids.tenant_id
    assert requests.lines == [
        f"GET /{world.bucket}?list-type=2&prefix=tenants%2F{tenant}%2Fextensions%2F",
        f"GET /{world.bucket}-more?list-type=2&prefix=algaenv%2F",
    ]


def test_a_release_costs_the_same_beside_many_others(world: World) -> None:
    counts = []
    for others in (0, 30):
        world.extensions |= {f"ext{n}": Wanted(name=f"com.example.ext{n}") for n in range(others)}
        world.up()
        world.change(enabled=not world.extensions["hello"].enabled)
        with counted_statements(world.database) as sql:
            assert world.up() == ["update release/hello"]
        counts.append((sql.connections, sql.statements))
    assert counts[0] == counts[1]


def test_looking_imports_no_slow_library_that_it_does_not_need() -> None:
    code = (
        "import sys; import algaenv.drivers.content;"
        "print(*{it.partition('.')[0] for it in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    slow = {"psycopg", "boto3", "botocore", "obstore", "tenacity", "pydantic", "yaml"}
    assert not slow & set(done.stdout.split())


def test_the_reading_of_rows_imports_nothing_of_ours_but_constants() -> None:
    code = (
        "import sys; import algaenv.drivers.catalog_read;"
        "print(*(it for it in sys.modules if it.startswith('algaenv')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert set(done.stdout.split()) == {
        "algaenv",
        "algaenv.drivers",
        "algaenv.drivers.catalog_read",
        "algaenv.drivers.catalog_shape",
    }
