"""The runner's image, made both ways: what it carries, what it may do, and that it serves alone."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import sys
import urllib.request
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError

from algaenv import __version__
from algaenv.model.kind import Address, Tier
from algaenv.model.resource import Resource
from algaenv.runtimes.binaries import cache_home
from algaenv.runtimes.docker.drivers.images import ImageDriver
from algaenv.runtimes.docker.endpoint import locate
from algaenv.runtimes.docker.engine import Engine, NoEngine, probe_engine
from algaenv.runtimes.docker.images.assemble import assemble
from algaenv.runtimes.docker.images.identity import identity
from algaenv.runtimes.docker.images.installed import add_python
from algaenv.runtimes.docker.images.recipe import PythonPart, Recipe, load_recipe
from algaenv.runtimes.docker.images.rootfs import File, ImageDirectory, Rootfs, shared_libraries
from algaenv.runtimes.docker.specs import DockerfileImage, RecipeImage
from algaenv.runtimes.memo import Memo
from algaenv.spec.paths import stacks_root
from tests import guests
from tests.contract.conftest import until
from tests.params import slow_params
from tests.runner.archives import EXTENSION, TENANT, Bundle, bundle
from tests.runner.peers import Files, peer
from tests.runtimes.docker.conftest import QUIET
from tests.servers import free_port

pytestmark = pytest.mark.docker

LIMIT = 130 * 10**6
PYTHON = "/usr/local/bin/python3"
HEALTH = [PYTHON, "-m", "algaenv.runner", "--healthcheck"]
INDEX = b"<!doctype html><title>Hello Container UI</title>"


def recipe() -> Recipe:
    return load_recipe(stacks_root() / "images", "runner", Memo(None, ""))


def make(engine: Engine, image: RecipeImage | DockerfileImage) -> str:
    resource = Resource(Address("image", "runner"), Tier.SUBSTRATE, {}, image)
    ImageDriver(engine, cache_home(os.environ)).create(resource, QUIET)
    return image.title


@pytest.fixture(scope="module")
def base() -> bytes:
    """A tar with what a public Python image has: a shell, `ldd`, Python with pip; and `strip`."""
    root = Rootfs()
    for name in ("ldd", "strip"):
        root.copy(f"/usr/bin/{name}", Path("/usr/bin", name).resolve())
    root.copy("/bin/sh", Path("/bin/sh").resolve())
    root.put("/tmp", ImageDirectory(0o1777))
    root.put("/bin/bash", File(Path("/bin/bash").resolve(), 0o755))
    part = PythonPart(("pip",), (), "/usr/local/lib/site", without=("test", "tests", "__pycache__"))
    own = add_python(root, part)
    for place, library in shared_libraries(root.files(), own).items():
        root.put(place, File(library, 0o755))
    stream = io.BytesIO()
    root.write(stream)
    return stream.getvalue()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    found = probe_engine(os.environ)
    if isinstance(found, NoEngine):
        pytest.skip(f"needs a Docker engine: {found.reason}")
    engine = Engine(locate(os.environ), os.environ)
    yield engine
    engine.close()


@pytest.fixture(scope="module", params=["recipe", *slow_params("dockerfile")])
def image(request: pytest.FixtureRequest, engine: Engine) -> Iterator[str]:
    if request.param == "recipe":
        yield make(engine, RecipeImage("runner", identity(recipe(), None, Memo(None, "")), None))
        return
    name = f"algaenv-check-base:{secrets.token_hex(4)}"
    repository, _, tag = name.partition(":")
    settings = ["ENV PYTHONHOME=/usr/local", "ENV PYTHONPATH=/usr/local/lib/site"]
    engine.api.import_image_from_data(
        request.getfixturevalue("base"), repository=repository, tag=tag, changes=settings
    )
    made = DockerfileImage(
        "runner-check",
        secrets.token_hex(32),
        str(recipe().folder),
        "Dockerfile",
        {"BASE": name, "VERSION": "of no consequence"},
        wheel=True,
    )
    try:
        yield make(engine, made)
    finally:
        for title in (made.title, name):
            engine.api.remove_image(title, force=True)
        # Classic builders keep the stages before the last one, for the next time.
        stage = {"dangling": True, "label": "dev.algaenv.stage=runner-build"}
        for left in engine.api.images(filters=stage):
            with suppress(APIError):
                engine.api.remove_image(left["Id"])


@contextmanager
def running(engine: Engine, image: str, **environment: str) -> Iterator[str]:
    """A container as `docker run` makes it, hardened, on the host's network; gives its name."""
    name = f"runner-image-check-{secrets.token_hex(4)}"
    host = engine.api.create_host_config(
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        read_only=True,
        tmpfs=dict(recipe().tmpfs),
        binds=[f"{name}:/cache"],
        network_mode="host",
    )
    defaults = {
        "HOST": "127.0.0.1",
        "ALGA_AUTH_KEY": "test-key",
        "EXT_STATIC_STRICT_VALIDATION": "false",
        "REGISTRY_BASE_URL": "http://localhost:1",
    }
    engine.api.create_container(
        image, name=name, host_config=host, environment=defaults | environment
    )
    try:
        engine.api.start(name)
        yield name
    finally:
        engine.api.remove_container(name, v=True, force=True)
        engine.api.remove_volume(name)


def inside(engine: Engine, name: str, *command: str) -> tuple[int, str]:
    made = engine.api.exec_create(name, list(command))
    text: bytes = engine.api.exec_start(made)
    return int(engine.api.exec_inspect(made)["ExitCode"]), text.decode(errors="replace")


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def store(files: Files) -> Iterator[str]:
    with peer(files.answer) as server:
        yield server.url


@contextmanager
def serving(engine: Engine, image: str, store: str) -> Iterator[tuple[str, str]]:
    """A healthy runner: its container's name and its URL."""
    port = free_port()
    with running(engine, image, PORT=str(port), BUNDLE_STORE_BASE=f"{store}/") as name:
        until("it is well", lambda: inside(engine, name, *HEALTH)[0] == 0, 30)
        yield name, f"http://127.0.0.1:{port}"


def ask(url: str, body: object = None, **headers: str) -> tuple[int, bytes]:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, headers=fields)
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=240) as answer:
        return answer.status, answer.read()


def test_labels_and_settings_of_the_image(engine: Engine, image: str) -> None:
    found = engine.api.inspect_image(image)
    config = found["Config"]
    assert found["Size"] <= LIMIT
    assert config["User"] == "1000:1000"
    assert config["Entrypoint"] == [PYTHON, "-m", "algaenv.runner"]
    assert config["Healthcheck"]["Test"] == ["CMD", *HEALTH]
    assert config.get("StopSignal", "SIGTERM") == "SIGTERM"
    assert "8080/tcp" in config["ExposedPorts"]
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert config["Labels"]["dev.algaenv.runner.contract"] == "1"


FREEDOMS = """
import ctypes, fcntl, mmap, os, sys, tempfile
assert os.getuid() == 1000
with tempfile.NamedTemporaryFile(dir="/cache") as file:
    file.write(b"x" * 4096); file.flush()
    fcntl.flock(file, fcntl.LOCK_EX)
    mmap.mmap(file.fileno(), 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
words = os.memfd_create("words")
os.write(os.open(f"/proc/self/fd/{words}", os.O_WRONLY), b"hello")
if not (child := os.fork()):
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
for folder in ("/", "/opt/runner", "/usr/local"):
    assert not os.access(folder, os.W_OK), folder
print(*sorted(os.listdir("/bin") if os.path.isdir("/bin") else ()))
"""


def test_what_the_runner_may_do_in_it(engine: Engine, image: str, store: str) -> None:
    """Executable mappings in the cache, locks, memory files and children; nothing else to run."""
    with serving(engine, image, store) as (name, _):
        code, text = inside(engine, name, PYTHON, "-c", FREEDOMS)
        assert code == 0, text
        assert text.strip() == "", "no shell, nor anything else"
        code, text = inside(engine, name, PYTHON, "-m", "algaenv.runner", "--version")
        assert (code, text.strip()) == (0, f"algaenv-runner {__version__}")


def test_it_stops_on_a_signal(engine: Engine, image: str, store: str) -> None:
    with serving(engine, image, store) as (name, _):
        engine.api.stop(name, timeout=20)
        state = engine.api.inspect_container(name)["State"]
        assert state["ExitCode"] == 0, engine.api.logs(name)


def stored(files: Files, content: dict[str, bytes]) -> Bundle:
    made = bundle(content)
    files.objects[made.key] = made.archive
    return made


@pytest.mark.slow
def test_runner_container_serves_static_bundle(
    engine: Engine, image: str, files: Files, store: str
) -> None:
    made = stored(files, {"ui/index.html": INDEX})
    with serving(engine, image, store) as (_, url):
        assert ask(f"{url}/healthz")[0] == 200
        status, body = ask(url + made.path(), x_tenant_id=TENANT, x_request_id="r-18")
        assert (status, body) == (200, INDEX)


def layers(engine: Engine, title: str) -> Any:
    return engine.api.inspect_image(title)["RootFS"]["Layers"]


@pytest.mark.slow
def test_the_same_things_make_the_same_image(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same layers, with compiled modules beside the sources or without any; the engine's own
    time stamp is all that differs."""
    made = RecipeImage("runner", secrets.token_hex(32), None)
    try:
        first = layers(engine, make(engine, made))
    finally:
        engine.api.remove_image(made.title, force=True)
    digests = set()
    for folder in (sys.pycache_prefix, str(tmp_path)):
        monkeypatch.setattr(sys, "pycache_prefix", folder)
        stream = io.BytesIO()
        assemble(recipe(), None, "").write(stream)
        digests.add(f"sha256:{hashlib.sha256(stream.getvalue()).hexdigest()}")
    assert digests == set(first)


@pytest.mark.slow
def test_runner_container_executes_dynamic_component(
    engine: Engine, image: str, files: Files, store: str
) -> None:
    """A real JavaScript component: compiled in the container, mapped from its cache, called."""
    try:
        component = guests.built("everything-js").read_bytes()
    except guests.ToolMissing as missing:
        pytest.skip(str(missing))
    made = stored(files, {"dist/main.wasm": component})
    sent = b"\x00\x01echo"
    call = {
        "context": {
            "request_id": "r-19",
            "tenant_id": TENANT,
            "extension_id": EXTENSION,
            "content_hash": made.digest.prefixed,
        },
        "http": {
            "method": "POST",
            "path": "/dynamic/echo",
            "query": {"foo": "bar"},
            "body_b64": b64encode(sent).decode(),
        },
        "limits": {"timeout_ms": 5000},
        "providers": ["cap:context.read", "cap:log.emit"],
    }
    with serving(engine, image, store) as (name, url):
        status, body = ask(
            f"{url}/v1/execute", call, x_alga_tenant=TENANT, x_alga_extension=EXTENSION
        )
        assert status == 200
        outcome = json.loads(body)
        assert outcome["status"] == 200, (outcome, engine.api.logs(name))
        assert outcome["headers"]["content-type"] == "application/json"
        assert outcome["headers"]["x-generated-by"] == "js-component"
        response = json.loads(b64decode(outcome["body_b64"]))
        assert response["ok"] is True
        assert (response["tenantId"], response["extensionId"]) == (TENANT, EXTENSION)
        assert (response["method"], response["path"]) == ("POST", "/dynamic/echo?foo=bar")
        assert bytes(response["echo"]) == sent
        code, mapped = inside(engine, name, PYTHON, "-c", MAPPED)
        assert code == 0, mapped
        assert "/cache/.algaenv/compiled/" in mapped


MAPPED = """
import os
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        for line in open(f"/proc/{pid}/maps"):
            if "/cache/" in line and "x" in line.split()[1]:
                print(line)
    except OSError:
        pass
"""
