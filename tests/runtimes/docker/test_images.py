"""Images made here: what goes in, what they hash to, and that they do what the official ones do."""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
import os
import re
import secrets
import sys
import tarfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from algaenv.model.kind import Address, Tier
from algaenv.model.problem import Failed
from algaenv.model.resource import Resource
from algaenv.runtimes.binaries import (
    INSTALL_COMMAND,
    Binary,
    cache_home,
    find,
    major_of,
    version_of,
)
from algaenv.runtimes.docker import labels
from algaenv.runtimes.docker.drivers.images import ImageDriver
from algaenv.runtimes.docker.engine import Engine
from algaenv.runtimes.docker.images.assemble import assemble, requirements, wheel
from algaenv.runtimes.docker.images.identity import context_identity, identity
from algaenv.runtimes.docker.images.installed import distributions
from algaenv.runtimes.docker.images.recipe import Recipe, load_recipe
from algaenv.runtimes.docker.images.rootfs import (
    File,
    ImageDirectory,
    Link,
    Rootfs,
    shared_libraries,
)
from algaenv.runtimes.docker.specs import DockerfileImage, RecipeImage
from algaenv.runtimes.memo import Memo
from algaenv.spec.paths import stacks_root
from tests.contract.conftest import until
from tests.runtimes.docker.conftest import QUIET

RECIPES = stacks_root() / "images"
PROJECT = Path(__file__).parents[3] / "pyproject.toml"
NO_MEMO = Memo(None, "")


def recipe_of(name: str) -> Recipe:
    return load_recipe(RECIPES, name, NO_MEMO)


def program_of(*names: str) -> Binary:
    found = find(names, os.environ, cache_home(os.environ))
    if found is None:
        pytest.skip(f"none of {', '.join(names)} is here: {INSTALL_COMMAND}")
    return found


def _tar(root: Rootfs) -> bytes:
    stream = io.BytesIO()
    root.write(stream)
    return stream.getvalue()


def test_a_root_tree_is_the_same_tar_every_time(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("text")

    def tree(order: int) -> Rootfs:
        root = Rootfs()
        entries = [
            ("/b/c", File(source)),
            ("/a", ImageDirectory(0o1777)),
            ("/b/d", Link("c")),
            ("/z", File(b"bytes", 0o755)),
        ]
        for path, entry in entries[::order]:
            root.put(path, entry)  # type: ignore[arg-type]
        return root

    first = _tar(tree(1))
    os.utime(source, (1, 1))
    assert _tar(tree(-1)) == first
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        seen = [(m.name, oct(m.mode), m.uid, m.mtime) for m in archive]
    assert seen == [
        ("a", "0o1777", 0, 0),
        ("b", "0o755", 0, 0),
        ("b/c", "0o644", 0, 0),
        ("b/d", "0o777", 0, 0),
        ("z", "0o755", 0, 0),
    ]


@pytest.mark.parametrize("path", ["relative", "/a/../b"])
def test_no_place_outside_of_the_root(path: str) -> None:
    with pytest.raises(ValueError, match="not a place"):
        Rootfs().put(path, File(b""))


def test_the_closure_of_this_interpreter(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no program")
    found = shared_libraries([Path(sys.executable).resolve(), text])
    names = {Path(path).name for path in found}
    assert any(name.startswith("libc.") for name in names)
    assert all(path.is_file() for path in found.values())
    assert all(place.startswith("/") and ".." not in place for place in found)
    assert shared_libraries([text]) == {}


@pytest.mark.parametrize("name", [p.parent.name for p in sorted(RECIPES.glob("*/recipe.toml"))])
def test_recipes_can_be_read(name: str) -> None:
    recipe = recipe_of(name)
    assert recipe.user > 0
    assert all(source.is_file() for source in recipe.sources)
    assert all(re.fullmatch("[01]?[0-7]{3,4}", mode) for mode in recipe.directories.values())


@pytest.mark.parametrize("text", ["user = ", "user = 1\ncolour = 2", "account = 'no user'"])
def test_a_broken_recipe_is_reported(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "recipe.toml").write_text(text)
    with pytest.raises(Failed) as caught:
        load_recipe(tmp_path, "bad", NO_MEMO)
    assert caught.value.problem.code == "recipe-broken"


def test_the_hash_follows_program_and_recipe(tmp_path: Path) -> None:
    folder = tmp_path / "thing"
    folder.mkdir()
    (folder / "recipe.toml").write_text("user = 1\naccount = 'x'\nprogram = '/x'\n")
    program = tmp_path / "bin" / "program"
    program.parent.mkdir()
    program.write_text("one")
    memo = Memo(tmp_path / "cache", "images")

    def hash_now() -> str:
        binary = Binary("program", program, "test")
        return identity(load_recipe(tmp_path, "thing", memo), binary, memo)

    hashes = [hash_now(), hash_now()]
    assert hashes[0] == hashes[1]
    program.write_text("other")
    hashes.append(hash_now())
    (folder / "recipe.toml").write_text("user = 2\naccount = 'x'\nprogram = '/x'\n")
    hashes.append(hash_now())
    assert len(set(hashes)) == 3


def test_code_that_decides_what_is_in_an_image_is_of_the_known_format() -> None:
    """A reminder. If images of the same programs get other contents, mend `identity._FORMAT`, which
    replaces every container; if they do not, leave it. Then write the new digest here."""
    sources = Path(inspect.getfile(assemble)).parent
    code = b"".join(
        (sources / f"{name}.py").read_bytes() for name in ("assemble", "installed", "rootfs")
    )
    known = "98d78f5c585b6bde2f4fb8dd66c13ebf3f3efbd2a99250e74a2790fe0778b667"
    assert hashlib.sha256(code).hexdigest() == known


@pytest.mark.parametrize("service", ["runner", "gateway"])
def test_the_packages_of_an_image_are_those_of_the_project(service: str) -> None:
    """What the image takes, against what pyproject says the service needs."""
    recipe = recipe_of(service)
    assert recipe.python is not None
    project = tomllib.loads(PROJECT.read_text())["project"]
    extra = {re.split(r"[<>=\[]", line)[0] for line in project["optional-dependencies"][service]}
    everything = extra | {re.split(r"[<>=\[]", line)[0] for line in project["dependencies"]}
    # An extra of psycopg, which the project names as such.
    assert extra <= set(recipe.python.distributions) - {"psycopg-binary"} <= everything
    imported = set()
    packages = ("runner", "bundle") if service == "runner" else ("gateway",)
    for package in packages:
        for file in (PROJECT.parent / "algaenv" / package).rglob("*.py"):
            imported |= set(_imported(ast.parse(file.read_text())))
    ours = {"algaenv", *sys.stdlib_module_names}
    installed = {d.metadata["Name"].lower() for d in distributions(recipe.python.distributions)}
    assert imported - ours <= {name.replace("-", "_") for name in installed}


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield (node.module or "algaenv").partition(".")[0]
        elif isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(Failed, match="no-such-distribution") as caught:
        distributions(["zstandard", "no-such-distribution"])
    assert caught.value.problem.code == "package-missing"
    assert INSTALL_COMMAND in caught.value.problem.hint


def test_the_wheel_can_be_installed_from(tmp_path: Path) -> None:
    import subprocess

    name, content = wheel(("__init__.py", "bundle", "runner"))
    assert wheel(("__init__.py", "bundle", "runner")) == (name, content)
    file = tmp_path / name
    file.write_bytes(content)
    command = ["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-compile"]
    target = tmp_path / "target"
    done = subprocess.run(
        [sys.executable, *command, "--target", str(target), str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (target / "algaenv" / "runner" / "__main__.py").is_file()
    assert not (target / "algaenv" / "spec").exists()


def test_requirements_are_pinned() -> None:
    lines = requirements(["zstandard", "starlette"]).splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    assert {line.partition("==")[0].lower() for line in lines} >= {
        "zstandard",
        "starlette",
        "anyio",
    }


def test_a_context_hashes_what_is_sent(tmp_path: Path) -> None:
    context, memo = tmp_path / "context", Memo(tmp_path / "cache", "images")
    (context / "target").mkdir(parents=True)
    (context / "Dockerfile").write_text("FROM scratch\n")
    (context / ".dockerignore").write_text("# built things\ntarget\n*.log\n")
    (context / "source").write_text("1")

    def hash_now(**args: str) -> str:
        return context_identity(context, "Dockerfile", args, memo)

    first = hash_now()
    (context / "target" / "huge").write_text("ignored by its name")
    (context / "x.log").write_text("ignored by a pattern")
    os.utime(context / "source", (1, 1))
    assert hash_now() == first
    changes: list[Callable[[], object]] = [
        lambda: (context / "source").write_text("2"),
        lambda: (context / "source").chmod(0o755),
        lambda: (context / "link").symlink_to("source"),
        lambda: (context / ".dockerignore").write_text("target\n"),
    ]
    hashes = [first, hash_now(A="1")]
    for change in changes:
        change()
        hashes.append(hash_now())
    assert len(set(hashes)) == len(hashes)


# From here on, on the engine.


@pytest.fixture
def make_image(engine: Engine) -> Callable[..., str]:
    def make(name: str, program: Binary | None = None) -> str:
        recipe = recipe_of(name)
        memo = Memo(cache_home(os.environ), "images")
        major = major_of(version_of(program, memo)) if program and recipe.versioned else ""
        image = RecipeImage(name, identity(recipe, program, memo), program, major)
        resource = Resource(Address("image", name), Tier.SUBSTRATE, {}, image)
        ImageDriver(engine, cache_home(os.environ)).create(resource, QUIET)
        return image.title

    return make


@pytest.fixture
def run(engine: Engine) -> Iterator[Callable[..., str]]:
    """Runs containers as hardened as ours are, by name, and removes them and their volumes."""
    names: list[str] = []
    volumes: set[str] = set()

    def start(
        image: str, *command: str, binds: dict[str, str] | None = None, **settings: Any
    ) -> str:
        name = f"image-check-{secrets.token_hex(4)}"
        names.append(name)
        volumes.update(binds or ())
        host = engine.api.create_host_config(
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
            binds=[f"{volume}:{place}" for volume, place in (binds or {}).items()],
            **{k: settings.pop(k) for k in ("read_only", "tmpfs") if k in settings},
        )
        engine.api.create_container(image, list(command), name=name, host_config=host, **settings)
        engine.api.start(name)
        return name

    yield start
    for name in names:
        engine.api.remove_container(name, v=True, force=True)
    for volume in volumes:
        engine.api.remove_volume(volume)


def _output(engine: Engine, name: str) -> str:
    text: bytes = engine.api.logs(name)
    return text.decode(errors="replace")


def _exec(engine: Engine, name: str, *command: str) -> tuple[int, str]:
    made = engine.api.exec_create(name, list(command))
    text: bytes = engine.api.exec_start(made)
    return int(engine.api.exec_inspect(made)["ExitCode"]), text.decode(errors="replace")


@pytest.mark.docker
def test_an_unchanged_image_is_not_made_again(
    engine: Engine, make_image: Callable[..., str]
) -> None:
    program = program_of("valkey-server")
    title = make_image("redis", program)
    before = engine.api.inspect_image(title)
    assert make_image("redis", program) == title
    assert engine.api.inspect_image(title)["Id"] == before["Id"]
    marks = before["Config"]["Labels"]
    assert marks[labels.IMAGE] == "redis"
    assert title.endswith(":" + marks[labels.CONTEXT][:12])
    assert before["Config"]["User"] == "1000:1000"


@pytest.mark.docker
@pytest.mark.parametrize("name", ["valkey-server", "redis-server"])
def test_redis_answers_to_both_names(
    engine: Engine, make_image: Callable[..., str], run: Callable[..., str], name: str
) -> None:
    title = make_image("redis", program_of("valkey-server"))
    container = run(title, name, "--save", "")
    until("it serves", lambda: "Ready to accept connections" in _output(engine, container), 15)


@pytest.mark.docker
def test_the_store_runs_with_a_fixed_root_as_nobody(
    engine: Engine, make_image: Callable[..., str], run: Callable[..., str]
) -> None:
    recipe = recipe_of("store")
    program = program_of("minio", "silo")
    title = make_image("store", program)
    container = run(
        title,
        *("server", "/data", "--address", ":9000"),
        read_only=True,
        tmpfs=dict(recipe.tmpfs),
        binds={f"image-check-{secrets.token_hex(4)}": "/data"},
        environment={"MINIO_ROOT_USER": "somebody", "MINIO_ROOT_PASSWORD": "something"},
    )
    until("it serves", lambda: "API: http" in _output(engine, container), 20)


def _postgres(engine: Engine, container: str, statement: str, user: str = "me") -> str:
    code, text = _exec(
        engine, container, "psql", "-h", "/tmp", "-U", user, "-d", "things", "-tAc", statement
    )
    return text.strip() if code == 0 else f"exit code {code}: {text}"


@pytest.fixture(params=["wheel", "distribution"])
def postgres_image(request: pytest.FixtureRequest, make_image: Callable[..., str]) -> str:
    if request.param == "wheel":
        return make_image("postgres", program_of("postgres"))
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("the distribution's PostgreSQL is not installed")
    return make_image("postgres", Binary("postgres", found[-1], "test"))


ACCOUNT = {"POSTGRES_USER": "me", "POSTGRES_PASSWORD": "pa'ss $1", "POSTGRES_DB": "things"}


@pytest.mark.slow
@pytest.mark.docker
def test_postgres_as_the_official_image(
    engine: Engine, postgres_image: str, run: Callable[..., str]
) -> None:
    volume = f"image-check-{secrets.token_hex(4)}"
    binds = {volume: "/var/lib/postgresql"}
    container = run(
        postgres_image, "postgres", "-c", "log_statement=all", binds=binds, environment=ACCOUNT
    )
    until("it serves", lambda: _postgres(engine, container, "SELECT 1") == "1", 40)
    assert _postgres(engine, container, "SHOW server_encoding") == "UTF8"
    assert _postgres(engine, container, "SHOW log_statement") == "all"
    assert _postgres(engine, container, "SELECT upper('é')") == "É"
    assert _postgres(engine, container, "SELECT gen_random_uuid() IS NOT NULL") == "t"
    extensions = "CREATE EXTENSION pg_trgm; CREATE TABLE kept AS SELECT 7 AS n"
    assert "exit code" not in _postgres(engine, container, extensions)
    # A login over TCP needs the password, from inside as from outside.
    wrong = "host=127.0.0.1 user=me dbname=things password=wrong"
    assert "password authentication failed" in _exec(engine, container, "psql", wrong, "-c", "")[1]
    right = "host=127.0.0.1 user=me dbname=things password='pa\\'ss $1'"
    assert _exec(engine, container, "psql", right, "-c", "SELECT 1")[0] == 0
    engine.api.kill(container)
    again = run(postgres_image, "postgres", binds=binds, environment=ACCOUNT)
    until("it recovers", lambda: _postgres(engine, again, "SELECT n FROM kept") == "7", 40)


@pytest.mark.slow
@pytest.mark.docker
def test_postgres_makes_a_cluster_that_was_cut_short_again(
    engine: Engine, make_image: Callable[..., str], run: Callable[..., str]
) -> None:
    title = make_image("postgres", program_of("postgres"))
    binds = {f"image-check-{secrets.token_hex(4)}": "/var/lib/postgresql"}
    half = "cd /var/lib/postgresql; mkdir -p cluster.new/base; echo 18 > cluster.new/PG_VERSION"
    first = run(title, "sh", "-c", f"{half}; echo done", binds=binds)
    until("it is half made", lambda: "done" in _output(engine, first), 10)
    container = run(title, binds=binds, environment=ACCOUNT)
    until("it serves", lambda: _postgres(engine, container, "SELECT 1") == "1", 40)


@pytest.mark.slow
@pytest.mark.docker
def test_postgres_reads_its_password_from_a_file(
    engine: Engine, make_image: Callable[..., str], run: Callable[..., str]
) -> None:
    title = make_image("postgres", program_of("postgres"))
    binds = {f"image-check-{secrets.token_hex(4)}": "/var/lib/postgresql"}
    written = run(
        title,
        "sh",
        "-c",
        "printf 'from a file\\n' > /var/lib/postgresql/password; echo done",
        binds=binds,
    )
    until("the file is there", lambda: "done" in _output(engine, written), 10)
    environment = {"POSTGRES_DB": "things", "POSTGRES_USER": "me"}
    environment["POSTGRES_PASSWORD_FILE"] = "/var/lib/postgresql/password"
    container = run(title, binds=binds, environment=environment)
    until("it serves", lambda: _postgres(engine, container, "SELECT 1") == "1", 40)
    right = "host=127.0.0.1 user=me dbname=things password='from a file'"
    assert _exec(engine, container, "psql", right, "-c", "SELECT 1")[0] == 0


@pytest.mark.docker
@pytest.mark.parametrize(
    ("environment", "messages"),
    [
        ({}, "cannot make a database cluster without POSTGRES_PASSWORD"),
        (
            {"POSTGRES_PASSWORD": "a", "POSTGRES_PASSWORD_FILE": "/b"},
            "cannot use both POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE",
        ),
    ],
)
def test_postgres_reports_what_it_lacks(
    engine: Engine,
    make_image: Callable[..., str],
    run: Callable[..., str],
    environment: dict[str, str],
    messages: str,
) -> None:
    container = run(make_image("postgres", program_of("postgres")), environment=environment)
    until("it says so", lambda: messages in _output(engine, container), 10)
    assert engine.api.wait(container)["StatusCode"] == 1


@pytest.mark.slow
@pytest.mark.docker
def test_the_runners_image(
    engine: Engine, make_image: Callable[..., str], run: Callable[..., str]
) -> None:
    recipe = recipe_of("runner")
    title = make_image("runner")
    assert engine.api.inspect_image(title)["Size"] <= 130 * 10**6
    environment = {
        "PORT": "8080",
        "ALGA_AUTH_KEY": "key",
        "REGISTRY_BASE_URL": "http://127.0.0.1:1",
        "BUNDLE_STORE_BASE": "http://127.0.0.1:1/extensions",
        "EXT_CACHE_ROOT": "/cache",
    }
    container = run(
        title,
        read_only=True,
        tmpfs=dict(recipe.tmpfs),
        binds={f"image-check-{secrets.token_hex(4)}": "/cache"},
        environment=environment,
    )
    health = ("python3", "-m", "algaenv.runner", "--healthcheck")
    until("it is well", lambda: _exec(engine, container, *health)[0] == 0, 20)
    looks = (
        "import importlib, pkgutil, sys, algaenv.runner, algaenv.bundle, wasmtime, ssl, os\n"
        "for package in (algaenv.runner, algaenv.bundle):\n"
        "    for found in pkgutil.iter_modules(package.__path__):\n"
        "        if found.name != '__main__':\n"
        "            importlib.import_module(f'{package.__name__}.{found.name}')\n"
        "print(len(ssl.create_default_context().get_ca_certs()) > 0, os.getuid())\n"
        "print(algaenv.runner.__cached__, os.path.exists(algaenv.runner.__cached__))\n"
        "print(importlib.util.find_spec('algaenv.spec'), importlib.util.find_spec('boto3'))\n"
    )
    code, text = _exec(engine, container, "python3", "-c", looks)
    assert code == 0, text
    trusted, compiled, absent = text.splitlines()
    assert trusted == "True 1000"
    assert compiled.endswith("True")
    assert absent == "None None"


@pytest.fixture
def context(tmp_path: Path, make_image: Callable[..., str]) -> Path:
    """A build context on an image of ours, the only base there is without a registry."""
    folder = tmp_path / "context"
    folder.mkdir()
    title = make_image("postgres", program_of("postgres"))
    (folder / "Dockerfile").write_text(
        f"ARG WORD=none\nFROM {title}\nARG WORD\nRUN echo built ${{WORD}} && mkdir /tmp/made\n"
    )
    return folder


def _build(
    engine: Engine, context: Path, on_progress: Callable[[str], None], **args: str
) -> DockerfileImage:
    unique = secrets.token_hex(32)
    image = DockerfileImage("image-check", unique, str(context), "Dockerfile", args)
    resource = Resource(Address("image", "runner"), Tier.SUBSTRATE, {}, image)
    ImageDriver(engine, context).create(resource, on_progress)
    return image


@pytest.mark.docker
def test_a_dockerfile_is_built_and_tells_its_steps(engine: Engine, context: Path) -> None:
    containers = len(engine.api.containers(all=True, filters={"ancestor": "algaenv/image-check"}))
    messages: list[str] = []
    image = _build(engine, context, messages.append, WORD="well")
    try:
        found = engine.api.inspect_image(image.title)
        assert found["Config"]["Labels"][labels.CONTEXT] == image.hash
        assert any(line.startswith("Step 1/") for line in messages)
        assert "built well" in messages
        left = engine.api.containers(all=True, filters={"ancestor": "algaenv/image-check"})
        assert len(left) == containers
    finally:
        engine.api.remove_image(image.title, force=True)


@pytest.mark.docker
def test_a_build_that_fails_shows_its_last_lines(engine: Engine, context: Path) -> None:
    with (context / "Dockerfile").open("a") as stream:
        stream.write("RUN echo the last words && no-such-program\n")
    with pytest.raises(Failed) as caught:
        _build(engine, context, QUIET)
    problem = caught.value.problem
    assert problem.code == "image-build-failed"
    assert "the last words" in problem.detail
    assert "no-such-program" in "".join(problem.detail)
    assert f"docker build -f Dockerfile {context}" in problem.hint


@pytest.mark.docker
def test_a_dockerfile_for_another_builder(engine: Engine, context: Path) -> None:
    with (context / "Dockerfile").open("a") as stream:
        stream.write("RUN --mount=type=cache,target=/x echo\n")
    with pytest.raises(Failed) as caught:
        _build(engine, context, QUIET)
    assert "with BuildKit" in caught.value.problem.hint


@pytest.mark.docker
def test_a_tool_that_is_not_here(tmp_path: Path) -> None:
    recipe = replace(recipe_of("postgres"), tools=("no-such-tool",), locale=False)
    with pytest.raises(Failed, match="no-such-tool") as caught:
        assemble(recipe, program_of("postgres"), "18")
    assert caught.value.problem.code == "recipe-broken"
