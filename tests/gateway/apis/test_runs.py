"""Schedules that run: the call, the row afterwards, and all that can be in the way."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from algaenv.bundle.digest import Digest
from algaenv.gateway.apis.scheduler.loop import DueRun, run_with_retries
from algaenv.gateway.apis.scheduler.runs import RunResult, RunSkipped, lock_key
from tests.drivers.alga import OZ
from tests.gateway.gateway_process import Answer, Gateway
from tests.gateway.seed import Extension, add_bundle, install
from tests.gateway.stub_runner import ReceivedCall, StubResponse, envelope

from .conftest import Api, Gateways, find_event


@pytest.fixture(autouse=True)
def _runner_answers(gateways: Gateways) -> Iterator[None]:
    gateways.runner.asked.clear()
    yield
    gateways.runner.respond_with(envelope(200, b"{}"))


def _create(gateways: Gateways, extension: Extension, **more: object) -> str:
    fields = {"endpoint": "POST /hello", "cron": "0 0 1 1 *", **more}
    scheduler = Api(gateways.faithful, "scheduler", extension.install)
    return str(scheduler.ok("create", **fields)["scheduleId"])


def _run(gateway: Gateway, schedule: str) -> Answer:
    return gateway.ask(f"/algaenv/schedules/{schedule}/run", method="POST", body=b"")


def _row(gateways: Gateways, schedule: str) -> tuple[Any, ...]:
    """When it ran last, how, and why not; and whether it is enabled."""
    (row,) = gateways.database.sql(
        "SELECT last_run_at, last_run_status, last_error, enabled FROM tenant_extension_schedule"
        " WHERE id = %s",
        schedule,
    )
    return row


def test_the_call(gateways: Gateways) -> None:
    extension = gateways.install(config={"k": "v"}, secrets={"s": "x"})
    schedule = _create(gateways, extension, payload={"a": [1, "ü"]})
    answer = _run(gateways.faithful, schedule)
    assert answer.json["status"] == "success"
    asked = gateways.runner.last
    request_id = answer.json["requestId"]
    assert asked.target == "/v1/execute"
    assert (
        asked.headers.items()
        >= {
            "x-alga-tenant": OZ,
            "x-alga-extension": extension.registry,
            "x-request-id": request_id,
            "x-idempotency-key": request_id,
        }.items()
    )
    sent = asked.json
    body = sent["http"].pop("body_b64")
    assert base64.b64decode(body) == '{"a":[1,"ü"]}'.encode()
    assert sent["http"] == {
        "method": "POST",
        "path": "/hello",
        "query": {},
        "headers": {"x-alga-tenant": OZ, "x-alga-extension": extension.registry},
    }
    assert sent["context"] == {
        "request_id": request_id,
        "tenant_id": OZ,
        "extension_id": extension.registry,
        "install_id": extension.install,
        "version_id": extension.version,
        "content_hash": extension.digest.prefixed,
        "config": {"k": "v"},
        "trigger": "schedule",
        "schedule_id": schedule,
    }
    assert sent["limits"] == {"timeout_ms": 30000}
    assert sent["secret_envelope"]["algorithm"] == "inline/base64"
    assert "user" not in sent
    assert "endpoint" not in sent
    ran_at, status, error, _ = _row(gateways, schedule)
    assert ran_at is not None
    assert (status, error) == ("success", None)


@pytest.mark.parametrize(
    "more", [{"endpoint": "GET /hello", "payload": {"a": 1}}, {"payload": None}]
)
def test_no_body(gateways: Gateways, extension: Extension, more: dict[str, object]) -> None:
    assert _run(gateways.faithful, _create(gateways, extension, **more)).status == 200
    assert "body_b64" not in gateways.runner.last.json["http"]


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (envelope(204), None),
        (envelope(399), None),
        (envelope(400), "Runner returned status 400"),
        (envelope(502, error="bundle_fetch_failed: no"), "Runner returned status 502"),
        # Any JSON will do, and its own status counts before that of HTTP.
        (StubResponse(500, b'{"status": 200}'), None),
        (StubResponse(200, b'{"status": "500"}'), "Runner returned status 500"),
        (StubResponse(200, b'{"status": "no"}'), None),
        (StubResponse(404, b"[]"), "Runner returned status 404"),
        (StubResponse(422, b"{}"), "Runner returned status 422"),
        (StubResponse(200, b"null"), None),
        (StubResponse(502, b""), "Runner returned empty body (http 502)"),
        (StubResponse(200, b"<html>"), "Runner returned non-JSON response (http 200)"),
        (
            StubResponse(200, json.dumps({"pad": "x" * 262_144}).encode()),
            "Runner response too large (262155 bytes; max 262144)",
        ),
    ],
)
def test_how_it_ends(
    gateways: Gateways, extension: Extension, response: StubResponse, error: str | None
) -> None:
    schedule = _create(gateways, extension)
    gateways.runner.respond_with(response)
    answer = _run(gateways.faithful, schedule).json
    ran_at, stored, told, enabled = _row(gateways, schedule)
    status = "error" if error else "success"
    assert (answer["status"], stored, enabled) == (status, status, True)
    assert ran_at is not None
    assert answer["error"] == told == error
    if b"bundle_fetch_failed" in response.body:
        assert answer["detail"] == "bundle_fetch_failed: no"
    gateways.runner.respond_with(envelope(200))
    _run(gateways.faithful, schedule)
    assert _row(gateways, schedule)[1:3] == ("success", None)


def test_what_is_passed_over(gateways: Gateways, extension: Extension) -> None:
    disabled = _create(gateways, extension, enabled=False)
    assert _run(gateways.faithful, disabled).status == 409
    assert _row(gateways, disabled)[:3] == (None, None, None)
    assert _run(gateways.faithful, str(uuid.uuid4())).status == 409
    assert _run(gateways.faithful, "nobody").status == 404
    assert not gateways.runner.asked


def test_an_install_that_is_switched_off(gateways: Gateways, extension: Extension) -> None:
    schedule = _create(gateways, extension)
    gateways.database.sql(
        "UPDATE tenant_extension_install SET is_enabled = false WHERE id = %s", extension.install
    )
    assert _run(gateways.faithful, schedule).json["error"] == "Install config not found"
    assert _row(gateways, schedule)[1:] == ("error", "Install config not found", True)
    assert not gateways.runner.asked


def test_no_bundle(gateways: Gateways, extension: Extension) -> None:
    schedule = _create(gateways, extension)
    gateways.database.sql("DELETE FROM extension_bundle WHERE version_id = %s", extension.version)
    assert _run(gateways.faithful, schedule).json["error"] == "Install content hash missing"
    assert not gateways.runner.asked


def test_endpoint_gone(gateways: Gateways, extension: Extension) -> None:
    schedule = _create(gateways, extension)
    gateways.database.sql(
        "DELETE FROM extension_api_endpoint WHERE version_id = %s", extension.version
    )
    assert _run(gateways.faithful, schedule).json["status"] == "error"
    assert _row(gateways, schedule)[2:] == (
        "Schedule endpoint not found; disabling schedule",
        False,
    )


def test_schedules_die_when_the_version_changes(gateways: Gateways, extension: Extension) -> None:
    schedule = _create(gateways, extension)
    _upgrade(gateways, extension, [("POST", "/hello")])
    answer = _run(gateways.faithful, schedule)
    assert answer.headers["x-algaenv-product-fault"] == "scheduler-version-change"
    assert _row(gateways, schedule)[2:] == (
        "Schedule endpoint does not belong to installed version",
        True,
    )
    assert not gateways.runner.asked
    answer = _run(gateways.fixed, schedule)
    assert answer.json["status"] == "success"
    assert "x-algaenv-product-fault" not in answer.headers
    assert _run(gateways.faithful, schedule).json["status"] == "success"


def test_mended_but_without_a_counterpart(gateways: Gateways, extension: Extension) -> None:
    schedule = _create(gateways, extension)
    _upgrade(gateways, extension, [("GET", "/hello")])
    assert _run(gateways.fixed, schedule).json["status"] == "error"


def _upgrade(gateways: Gateways, extension: Extension, endpoints: list[tuple[str, str]]) -> None:
    (row,) = gateways.database.sql(
        "INSERT INTO extension_version (id, registry_id, version, runtime, main_entry,"
        " api_endpoints) VALUES (gen_random_uuid(), %s, '9.9.9', 'wasm-js@1', 'ui', %s)"
        " RETURNING id::text",
        extension.registry,
        json.dumps([{"method": m, "path": p, "handler": "x"} for m, p in endpoints]),
    )
    add_bundle(gateways.database, row[0], Digest.of(row[0].encode()))
    gateways.database.sql(
        "UPDATE tenant_extension_install SET version_id = %s WHERE id = %s",
        row[0],
        extension.install,
    )


def test_runs_do_not_overlap(gateways: Gateways, extension: Extension) -> None:
    schedule = _create(gateways, extension)
    arrived, leave = threading.Event(), threading.Event()

    def slow(asked: ReceivedCall) -> StubResponse:
        arrived.set()
        assert leave.wait(20)
        return envelope(200)

    gateways.runner.answer = slow
    first = threading.Thread(target=_run, args=(gateways.faithful, schedule))
    first.start()
    assert arrived.wait(20)
    # The other gateway knows of it through the database.
    for each in (gateways.faithful, gateways.fixed):
        assert _run(each, schedule).status == 409
    leave.set()
    first.join()
    assert len(gateways.runner.asked) == 1
    assert _run(gateways.faithful, schedule).status == 200


def test_the_lock_is_the_products(gateways: Gateways, extension: Extension) -> None:
    schedule = _create(gateways, extension)
    with psycopg.connect(**gateways.database.dsn) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(%s)", [lock_key(schedule)])
        assert _run(gateways.faithful, schedule).status == 409
    assert _run(gateways.faithful, schedule).status == 200


def test_runs_are_on_the_feed(gateways: Gateways, extension: Extension) -> None:
    schedule = _create(gateways, extension, name="nightly")
    gateways.runner.respond_with(envelope(500, error="execute_failed: no"))
    _run(gateways.faithful, schedule)
    details = find_event(gateways.faithful, extension, "schedule-ran")
    assert (
        details.items()
        >= {
            "schedule": schedule,
            "name": "nightly",
            "method": "POST",
            "path": "/hello",
            "status": "error",
            "detail": "execute_failed: no",
        }.items()
    )
    answer = gateways.faithful.ask("/algaenv/schedules").json["schedules"]
    (mine,) = (it for it in answer if it["id"] == schedule)
    assert mine["lastError"] == details["error"]


def test_schedules_run_by_themselves(gateways: Gateways, extension: Extension) -> None:
    """A sixth field counts seconds: a row that only a test writes."""
    schedule = _create(gateways, extension)
    gateways.database.sql(
        "UPDATE tenant_extension_schedule SET cron = '* * * * * *' WHERE id = %s", schedule
    )
    try:
        _until(lambda: len(_mine(gateways, schedule)) >= 3)
    finally:
        gateways.database.sql("DELETE FROM tenant_extension_schedule WHERE id = %s", schedule)
    moments = [it.json["context"]["request_id"] for it in _mine(gateways, schedule)]
    assert len(set(moments)) == len(moments)


@pytest.mark.slow
def test_a_run_that_fails_is_tried_again(gateways: Gateways, extension: Extension) -> None:
    """With an idempotency key of its own."""
    schedule = _create(gateways, extension)
    answers = iter((envelope(500), envelope(200)))
    gateways.runner.answer = lambda _: next(answers)
    # A sixth field in front counts seconds: a row that only a test writes.
    gateways.database.sql(
        "UPDATE tenant_extension_schedule SET cron = to_char((now() + interval '3 s')"
        " AT TIME ZONE 'UTC', 'FMSS FMMI FMHH24 FMDD FMMM \"*\"') WHERE id = %s",
        schedule,
    )
    _until(lambda: _row(gateways, schedule)[1] == "success")
    keys = [it.headers["x-idempotency-key"] for it in _mine(gateways, schedule)]
    assert len(set(keys)) == 2


@pytest.mark.parametrize(
    ("ends", "count"),
    [
        ([RunResult("no")] * 9, 4),
        ([RunResult("no"), RunResult(None)], 2),
        ([RunResult("no"), RunSkipped("it is disabled")], 2),
        ([RunSkipped("it has run")], 1),
        ([OSError("no database")] * 9, 4),
        ([OSError("no database"), RunResult(None)], 2),
    ],
)
def test_how_often_it_is_tried(ends: list[RunResult | RunSkipped | OSError], count: int) -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    asked: list[datetime | None] = []
    delays: list[float] = []

    async def run(due: datetime | None) -> RunResult | RunSkipped:
        asked.append(due)
        ended = ends[len(asked) - 1]
        if isinstance(ended, OSError):
            raise ended
        return ended

    async def sleep(seconds: float) -> None:
        delays.append(seconds)

    asyncio.run(run_with_retries(run, DueRun("s", moment), sleep))
    # Only the first has to find out whether another gateway was faster.
    assert asked == [moment, *[None] * (count - 1)]
    assert all(2**it <= delay < 2 ** (it + 1) for it, delay in enumerate(delays))


@pytest.mark.slow
def test_two_gateways_run_a_schedule_once(gateways: Gateways, extension: Extension) -> None:
    """Both gateways run the schedule when due; the second one finds that it has run."""
    schedule = _create(gateways, extension)
    began = time.time()
    gateways.database.sql(
        "UPDATE tenant_extension_schedule SET cron = '* * * * * *' WHERE id = %s", schedule
    )
    try:
        _until(lambda: len(_mine(gateways, schedule)) >= 4)
    finally:
        gateways.database.sql("DELETE FROM tenant_extension_schedule WHERE id = %s", schedule)
    assert len(_mine(gateways, schedule)) <= time.time() - began + 1


def _mine(gateways: Gateways, schedule: str) -> list[ReceivedCall]:
    return [it for it in gateways.runner.asked if it.json["context"]["schedule_id"] == schedule]


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.05)


def test_another_tenants_schedule(gateways: Gateways) -> None:
    stranger = install(gateways.database, str(uuid.uuid4()), name="Stranger", version="7")
    schedule = _create(gateways, stranger)
    assert _run(gateways.faithful, schedule).status == 409
