"""What a lock becomes: values in, values out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.model.intent import NamedImage, PullRef
from algaenv.model.kind import Address
from algaenv.model.problem import ResolveError
from algaenv.model.secret import Secret
from algaenv.runtimes.process.specs import ProcessSpec
from algaenv.spec.paths import profile
from tests.runtimes.locks import GATEWAY
from tests.runtimes.process.harness import Harness, external, quiet, without_binary


def addresses(harness: Harness) -> set[str]:
    return {str(resource.address) for resource in harness.lowered().resources}


def body(harness: Harness, service: str) -> ProcessSpec:
    found = {str(r.address): r.body for r in harness.lowered().resources}[f"process/{service}"]
    assert isinstance(found, ProcessSpec)
    return found


def test_four_services_and_their_folders(harness: Harness) -> None:
    services = ("store", "redis", "database", "runner")
    assert addresses(harness) == {f"{kind}/{s}" for kind in ("folder", "process") for s in services}
    lowered = harness.lowered()
    assert lowered.hosts == {service: Address("process", service) for service in services}
    for resource in lowered.resources:
        process = resource.address.kind == "process"
        assert resource.retained is not process
        assert (resource.probe is not None) is process
        if process:
            assert Address("folder", resource.address.name) in resource.needs
    runner = next(r for r in lowered.resources if str(r.address) == "process/runner")
    assert {Address("process", "store"), Address("process", "redis")} < set(runner.needs)
    assert [it.name for it in lowered.engines] == ["rclone", "valkey", "postgres", "bundled"]


def test_a_gateway_is_asked_by_the_runner(make_harness: Callable[..., Harness]) -> None:
    harness = make_harness(gateway=replace(GATEWAY, rate_limit="product"))
    assert harness.lock
    found = next(r for r in harness.lowered().resources if str(r.address) == "process/gateway")
    assert set(found.needs) == {
        Address("process", name) for name in ("database", "redis", "runner")
    }
    gateway, runner = body(harness, "gateway"), body(harness, "runner")
    assert gateway.argv[1:] == ("-P", "-m", "algaenv.gateway")
    assert (gateway.folder, gateway.ports) == (None, {"main": harness.lock.ports.gateway})
    url = f"http://127.0.0.1:{harness.lock.ports.gateway}"
    assert runner.environment["REGISTRY_BASE_URL"] == url
    both = (gateway.wanted_environment, runner.wanted_environment)
    assert len({it["ALGA_AUTH_KEY"] for it in both}) == 1
    for service, found_body in (("gateway", gateway), ("runner", runner)):
        named = str(found_body.environment[f"{service.upper()}_SECRETS_FILE"])
        assert named == str(harness.layout.etc(service) / "secrets.json")
        secrets = found_body.files["secrets.json"]
        assert isinstance(secrets, Secret)
        kept = harness.lock.credentials.auth_key.reveal()
        assert json.loads(secrets.reveal())["ALGA_AUTH_KEY"] == kept
        assert not [it for it in found_body.environment.values() if isinstance(it, Secret)]
    settings = harness.layout.etc("gateway") / "settings.json"
    assert gateway.environment["GATEWAY_SETTINGS"] == str(settings)
    assert json.loads(str(gateway.files["settings.json"])) == {"rate_limit": "product"}


def test_an_external_database_is_not_ours(make_harness: Callable[..., Harness]) -> None:
    harness = make_harness(database=external("postgres://x"))
    assert not {"process/database", "folder/database"} & addresses(harness)
    assert "database" not in harness.lowered().hosts


def test_no_secret_is_in_inputs_or_command_lines(harness: Harness) -> None:
    assert harness.lock
    credentials = harness.lock.credentials
    secrets = [
        value.reveal()
        for name in credentials.__slots__
        if isinstance(value := getattr(credentials, name), Secret)
    ]
    for resource in harness.lowered().resources:
        shown = json.dumps(resource.inputs) + repr(resource.body)
        assert not [secret for secret in secrets if secret in shown], resource.address


def test_inputs_are_flat_and_each_setting_is_a_field_of_its_own(harness: Harness) -> None:
    before = {r.address: r for r in harness.lowered().resources}
    for resource in before.values():
        assert all(not isinstance(value, dict | list) for value in resource.inputs.values())
    assert harness.lock
    harness.lock = replace(harness.lock, ports=replace(harness.lock.ports, redis=1234))
    changed = {}
    for resource in harness.lowered().resources:
        old = before[resource.address].inputs
        fields = {key for key in resource.inputs if resource.inputs[key] != old.get(key)}
        if fields:
            changed[str(resource.address)] = fields
    assert changed == {
        "process/redis": {"ports.main", "files.valkey.conf"},
        "process/runner": {"env.RUNNER_DEBUG_REDIS_URL", "env.RUNNER_OWN_ADDRESSES"},
    }


def test_lowering_twice_gives_the_same(harness: Harness) -> None:
    first, second = harness.lowered(), harness.lowered()
    assert [r.fingerprint for r in first.resources] == [r.fingerprint for r in second.resources]


def test_what_the_caller_has_in_its_environment_changes_no_fingerprint(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [r.fingerprint for r in harness.lowered().resources]
    monkeypatch.setenv("TZ", "Pacific/Chatham")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    assert [r.fingerprint for r in harness.lowered().resources] == before
    assert body(harness, "runner").environment["HTTPS_PROXY"] == "http://proxy:1"
    assert "HTTPS_PROXY" not in body(harness, "store").environment


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "https_proxy"])
@pytest.mark.parametrize("value", ["/nowhere", "socks5://127.0.0.1:9", "", "ftp://proxy"])
def test_what_would_fail_every_request_of_a_service_is_not_inherited(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert name not in body(harness, "runner").environment


def test_certificates_that_are_none_are_not_inherited(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert "SSL_CERT_FILE" not in body(harness, "runner").environment


@pytest.mark.parametrize(
    ("listed", "direct"),
    [
        ("", "127.0.0.1,localhost,::1"),
        ("corp.example, localhost", "corp.example,localhost,127.0.0.1,::1"),
    ],
)
def test_services_of_the_environment_are_asked_past_every_proxy(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, listed: str, direct: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:1")
    monkeypatch.setenv("no_proxy", listed)
    found = body(harness, "runner").environment
    assert found["NO_PROXY"] == found["no_proxy"] == direct


def test_what_a_server_writes_for_itself_stays_in_the_environment(harness: Harness) -> None:
    for service in ("store", "redis", "database"):
        home = body(harness, service).environment["HOME"]
        assert home == str(harness.layout.etc(service))


def test_the_runner_is_this_package(harness: Harness) -> None:
    runner = body(harness, "runner")
    assert runner.argv[1:] == ("-P", "-m", "algaenv.runner")
    assert runner.environment["HOST"] == "127.0.0.1"
    assert runner.ports == {"main": harness.lock.ports.runner if harness.lock else 0}


def test_everything_it_cannot_do_and_everything_missing_is_reported_at_once(
    make_harness: Callable[..., Harness],
) -> None:
    harness = make_harness(
        runner=NamedImage(PullRef(("registry.invalid/runner",), "1")),
        volumes=("./a:/a",),
    )
    assert harness.lock
    intent = harness.lock.intent
    intent = replace(
        intent,
        store=replace(intent.store, local=(without_binary(profile("minio")),)),
        redis=replace(intent.redis, profile=without_binary(intent.redis.profile)),
    )
    harness.lock = replace(harness.lock, intent=intent)
    with pytest.raises(ResolveError) as caught:
        harness.lowered()
    codes = [problem.code for problem in caught.value.problems]
    assert codes == ["runtime-cannot", "runtime-cannot", "binary-missing"]
    assert all(p.hint and p.summary.startswith("cannot ") for p in caught.value.problems)
    missing = caught.value.problems[-1]
    assert missing.hint.startswith("put one of them on PATH"), "no wheel carries these"
    assert [line.partition(":")[0] for line in missing.detail] == ["store", "redis"]


def test_the_first_engine_that_is_here_is_taken(make_harness: Callable[..., Harness]) -> None:
    harness = make_harness()
    assert harness.lock
    store = replace(
        harness.lock.intent.store, local=(without_binary(profile("minio")), profile("rclone"))
    )
    harness.lock = replace(harness.lock, intent=replace(harness.lock.intent, store=store))
    assert body(harness, "store").engine == "rclone"


def test_an_engine_that_holds_data_goes_before_one_that_does_not(
    make_harness: Callable[..., Harness], tmp_path: Path
) -> None:
    harness = make_harness()
    harness.up("store")
    assert harness.lock
    program = tmp_path / "minio"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    newer = replace(profile("minio"), binaries=(str(program),))
    store = replace(harness.lock.intent.store, local=(newer, profile("rclone")))
    harness.lock = replace(harness.lock, intent=replace(harness.lock.intent, store=store))
    assert body(harness, "store").engine == "rclone"
    harness.lock = replace(harness.lock, environment=replace(harness.environment, id="another"))
    assert body(harness, "store").engine == "minio"


def postgres_program(directory: Path, version: str) -> Path:
    """A program that only answers with its version, beside an initdb."""
    directory.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        program = directory / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        program.chmod(0o755)
    return directory / "postgres"


def test_a_version_that_is_not_here_is_refused(
    make_harness: Callable[..., Harness], tmp_path: Path
) -> None:
    there = postgres_program(tmp_path / "other", "18.2")
    database = replace(profile("postgres-17"), binaries=(str(there),))
    with pytest.raises(ResolveError) as caught:
        make_harness(database=database).lowered()
    (problem,) = caught.value.problems
    assert problem.code == "program-version"
    assert problem.summary == "cannot run postgres-17: this machine has " + (f"{there} 18, not 17")
    assert "runtime: docker" in problem.hint
    assert problem.detail == (f"{there} is version 18.2",)


def test_the_program_of_the_version_asked_for_is_taken(
    make_harness: Callable[..., Harness], tmp_path: Path
) -> None:
    newer = postgres_program(tmp_path / "18", "18.2")
    asked = postgres_program(tmp_path / "17", "17.9")
    database = replace(profile("postgres-17"), binaries=(str(newer), str(asked)))
    harness = make_harness(database=database)
    assert body(harness, "database").argv[0] == str(asked)
    engines = {it.service: str(it) for it in harness.lowered().engines}
    assert engines["database"] == "postgres 17.9"


def test_data_of_another_version_is_named_before_anything_is_done(
    make_harness: Callable[..., Harness],
) -> None:
    harness = make_harness()
    assert harness.lock
    folder = harness.wanted("database")[0]
    harness.folders.create(folder, quiet)
    place = harness.layout.folder("database-postgres")
    (place / "content" / "PG_VERSION").write_text("17\n")
    with pytest.raises(ResolveError) as caught:
        harness.lowered()
    (problem,) = caught.value.problems
    assert problem.code == "data-version"
    assert str(place) in problem.summary
    assert "version: 17" in problem.hint


def test_lowering_writes_nothing(harness: Harness) -> None:
    harness.lowered()
    assert list(harness.environment.home.iterdir()) == []


def test_the_runtime_has_a_name_and_drivers_for_both_kinds(harness: Harness) -> None:
    assert harness.runtime.name == "process"
    drivers = harness.runtime.drivers(harness.environment)
    assert drivers.keys() == {"folder", "process"}
    assert harness.runtime.observer(harness.environment).observe([]) == {}
    harness.runtime.lower(harness.lock, quiet) if harness.lock else None
