"""Spans of a call, from a genuine gateway before a genuine runner, as a collector gets them."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.alga import OZ
from tests.gateway.conftest import Start
from tests.gateway.gateway_process import Gateway
from tests.gateway.seed import Extension, install
from tests.gateway.stub_runner import StubRunner
from tests.gateway.test_calls import DIRECT, PORTAL, PROXY
from tests.guests import built
from tests.params import slow_params
from tests.runner.archives import bundle
from tests.runner.peers import Files, peer
from tests.runner.service import Service, started
from tests.servers import Database
from tests.serving.collector import (
    CLIENT,
    ERROR,
    INTERNAL,
    SERVER,
    Collector,
    Received,
    collector,
)

_SECRET = "value-of-the-secret"
_TRACE, _SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
_FETCH: dict[str, Any] = {
    **{"method": "GET", "url": "http://me:secret@a.example/x?token=secret"},
    **{"headers": [], "body": None},
}


@pytest.fixture
def spans() -> Iterator[Collector]:
    with collector() as it:
        yield it


@contextmanager
def services(
    start: Start, tables: Database, folder: Path, endpoint: str
) -> Iterator[tuple[Gateway, Service, Extension]]:
    made = bundle({"dist/main.wasm": built("script").read_bytes()})
    extension = install(
        tables,
        OZ,
        digest=made.digest,
        hooks=PORTAL,
        endpoints=[("POST", "/run/:id")],
        secrets={"key": _SECRET},
        capabilities=["cap:secrets.get"],
    )
    files = Files()
    files.objects[made.key_of(OZ, extension.registry)] = made.archive
    with peer(files.answer) as store:
        env = {
            "ALGA_AUTH_KEY": "k",
            "REGISTRY_BASE_URL": "http://127.0.0.1:1",
            "BUNDLE_STORE_BASE": store.url,
            "EXT_CACHE_ROOT": str(folder / "cache"),
            "EXT_STATIC_STRICT_VALIDATION": "false",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        }
        with started(env) as runner:
            gateway = start(
                RUNNER_BASE_URL=f"http://127.0.0.1:{runner.port}",
                EXT_GATEWAY_TIMEOUT_MS="20000",
                OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
                OTEL_EXPORTER_OTLP_HEADERS="x-key=abc",
            )
            yield gateway, runner, extension


def script(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def of_a_call(found: list[Received]) -> bool:
    return {"algaenv-gateway", "algaenv-runner"} <= {it.service for it in found}


@pytest.mark.parametrize("prefix", [PROXY, *slow_params(DIRECT)])
def test_a_call_is_a_tree_of_spans(
    start: Start, tables: Database, tmp_path: Path, spans: Collector, prefix: str
) -> None:
    with services(start, tables, tmp_path, spans.url) as (gateway, _, it):
        calls = [
            {"fn": "logging.log-warn", "args": [f"it is {_SECRET}"]},
            {"fn": "secrets.get", "args": ["key"]},
            {"fn": "http.fetch", "args": [_FETCH]},
        ]
        answer = gateway.call(
            f"{prefix}/{it.slug}/run/7?token=hidden",
            script(calls=calls),
            traceparent=f"00-{_TRACE}-{_SPAN}-01",
            tracestate="vendor=1",
        )
        assert answer.status == 200
        found = spans.wait(of_a_call)
    (top,) = [each for each in found if each.service == "algaenv-gateway"]
    (run,) = [each for each in found if each.name == "run handler"]
    assert {each.trace for each in found} == {_TRACE}
    assert {each.message.trace_state for each in found} == {"vendor=1"}
    assert (top.parent, run.parent) == (_SPAN, top.id)
    assert (top.message.kind, run.message.kind) == (SERVER, SERVER)
    assert top.name == f"POST {it.slug}/run/:id"
    assert top.message.start_time_unix_nano <= run.message.start_time_unix_nano
    assert run.message.end_time_unix_nano <= top.message.end_time_unix_nano
    wanted = {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/run/:id",
        "url.path": "/run/7",
        "algaenv.extension": it.slug,
        "algaenv.extension.id": it.registry,
        "algaenv.request.id": answer.headers["x-algaenv-request-id"],
    }
    assert wanted.items() <= top.attributes.items()
    assert run.attributes["algaenv.request.id"] == wanted["algaenv.request.id"]
    assert run.attributes["algaenv.outcome"] == "answered"
    assert run.attributes["algaenv.run_ms"] > 0
    below = {each.name: each for each in found if each.parent == run.id}
    assert set(below) == {"secrets.get", "http.fetch"}
    assert below["secrets.get"].message.kind == INTERNAL
    assert below["secrets.get"].attributes["algaenv.host_call.received_bytes"] == len(_SECRET)
    fetch = below["http.fetch"]
    assert fetch.message.kind == CLIENT
    assert (fetch.message.status.code, fetch.message.status.message) == (ERROR, "transport")
    assert fetch.attributes["algaenv.host_call.about"] == "GET http://a.example/x"
    assert top.message.status.code == run.message.status.code == 0
    assert run.events == [{"message": "it is ***", "log.severity": "warn", "log.iostream": "log"}]
    assert spans.requests[0][0] == "/v1/traces"
    assert {headers.get("x-key") for _, headers in spans.requests} == {"abc", None}
    shown = str([str(each.message) for each in found])
    assert _SECRET not in shown
    assert "hidden" not in shown


def test_a_handler_that_fails_and_a_caller_who_wants_no_spans(
    start: Start, tables: Database, tmp_path: Path, spans: Collector
) -> None:
    with services(start, tables, tmp_path, spans.url) as (gateway, _, it):
        path = f"{PROXY}/{it.slug}/run/7"
        unwanted = f"00-{_TRACE}-{_SPAN}-00"
        assert gateway.call(path, script(), traceparent=unwanted).status == 200
        assert gateway.call(path, script(stderr=[f"{_SECRET}\n"], then="trap")).status == 500
        found = spans.wait(of_a_call)
    (top,) = [each for each in found if each.service == "algaenv-gateway"]
    (run,) = [each for each in found if each.name == "run handler"]
    assert _TRACE not in {each.trace for each in found}
    assert top.parent == ""
    assert (run.trace, run.parent) == (top.trace, top.id)
    assert top.message.status.code == run.message.status.code == ERROR
    assert top.attributes["error.type"] == top.message.status.message == "gateway-trap"
    assert run.attributes["error.type"] == "trap"
    assert "unreachable" in run.message.status.message
    assert _SECRET not in str([str(each.message) for each in found])


def test_calls_do_not_notice_a_collector_that_is_down(
    start: Start, tables: Database, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Nobody listens.
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with services(start, tables, tmp_path, url) as (gateway, runner, it):
            path = f"{PROXY}/{it.slug}/run/7"
            assert gateway.call(path, script()).status == 200
            for service in (gateway, runner):
                assert service.line("cannot send spans")["url"] == f"{url}/v1/traces"
            for _ in range(20):
                assert gateway.call(path, script()).status == 200
            assert gateway.stop() == 0
            assert runner.stop() == 0
            for service in (gateway, runner):
                said = [line["event"] for line in service.lines]
                assert said.count("cannot send spans") == 1
                assert "spans were dropped" in said


def test_without_a_collector_nothing_is_added(
    start: Start, hello: Extension, runner: StubRunner
) -> None:
    gateway = start()
    caller = f"00-{_TRACE}-{_SPAN}-01"
    assert gateway.call(f"{PROXY}/{hello.slug}/items/1", traceparent=caller).status == 200
    (asked,) = runner.asked
    assert not {"traceparent", "tracestate"} & asked.headers.keys()


def test_an_endpoint_that_is_none_ends_the_start(tmp_path: Path) -> None:
    from algaenv.gateway.settings import ConfigError, GatewayConfig
    from algaenv.runner.settings import InvalidSettings, Settings

    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"}
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_ENDPOINT is not an http"):
        GatewayConfig.read(env)
    with pytest.raises(InvalidSettings, match="OTEL_EXPORTER_OTLP_ENDPOINT is not an http"):
        Settings.read({**env, "EXT_CACHE_ROOT": str(tmp_path)})
