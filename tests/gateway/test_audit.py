"""Rows of `extension_execution_log`: inserted before the call, and updated with its result."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from algaenv.gateway.apis.storage.records import WRITE
from algaenv.gateway.audit import UPDATE_ENDED
from tests.drivers.alga import OZ
from tests.gateway.conftest import Start
from tests.gateway.gateway_process import Gateway
from tests.gateway.seed import Extension, install
from tests.gateway.stub_runner import ReceivedCall, StubResponse, StubRunner, envelope
from tests.gateway.test_calls import BOTH, DIRECT, PORTAL, PROXY, denied
from tests.servers import Database, free_port


def rows(tables: Database, status: str | None = None, count: int = 1) -> list[tuple[Any, ...]]:
    """`count` rows that have ended, or have this `status`; they are written after the response."""
    until = time.monotonic() + 10
    while True:
        found = tables.sql(
            "SELECT status, error, metrics, request_id, finished_at >= started_at, tenant_id,"
            " registry_id::text, version_id::text FROM extension_execution_log"
            " WHERE status = %s OR (%s::text IS NULL AND finished_at IS NOT NULL)"
            " ORDER BY started_at",
            status,
            status,
        )
        if len(found) >= count:
            return found
        assert time.monotonic() < until, found
        time.sleep(0.01)


@BOTH
def test_a_call(service: Gateway, hello: Extension, tables: Database, route_prefix: str) -> None:
    url = f"{route_prefix}/{hello.slug}/items/7?secret=1"
    answer = service.call(url, b"{}", method="PUT", x_request_id="r", x_algaenv_user="msp")
    assert answer.status == 200
    ((status, error, metrics, request, ordered, *ids),) = rows(tables)
    assert (status, error, request, ordered) == ("ok", None, "r", True)
    assert ids == [OZ, hello.registry, hello.version]
    assert metrics.pop("duration_ms") > 0
    assert metrics.pop("user_id")
    assert metrics == {
        "method": "PUT",
        "path": "/items/7",
        "endpoint_template": "/items/:id",
        "principal_kind": "msp",
        "http_status": 200,
    }


def test_the_row_comes_first(
    service: Gateway, hello: Extension, tables: Database, runner: StubRunner
) -> None:
    seen: list[tuple[Any, ...]] = []

    def look(asked: ReceivedCall) -> StubResponse:
        seen.extend(rows(tables, "started"))
        return envelope(200, b"{}")

    runner.answer = look
    service.call(f"{DIRECT}/{hello.slug}/hello", x_request_id="early")
    ((status, _, metrics, request, *_),) = seen
    assert (status, request) == ("started", "early")
    assert "http_status" not in metrics


RUNNER_ERROR = "error", "runner_error"
HANDLER_ERROR = "upstream_error", "extension_error_status"


@pytest.mark.parametrize(
    ("response", "direct", "proxy"),
    [
        (envelope(200, b""), ("ok", None, 200), ("ok", None, 200)),
        (envelope(399, b""), ("ok", None, 399), ("ok", None, 399)),
        (envelope(404, b""), (*HANDLER_ERROR, 404), (*HANDLER_ERROR, 404)),
        (envelope(500, error="execute_failed: x"), (*HANDLER_ERROR, 500), (*HANDLER_ERROR, 500)),
        (envelope(600, b""), (*RUNNER_ERROR, 502), (*RUNNER_ERROR, 502)),
        (envelope(204, b"x"), (*RUNNER_ERROR, 502), (*RUNNER_ERROR, 502)),
        (StubResponse(503, b"busy"), (*RUNNER_ERROR, 503), (*RUNNER_ERROR, 503)),
        (StubResponse(200, b"<"), ("error", "invalid_response", 200), (*RUNNER_ERROR, 502)),
        (StubResponse(200, b""), ("error", "empty_response", 200), (*RUNNER_ERROR, 502)),
        (StubResponse(200, b"null"), (*RUNNER_ERROR, 502), ("ok", None, 200)),
    ],
)
def test_ends(
    *,
    service: Gateway,
    hello: Extension,
    tables: Database,
    runner: StubRunner,
    response: StubResponse,
    direct: tuple[str, str | None, int],
    proxy: tuple[str, str | None, int],
) -> None:
    runner.respond_with(response)
    service.call(f"{DIRECT}/{hello.slug}/hello")
    service.call(f"{PROXY}/{hello.slug}/hello")
    found = [(row[0], row[1], row[2]["http_status"]) for row in rows(tables, count=2)]
    assert found == [direct, proxy]


def test_the_kind_of_who_calls(service: Gateway, tables: Database) -> None:
    it = install(tables, OZ, hooks=PORTAL)
    service.call(f"{PROXY}/{it.slug}/hello", x_algaenv_user="client")
    ((_, _, metrics, *_),) = rows(tables)
    assert metrics["principal_kind"] == "client"


def test_nobody_there_and_too_late(
    start: Start, hello: Extension, tables: Database, runner: StubRunner
) -> None:
    service = start(RUNNER_BASE_URL=f"http://127.0.0.1:{free_port()}")
    service.call(f"{DIRECT}/{hello.slug}/hello")
    ((status, error, metrics, *_),) = rows(tables)
    assert (status, error, metrics["http_status"]) == ("error", "runner_error", 502)
    done = threading.Event()
    runner.answer = lambda asked: (done.wait(20), envelope())[1]
    # The time is for the first connection to the database, too.
    service = start(EXT_GATEWAY_TIMEOUT_MS="700")
    try:
        service.call(f"{DIRECT}/{hello.slug}/hello")
        status, error, metrics, *_ = rows(tables, count=2)[1]
        assert (status, error, metrics["http_status"]) == ("timeout", "timeout", 502)
    finally:
        done.set()


@BOTH
def test_without_a_bundle(service: Gateway, tables: Database, route_prefix: str) -> None:
    it = install(tables, OZ)
    tables.sql("DELETE FROM extension_bundle")
    service.call(f"{route_prefix}/{it.slug}/hello")
    ((status, error, metrics, *_),) = rows(tables)
    assert (status, error) == ("policy_denied", None)
    assert "http_status" not in metrics


@BOTH
def test_what_is_refused_before_has_none(
    service: Gateway, hello: Extension, tables: Database, route_prefix: str
) -> None:
    for path in ("nothing", "items/%2e%2e/x", "../x"):
        assert service.call(f"{route_prefix}/{hello.slug}/{path}").status == 404
    assert service.call(f"{route_prefix}/{hello.slug}/hello", x_algaenv_user="client").status == 403
    assert tables.sql("SELECT count(*) FROM extension_execution_log") == [(0,)]


@BOTH
def test_no_row_no_call(
    service: Gateway, hello: Extension, tables: Database, runner: StubRunner, route_prefix: str
) -> None:
    tables.sql("ALTER TABLE extension_execution_log RENAME TO aside")
    try:
        answer = service.call(f"{route_prefix}/{hello.slug}/hello")
    finally:
        tables.sql("ALTER TABLE aside RENAME TO extension_execution_log")
    denied(answer, 503, {"error": "access_policy_unavailable"}, "gateway-database-down")
    assert runner.asked == []
    assert service.call(f"{route_prefix}/{hello.slug}/hello").status == 200


def test_many_at_once(service: Gateway, hello: Extension, tables: Database) -> None:
    many = 200
    with ThreadPoolExecutor(16) as pool:
        urls = [f"{DIRECT}/{hello.slug}/items/{number}" for number in range(many)]
        assert {answer.status for answer in pool.map(service.call, urls)} == {200}
    found = rows(tables, count=many)
    assert {row[0] for row in found} == {"ok"}
    assert {row[2]["path"] for row in found} == {f"/items/{number}" for number in range(many)}
    assert len({row[3] for row in found}) == many


@pytest.mark.slow
def test_all_rows_are_ended_before_the_gateway_is(
    start: Start, hello: Extension, tables: Database
) -> None:
    service = start()
    for _ in range(20):
        assert service.call(f"{DIRECT}/{hello.slug}/hello").status == 200
    service.stop()
    found = tables.sql("SELECT status, finished_at IS NULL FROM extension_execution_log")
    assert found == [("ok", False)] * 20


@pytest.mark.parametrize(
    ("statement", "values", "table"),
    [
        (UPDATE_ENDED, {"rows": "[]"}, "extension_execution_log"),
        (
            WRITE,
            {"install": OZ, "namespace": "n", "items": "[]", "checked": None, "wrong": ""},
            "ext_storage_records",
        ),
    ],
)
def test_a_table_is_never_read_as_a_whole(
    tables: Database, statement: str, values: dict[str, str | None], table: str
) -> None:
    # Plans are kept, and those of a table with no row yet are the ones that go wrong.
    with psycopg.connect(**tables.dsn) as connection:
        rows = connection.execute(f"EXPLAIN {statement}".encode(), values).fetchall()
    plan = "\n".join(row[0] for row in rows)
    assert f"on {table}" in plan
    assert f"Seq Scan on {table}" not in plan
    assert "Hash" not in plan
