"""Lowering, compared as values: no engine is asked."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from algaenv.model.intent import (
    BundledGateway,
    ContextImage,
    ExternalDatabase,
    NamedImage,
    Profile,
    PullRef,
)
from algaenv.model.kind import Address
from algaenv.model.lock import Lock
from algaenv.model.problem import ResolveError
from algaenv.model.resource import Resource, ServiceEngine
from algaenv.model.secret import Secret
from algaenv.reconcile.protocols import Lowered
from algaenv.runtimes.docker.create_request import (
    container_request,
    files_archive,
    podman_request,
)
from algaenv.runtimes.docker.labels import INPUTS, labels_for, owner_of, read_mark
from algaenv.runtimes.docker.lower import ImageChoice, container_url, lower
from algaenv.runtimes.docker.runtime import DockerRuntime
from algaenv.runtimes.docker.specs import (
    FIRST_UID,
    ContainerSpec,
    ImageUser,
    PulledImage,
    RecipeImage,
)
from algaenv.runtimes.services import ServiceName
from tests.runtimes.locks import GATEWAY, MINIO, POSTGRES, VALKEY, make_lock

OTHER_USER = ImageUser(2_001_000_007, 2_001_000_008)


def pulled(profile: Profile) -> ImageChoice:
    assert profile.image is not None
    ref = profile.image
    image = PulledImage(ref.repositories, ref.tag, ref.digest)
    return ImageChoice(image, profile, "pulled", kept=profile.name)


def built(recipe: str, profile: Profile | None = None, **changes: Any) -> ImageChoice:
    image = RecipeImage(recipe, "f" * 64, None)
    settings = {"user": OTHER_USER, "read_only": True, "kept": recipe}
    return ImageChoice(image, profile, "made here", **{**settings, **changes})


def choices(lock: Lock, **changes: ImageChoice) -> dict[ServiceName, ImageChoice]:
    chosen: dict[ServiceName, ImageChoice] = {
        "store": built("minio-local", lock.intent.store.profile),
        "redis": built("valkey-local", lock.intent.redis.profile),
        "runner": built("runner", kept=""),
    }
    if isinstance(lock.intent.gateway, BundledGateway):
        chosen["gateway"] = built("gateway", kept="")
    if not isinstance(lock.intent.database, ExternalDatabase):
        chosen["database"] = built("postgres18-local", lock.intent.database.profile)
    return {**chosen, **changes}  # type: ignore[dict-item]


def body(lowered: Lowered, service: str) -> ContainerSpec:
    found = _resource(lowered, f"container/{service}").body
    assert isinstance(found, ContainerSpec)
    return found


def _resource(lowered: Lowered, address: str) -> Resource:
    return next(r for r in lowered.resources if str(r.address) == address)


def test_everything_there_is(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    lowered = lower(lock, choices(lock))
    assert sorted(str(r.address) for r in lowered.resources) == [
        *(f"container/{name}" for name in ("database", "redis", "runner", "store")),
        *(f"image/{name}" for name in ("database", "redis", "runner", "store")),
        "network/main",
        *(f"volume/{name}" for name in ("database", "redis", "runner", "store")),
    ]
    assert {str(r.address) for r in lowered.resources if r.retained} == {
        f"{kind}/{name}"
        for kind in ("image", "volume")
        for name in ("database", "redis", "runner", "store")
    }
    assert {str(r.address) for r in lowered.resources if r.replaced} == {
        "network/main",
        *(f"container/{name}" for name in ("database", "redis", "runner", "store")),
    }
    assert lowered.engines[0] == ServiceEngine("store", "minio", "", "made here")


def test_order(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    lowered = lower(lock, choices(lock))
    needs = {str(r.address): sorted(map(str, r.needs)) for r in lowered.resources if r.needs}
    assert needs == {
        "container/store": ["image/store", "network/main", "volume/store"],
        "container/redis": ["image/redis", "network/main", "volume/redis"],
        "container/database": ["image/database", "network/main", "volume/database"],
        "container/runner": [
            "container/redis",
            "container/store",
            "image/runner",
            "network/main",
            "volume/runner",
        ],
    }


def test_the_gateway_stands_between_the_runner_and_the_database(tmp_path: Path) -> None:
    lock = make_lock(tmp_path, gateway=GATEWAY)
    lowered = lower(lock, choices(lock))
    assert sorted(map(str, _resource(lowered, "container/gateway").needs)) == [
        "container/database",
        "container/redis",
        "container/runner",
        "image/gateway",
        "network/main",
    ]
    gateway, runner = body(lowered, "gateway"), body(lowered, "runner")
    assert (gateway.read_only, gateway.mounts, gateway.files) == (True, (), {})
    assert [(port.host, port.container) for port in gateway.ports] == [(lock.ports.gateway, 3000)]
    assert runner.environment["REGISTRY_BASE_URL"] == "http://gateway:3000"
    assert runner.environment["STORAGE_API_BASE_URL"] == "http://gateway:3000"
    origins = str(runner.environment["EXT_UI_FRAME_ANCESTORS"]).split()
    assert {f"http://{host}:{lock.ports.gateway}" for host in ("localhost", "127.0.0.1")} <= {
        *origins
    }
    for name in ("ALGA_AUTH_KEY", "RUNNER_STORAGE_API_TOKEN", "RUNNER_DEBUG_REDIS_PASSWORD"):
        assert gateway.environment[name] == runner.environment[name]
    assert gateway.environment["RUNNER_BASE_URL"] == "http://runner:8080"
    url = gateway.environment["DATABASE_URL"]
    assert isinstance(url, Secret)
    assert url.reveal().endswith("@database:5432/algadb")


def test_the_gateway_of_an_external_database_sees_it_from_inside(tmp_path: Path) -> None:
    external = ExternalDatabase(Secret("postgresql://u:p@localhost:5432/server"))
    lock = make_lock(tmp_path, gateway=GATEWAY, database=external)
    lowered = lower(lock, choices(lock))
    url = body(lowered, "gateway").environment["DATABASE_URL"]
    assert url == Secret("postgresql://u:p@host.docker.internal:5432/server")
    needs = _resource(lowered, "container/gateway").needs
    assert Address("container", "database") not in needs


def test_the_gateways_settings_are_a_file_of_its_own(tmp_path: Path) -> None:
    lock = make_lock(tmp_path, gateway=replace(GATEWAY, rate_limit="product"))
    gateway = body(lower(lock, choices(lock)), "gateway")
    assert gateway.environment["GATEWAY_SETTINGS"] == "/etc/algaenv/settings.json"
    assert json.loads(str(gateway.files["settings.json"])) == {"rate_limit": "product"}
    assert (gateway.file_owner, gateway.read_only) == (OTHER_USER, True)


def test_redis_without_persistence_has_no_volume(tmp_path: Path) -> None:
    lock = make_lock(tmp_path, persistent=False)
    lowered = lower(lock, choices(lock))
    assert Address("volume", "redis") not in {r.address for r in lowered.resources}
    redis = body(lowered, "redis")
    assert (redis.mounts, redis.owned) == ((), ())
    assert set(redis.tmpfs["/data"].split(",")) > {"mode=0700", "uid=2001000007", "gid=2001000008"}
    foreign = body(lower(lock, choices(lock, redis=pulled(VALKEY))), "redis")
    assert "/data" not in foreign.tmpfs


def test_inputs_can_be_read(tmp_path: Path) -> None:
    lock = make_lock(tmp_path, ports=None)
    redis = _resource(lower(lock, choices(lock)), "container/redis")
    env = lock.environment
    files = redis.inputs["files.valkey.conf"]
    assert isinstance(files, str)
    assert files.startswith("hmac:")
    assert {k: v for k, v in redis.inputs.items() if k != "files.valkey.conf"} == {
        "name": f"check-{env.id[:6]}-redis",
        "image": "algaenv/valkey-local:ffffffffffff",
        "network": f"algaenv-{env.id}",
        "command": "valkey-server /etc/algaenv/valkey.conf",
        "capabilities": "",
        "user": "2001000007:2001000008",
        "secrets": "environment",
        "owner./data": "2001000007:700",
        "read_only": True,
        "limits.memory": 1 << 30,
        "limits.pids": 256,
        "init": False,
        "stop_signal": "SIGTERM",
        "stop_timeout": 15,
        "ports.main": f"127.0.0.1:{lock.ports.redis}->6379",
        "mounts./data": f"volume algaenv-{env.id}-redis-valkey-local",
    }


def test_labels_hold_no_secret_and_can_be_read_back(tmp_path: Path) -> None:
    lock = make_lock(tmp_path, runner_environment={"MINE": Secret("my-own-secret")})
    lowered = lower(lock, choices(lock))
    credentials = lock.credentials
    for resource in lowered.resources:
        marks = labels_for(lock.environment, resource)
        text = json.dumps(marks)
        for secret in (
            credentials.access_key,
            credentials.secret_key,
            credentials.database_password,
            credentials.auth_key,
            credentials.service_token,
            credentials.fingerprint_key,
            Secret("my-own-secret"),
        ):
            assert secret.reveal() not in text
        mark = read_mark(marks)
        assert mark is not None
        assert (mark.address, mark.fingerprint) == (resource.address, resource.fingerprint)
        assert mark.inputs == dict(resource.inputs)


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"dev.algaenv.environment": "x"},
        {"dev.algaenv.environment": "x", "dev.algaenv.address": "nowhere"},
        {"dev.algaenv.environment": "x", "dev.algaenv.address": "a/b", INPUTS: "{broken"},
    ],
)
def test_a_mark_that_cannot_be_read_is_none(broken: dict[str, str]) -> None:
    assert read_mark(broken) is None


def test_owner_of() -> None:
    assert owner_of({"com.docker.compose.project": "shop"}) == "of the compose project shop"
    assert owner_of({}) == "not made by algaenv"


def test_images_of_ours_have_no_powers_and_a_fixed_root(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    lowered = lower(lock, choices(lock))
    for service in ("store", "redis", "database", "runner"):
        assert body(lowered, service).capabilities == ()
        assert body(lowered, service).read_only
        assert body(lowered, service).user == OTHER_USER
        assert [one.user for one in body(lowered, service).owned] == [OTHER_USER]


def test_the_runners_of_a_user_share_the_code_of_the_shell(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    chosen = choices(lock)
    lowered = lower(
        lock, {**chosen, "runner": replace(chosen["runner"], user=ImageUser(1000, 1000))}
    )
    found = body(lowered, "runner")
    (mount,) = (one for one in found.mounts if one.target == "/shared")
    assert str(mount) == "volume algaenv-shell-code-1000"
    assert found.environment["RUNNER_SHARED_CODE"] == "/shared"
    assert ("/shared", 0o700) in [(one.path, one.mode) for one in found.owned]
    # It belongs to no environment, so no resource of one makes or removes it.
    assert not [it for it in lowered.resources if "shell-code" in str(it.address)]


def test_a_user_of_one_environment_shares_nothing(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    chosen = choices(lock)
    user = ImageUser(FIRST_UID, FIRST_UID)
    found = body(lower(lock, {**chosen, "runner": replace(chosen["runner"], user=user)}), "runner")
    assert "RUNNER_SHARED_CODE" not in found.environment
    assert [one.target for one in found.mounts] == ["/cache"]


def test_pulled_images_may_take_their_data_and_step_down(tmp_path: Path) -> None:
    lock = make_lock(tmp_path, database=replace(POSTGRES, uid=70))
    database = lock.intent.database
    assert not isinstance(database, ExternalDatabase)
    lowered = lower(lock, choices(lock, database=pulled(database.profile)))
    found = body(lowered, "database")
    assert found.capabilities == ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")
    assert not found.read_only
    assert [(o.path, o.user.uid) for o in found.owned] == [("/var/lib/postgresql", 70)]
    assert (found.stop_signal, found.stop_timeout) == ("SIGINT", 30)


def test_data_of_one_supply_is_not_given_to_another(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    names = set()
    for choice in (built("postgres18-local", POSTGRES), pulled(POSTGRES)):
        lowered = lower(lock, choices(lock, database=choice))
        names.add(body(lowered, "database").mounts[0].source)
    assert len(names) == 2


def test_a_renamed_environment_keeps_its_data(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    renamed = replace(lock, environment=replace(lock.environment, name="other"))
    one, two = lower(lock, choices(lock)), lower(renamed, choices(renamed))
    for kind in ("volume/store", "network/main"):
        assert _resource(one, kind).fingerprint == _resource(two, kind).fingerprint
    assert (
        _resource(one, "container/store").inputs["name"]
        != (_resource(two, "container/store").inputs["name"])
    )


def test_the_runner_sees_services_by_name_and_this_machine_by_its_gateway(tmp_path: Path) -> None:
    lock = make_lock(
        tmp_path,
        app_url="http://localhost:4000/base",
        store=replace(MINIO, ports={"api": 7000}),
        redis=replace(VALKEY, ports={"main": 7001}),
    )
    found = body(lower(lock, choices(lock)), "runner")
    assert found.environment["BUNDLE_STORE_BASE"] == "http://store:7000/extensions"
    assert found.environment["RUNNER_DEBUG_REDIS_URL"] == "redis://redis:7001/0"
    assert found.environment["REGISTRY_BASE_URL"] == "http://host.docker.internal:4000/base"
    assert found.host_names == ("host.docker.internal:host-gateway",)
    assert found.init
    assert "http://localhost:4000" in str(found.environment["EXT_UI_FRAME_ANCESTORS"])


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("http://localhost:3000", "http://host.docker.internal:3000"),
        ("http://127.0.0.1", "http://host.docker.internal"),
        ("https://me:pw@localhost:1/x?y", "https://me:pw@host.docker.internal:1/x?y"),
        ("http://[::1]:3000/", "http://host.docker.internal:3000/"),
        ("https://app.example:3000", "https://app.example:3000"),
    ],
)
def test_seen_from_container(url: str, seen: str) -> None:
    assert container_url(url) == seen


def test_a_foreign_runner_can_write_its_cache_as_any_user(tmp_path: Path) -> None:
    ref = PullRef(("registry.invalid/runner",), "1")
    lock = make_lock(tmp_path, runner=NamedImage(ref), volumes=("./fixtures:/f:ro", "/abs:/g"))
    choice = ImageChoice(PulledImage(ref.repositories, "1", None), None, "pulled")
    found = body(lower(lock, choices(lock, runner=choice)), "runner")
    assert [(o.path, o.mode) for o in found.owned] == [("/cache", 0o1777)]
    assert not found.read_only
    assert [str(mount) for mount in found.mounts[1:]] == [
        f"bind {tmp_path}/fixtures (read-only)",
        "bind /abs",
    ]


def test_a_store_without_a_console_publishes_none(tmp_path: Path) -> None:
    lock = make_lock(tmp_path, store=replace(MINIO, ports={"api": 9000}))
    found = body(lower(lock, choices(lock)), "store")
    assert [port.name for port in found.ports] == ["api"]


def test_limits_are_those_of_the_service_unless_the_spec_sets_others(tmp_path: Path) -> None:
    lock = make_lock(
        tmp_path, gateway=GATEWAY, limits={"runner.memory": 0, "store.pids": 99, "redis.pids": 0}
    )
    lowered = lower(lock, choices(lock))
    assert all(body(lowered, it).memory for it in ("store", "redis", "database", "gateway"))
    assert all(body(lowered, it).pids for it in ("store", "database", "runner", "gateway"))
    assert (body(lowered, "runner").memory, body(lowered, "store").pids) == (0, 99)
    resource = _resource(lowered, "container/redis")
    assert isinstance(resource.body, ContainerSpec)
    host = container_request(lock.environment, resource, resource.body, "i", "s")["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (1 << 30, 1 << 30, None)
    others = lower(make_lock(tmp_path), choices(lock))
    assert _resource(others, "container/redis").inputs["limits.pids"] == 256


def test_podman_gets_directories_in_memory_as_their_options_say(tmp_path: Path) -> None:
    lock = make_lock(tmp_path, database=POSTGRES)
    tmpfs = {"/run/postgresql": "rw,mode=1777"}
    choice = built("postgres18-local", POSTGRES, tmpfs=tmpfs)
    resource = _resource(lower(lock, {**choices(lock), "database": choice}), "container/database")
    assert isinstance(resource.body, ContainerSpec)
    request = container_request(lock.environment, resource, resource.body, "image:1", "sha256:1")
    assert request["HostConfig"]["Tmpfs"] == tmpfs
    found = podman_request(request)["HostConfig"]
    assert found["Tmpfs"]["/run/postgresql"] == "rw,mode=1777,notmpcopyup"
    # Podman mounts one at /run by itself, and what is mounted below would take its mode from there.
    assert found["Tmpfs"]["/run"].endswith(",mode=755,notmpcopyup")
    assert found.keys() == request["HostConfig"].keys()


def test_a_health_check_is_the_containers_own(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    choice = replace(choices(lock)["runner"], healthcheck=("/bin/check", "-q"))
    resource = _resource(lower(lock, {**choices(lock), "runner": choice}), "container/runner")
    assert isinstance(resource.body, ContainerSpec)
    request = container_request(lock.environment, resource, resource.body, "image:1", "sha256:1")
    assert request["Healthcheck"]["Test"] == ["CMD", "/bin/check", "-q"]
    # It comes with the image, which is among the inputs.
    assert not [name for name in resource.inputs if "health" in name]


def test_container_settings_of_a_recipe_win(tmp_path: Path) -> None:
    profile = replace(POSTGRES, environment={"PGDATA": "/var/lib/postgresql"})
    lock = make_lock(tmp_path, database=profile)
    choice = built("postgres18-local", profile, environment={"PGDATA": "{data}/cluster"})
    found = body(lower(lock, choices(lock, database=choice)), "database")
    assert found.environment["PGDATA"] == "/var/lib/postgresql/cluster"


def test_templates_that_do_not_hold(tmp_path: Path) -> None:
    lock = make_lock(tmp_path, store=replace(MINIO, command=("{colour}", "{secret_key}")))
    with pytest.raises(ResolveError) as caught:
        lower(lock, choices(lock))
    assert {p.code for p in caught.value.problems} == {"template-unknown", "template-secret"}


def test_the_request(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    resource = _resource(lower(lock, choices(lock)), "container/store")
    assert isinstance(resource.body, ContainerSpec)
    request = container_request(lock.environment, resource, resource.body, "image:1", "sha256:1")
    assert request["Image"] == "image:1"
    assert request["Cmd"][:2] == ["server", "/data"]
    access = lock.credentials.access_key.reveal()
    assert f"MINIO_ROOT_USER={access}" in request["Env"]
    assert access not in json.dumps(request["Cmd"]) + json.dumps(request["Labels"])
    assert request["HostConfig"]["PortBindings"]["9000/tcp"] == [
        {"HostIp": "127.0.0.1", "HostPort": str(lock.ports.store)}
    ]
    assert request["User"] == "2001000007:2001000008"
    assert [mount["Target"] for mount in request["HostConfig"]["Mounts"]] == ["/data"]


def test_files_of_ours_go_into_a_volume_that_goes_with_its_container(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    resource = _resource(lower(lock, choices(lock)), "container/redis")
    assert isinstance(resource.body, ContainerSpec)
    request = container_request(lock.environment, resource, resource.body, "image:1", "sha256:1")
    (mount,) = [it for it in request["HostConfig"]["Mounts"] if it["Target"] == "/etc/algaenv"]
    assert (mount["Type"], mount.get("Source")) == ("volume", None)
    with tarfile.open(fileobj=io.BytesIO(files_archive(resource.body))) as archive:
        (entry,) = archive.getmembers()
    assert (entry.name, entry.mode) == ("valkey.conf", 0o400)
    assert (entry.uid, entry.gid) == (2_001_000_007, 2_001_000_008)


def test_context_images_are_named_by_their_hash() -> None:
    from algaenv.runtimes.docker.specs import DockerfileImage

    image = DockerfileImage("runner-context", "ab" * 32, "/x", "Dockerfile", {})
    assert image.title == "algaenv/runner-context:abababababab"
    assert ContextImage("/x", "Dockerfile", {}).context == image.context


def test_a_program_in_a_container_has_no_secret_in_its_words(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    service = _resource(lower(lock, choices(lock)), "container/database")
    (tmp_path / "docker").write_text("#!/bin/sh\n")
    (tmp_path / "docker").chmod(0o755)

    def clients(host: str, ports: Mapping[str, int]) -> Mapping[str, str | Secret]:
        return {"PGHOST": host, "PGPORT": str(ports["main"]), "PGPASSWORD": Secret("hidden")}

    runtime = DockerRuntime({"PATH": str(tmp_path)}, tmp_path)
    program = runtime.program(service, ("psql", "-l"), clients, tty=True)
    assert program.words[:4] == (f"{tmp_path}/docker", "exec", "--interactive", "--tty")
    assert program.words[-3:] == (body(lower(lock, choices(lock)), "database").name, "psql", "-l")
    assert program.environment == clients("127.0.0.1", {"main": 5432})
    assert not [word for word in program.words if "hidden" in word]
    (tmp_path / "docker").unlink()
    with pytest.raises(ResolveError, match="docker-program-missing"):
        runtime.program(service, ("psql",), clients, tty=False)
