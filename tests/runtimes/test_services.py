from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from algaenv.model.intent import ExternalDatabase, OtelIntent
from algaenv.model.probe import PostgresProbe
from algaenv.model.problem import ResolveError
from algaenv.model.secret import Secret
from algaenv.plan.app_variables import inbound_token
from algaenv.runtimes.environments import (
    fill_template,
    profile_values,
    render_container,
    render_process,
    runner_environment,
)
from algaenv.runtimes.services import (
    Values,
    flat_inputs,
    own_ports,
    probes,
    reveal_all,
    secret_input,
)
from algaenv.serving.span_export import ExportSettings

from .locks import MINIO, POSTGRES, VALKEY, make_lock


@pytest.mark.parametrize(
    ("template", "values", "text"),
    [
        ("plain", {}, "plain"),
        ("{host}:{port}", {"host": "h", "port": "1"}, "h:1"),
        ("{{host}} {host}", {"host": "h"}, "{host} h"),
        ("a value is not filled again: {a}", {"a": "{b}"}, "a value is not filled again: {b}"),
        ("{Not a name} {}", {}, "{Not a name} {}"),
    ],
)
def test_fill(template: str, values: Values, text: str) -> None:
    assert fill_template(template, values) == text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ('pass "{a}"', 'pass "x\\"y\\\\z"'),
        ("pass {a}", 'pass x"y\\z'),
        ('pass "{a} "', 'pass "x"y\\z "'),
    ],
)
def test_fill_escapes_what_stands_in_quotes_of_a_file(template: str, text: str) -> None:
    assert fill_template(template, {"a": 'x"y\\z'}, quoted=True) == text
    assert fill_template(template, {"a": "plain"}, quoted=True) == fill_template(
        template, {"a": "plain"}
    )


def test_a_text_with_a_secret_in_it_is_a_secret() -> None:
    assert fill_template("pass={password}", {"password": Secret("s3")}) == Secret("pass=s3")


def test_fill_names_what_it_does_not_know() -> None:
    with pytest.raises(KeyError, match="colour"):
        fill_template("{colour}", {"host": "h"})


def test_render_container(tmp_path: Path) -> None:
    lock = make_lock(tmp_path, persistent=False)
    values = profile_values(lock, "redis", host="0.0.0.0", port=6379, data="/data", etc="/etc/x")
    rendered = render_container(VALKEY, values)
    assert rendered.command == ("valkey-server", "/etc/x/valkey.conf")
    conf = reveal_all(rendered.files)["valkey.conf"]
    password = lock.credentials.redis_password
    assert password
    assert f'requirepass "{password.reveal()}"' in conf
    assert "bind 0.0.0.0\nport 6379\ndir /data\n" in conf
    assert "appendonly no" in conf
    assert password.reveal() not in repr(rendered)


def test_render_process_uses_its_own_templates(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    values = profile_values(lock, "store", host="127.0.0.1", port=7, data="/d", etc="/e")
    rendered = render_process(MINIO, values)
    assert rendered.command == ("server", "/d", "--address", "127.0.0.1:7")
    assert rendered.environment["MINIO_ROOT_USER"] == lock.credentials.access_key


def test_render_reports_everything_that_is_wrong_at_once(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    values = profile_values(lock, "database", host="h", port=1, data="/d", etc="/e")
    bad = dataclasses.replace(
        POSTGRES, command=("--password={password}",), environment={"A": "{colour}", "B": "{size}"}
    )
    with pytest.raises(ResolveError) as caught:
        render_container(bad, values)
    assert [problem.code for problem in caught.value.problems] == [
        "template-secret",
        "template-unknown",
        "template-unknown",
    ]
    assert lock.credentials.database_password.reveal() not in str(caught.value)


def test_flat_hides_secrets_and_follows_them() -> None:
    key = Secret("key")
    values: Values = {"B": Secret("one"), "A": "text"}
    inputs = flat_inputs("env", values, key)
    assert list(inputs) == ["env.A", "env.B"]
    assert inputs["env.A"] == "text"
    assert inputs["env.B"].startswith("hmac:")
    assert len(inputs["env.B"]) == len("hmac:") + 16
    assert inputs["env.B"] == secret_input(Secret("one"), key)
    assert inputs["env.B"] != secret_input(Secret("two"), key)
    assert inputs["env.B"] != secret_input(Secret("one"), Secret("other key"))


def _environment(tmp_path: Path, *, ready_timeout: float | None = None, **change: object) -> Values:
    lock = make_lock(tmp_path, **change)  # type: ignore[arg-type]
    if ready_timeout is not None:
        intent = dataclasses.replace(lock.intent, ready_timeout=ready_timeout)
        lock = dataclasses.replace(lock, intent=intent)
    return runner_environment(
        lock,
        store_url="http://store:9000/",
        redis_host="redis",
        redis_port=6379,
        app_url="http://host.docker.internal:4000",
        cache="/cache",
        shared_code="/shared",
        host="0.0.0.0",
        port=8080,
    )


def test_runner_environment(tmp_path: Path) -> None:
    environment = _environment(tmp_path, app_url="https://me@app.example:4000/base")
    plain = {k: v for k, v in environment.items() if isinstance(v, str)}
    assert plain == {
        "HOST": "0.0.0.0",
        "PORT": "8080",
        "BUNDLE_STORE_BASE": "http://store:9000/extensions",
        "S3_REGION": "r-1",
        "REGISTRY_BASE_URL": "http://host.docker.internal:4000",
        "STORAGE_API_BASE_URL": "http://host.docker.internal:4000",
        "EXT_STATIC_STRICT_VALIDATION": "false",
        "EXT_CACHE_ROOT": "/cache",
        "RUNNER_SHARED_CODE": "/shared",
        "EXT_UI_FRAME_ANCESTORS": "'self' http://localhost:3000 http://127.0.0.1:3000 "
        "https://app.example:4000",
        "RUNNER_DEBUG_REDIS_URL": "redis://redis:6379/0",
        "RUNNER_LOCAL_EGRESS": "deny",
        "RUNNER_TRACE_CALLS": "true",
    }
    assert set(environment) - set(plain) == {
        "RUNNER_INBOUND_TOKEN",
        "S3_ACCESS_KEY",
        "S3_SECRET_KEY",
        "ALGA_AUTH_KEY",
        "RUNNER_STORAGE_API_TOKEN",
        "RUNNER_DEBUG_REDIS_PASSWORD",
    }


def test_the_author_has_the_last_word_on_the_runner(tmp_path: Path) -> None:
    environment = _environment(
        tmp_path, runner_environment={"RUST_LOG": "debug", "ALGA_AUTH_KEY": Secret("mine")}
    )
    assert environment["RUST_LOG"] == "debug"
    assert environment["ALGA_AUTH_KEY"] == Secret("mine")


def test_the_token_that_callers_show(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    assert inbound_token(lock) == lock.credentials.service_token
    for written, wanted in (
        ({"RUNNER_SERVICE_TOKEN": Secret("mine")}, Secret("mine")),
        ({"RUNNER_INBOUND_TOKEN": ""}, ""),
    ):
        environment = _environment(tmp_path, runner_environment=written)
        assert environment["RUNNER_INBOUND_TOKEN"] == wanted
    own = own_ports(lock)
    assert {lock.ports.store, lock.ports.runner, lock.ports.database, lock.ports.redis} <= own


def test_a_collector_is_named_by_the_variables_of_the_standard(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    assert not [name for name in _environment(tmp_path) if name.startswith("OTEL")]
    otel = OtelIntent("http://localhost:4318", {"authorization": Secret("Bearer a,b=c")})
    lock = dataclasses.replace(lock, intent=dataclasses.replace(lock.intent, otel=otel))
    runner = runner_environment(
        lock,
        store_url="http://store:9000/",
        redis_host="redis",
        redis_port=6379,
        app_url="http://a",
        cache="/cache",
        shared_code="",
        host="0.0.0.0",
        port=8080,
        otel_endpoint="http://host.docker.internal:4318",
    )
    assert {name: it for name, it in runner.items() if name.startswith("OTEL")} == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://host.docker.internal:4318",
        "OTEL_EXPORTER_OTLP_HEADERS": Secret("authorization=Bearer%20a%2Cb%3Dc"),
        "OTEL_SERVICE_NAME": "algaenv-runner",
        "OTEL_RESOURCE_ATTRIBUTES": f"service.namespace={lock.environment.name}",
    }
    read = ExportSettings.read(reveal_all(runner), "other")
    assert read is not None
    assert read.headers == {"authorization": "Bearer a,b=c"}
    assert read.resource["service.namespace"] == lock.environment.name


def test_no_redis_password_is_not_an_empty_one(tmp_path: Path) -> None:
    assert "RUNNER_DEBUG_REDIS_PASSWORD" not in _environment(tmp_path, redis_password=Secret(""))


def test_probes(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    questions = probes(lock)
    assert set(questions) == {"store", "redis", "database", "runner"}
    database = questions["database"]
    assert isinstance(database, PostgresProbe)
    assert (database.host, database.port, database.user) == (
        "127.0.0.1",
        lock.ports.database,
        "alga",
    )
    external = make_lock(tmp_path, database=ExternalDatabase(Secret("postgresql://x")))
    assert set(probes(external)) == {"store", "redis", "runner"}


def test_who_is_ready_to_wait_longer_is_not_kept_from_it(tmp_path: Path) -> None:
    """A runner's own limit of compiling must not end what `ready_timeout` allows."""
    name = "RUNNER_COMPILE_CPU_SECONDS"
    assert name not in _environment(tmp_path, ready_timeout=60.0)
    assert _environment(tmp_path, ready_timeout=90.5)[name] == str(91 * 16)
    own = _environment(tmp_path, ready_timeout=90.5, runner_environment={name: "7"})
    assert own[name] == "7"
