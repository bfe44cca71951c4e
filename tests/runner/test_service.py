"""Start, health, log and end of the process."""

from __future__ import annotations

import http.client
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

import algaenv

from .archives import TENANT, Bundle
from .conftest import Start
from .peers import Files, Peer, PeerResponse, ReceivedRequest
from .service import clean_env
from .stores import free_port

WHO = {"x-tenant-id": TENANT}
NEEDED = {"ALGA_AUTH_KEY": "k", "REGISTRY_BASE_URL": "http://127.0.0.1:9"}


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "algaenv.runner", *arguments],
        env=clean_env(env or {}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"ALGA_AUTH_KEY": " ", "ALGA_AUTH_KEY_FILE": "/nowhere"}, "ALGA_AUTH_KEY not set"),
        ({"REGISTRY_BASE_URL": ""}, "Invalid REGISTRY_BASE_URL"),
        ({"REGISTRY_BASE_URL": "localhost:3000"}, "Invalid REGISTRY_BASE_URL"),
        ({"REGISTRY_BASE_URL": "http://user:hidden@:x/"}, "Invalid REGISTRY_BASE_URL"),
        ({"BUNDLE_STORE_BASE": ""}, "Invalid BUNDLE_STORE_BASE"),
        ({"HOST": "203.0.113.7"}, "cannot listen on 203.0.113.7:0"),
    ],
)
def test_what_keeps_it_from_starting(env: dict[str, str], words: str) -> None:
    ended = run(env=NEEDED | env)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: ")
    assert ended.stderr.count("\n") == 1
    assert words in ended.stderr
    assert "hidden" not in ended.stderr


def test_all_that_is_wrong_at_once() -> None:
    ended = run(env={"ALGA_AUTH_KEY_FILE": "/nowhere", "BUNDLE_STORE_BASE": "x"})
    assert ended.returncode == 1
    for words in (
        "ALGA_AUTH_KEY not set",
        "REGISTRY_BASE_URL not set",
        "Invalid BUNDLE_STORE_BASE",
    ):
        assert words in ended.stderr


def test_a_taken_port() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        ended = run(env=NEEDED | {"PORT": port})
    assert ended.returncode == 1
    assert ended.stderr == f"Error: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_a_key_from_a_file(start: Start, registry: Peer, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("  of-file \n")
    service = start(ALGA_AUTH_KEY="", ALGA_AUTH_KEY_FILE=str(tmp_path / "key"))
    service.ask("/")
    assert registry.asked[0].headers["x-api-key"] == "of-file"


def test_help_and_version() -> None:
    assert run("--version").stdout == f"algaenv-runner {algaenv.__version__}\n"
    assert "--healthcheck" in run("--help").stdout


def test_healthcheck(start: Start, tmp_path: Path) -> None:
    service = start()
    well = run("--healthcheck", env={"PORT": str(service.port)})
    assert (well.returncode, well.stderr) == (0, "")
    (tmp_path / "file").write_text("")
    ill = start(EXT_CACHE_ROOT=str(tmp_path / "file"))
    assert run("--healthcheck", env={"PORT": str(ill.port)}).returncode == 1
    service.stop()
    gone = run("--healthcheck", env={"PORT": str(service.port)})
    assert gone.returncode == 1
    assert gone.stderr.startswith("Error: no answer")


def test_without_the_extra() -> None:
    code = (
        "import sys; sys.modules['uvicorn'] = None; sys.modules['starlette'] = None\n"
        "from algaenv.runner.__main__ import main; sys.exit(main([]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_env(NEEDED),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "Error: cannot start the runner without starlette, uvicorn: pip install 'algaenv[runner]'\n"
    )


def test_health_of_a_plain_server(start: Start, file_server: Peer) -> None:
    service = start(EXT_CACHE_MAX_BYTES="lots")
    file_server.answer = lambda asked: PeerResponse(403)
    # The service gives the store less than a second, which is not much on a busy machine.
    until = time.monotonic() + 20
    while (answer := service.ask("/healthz")).json["bundle_store"] != "ok":
        assert time.monotonic() < until, answer.json
    assert answer.headers["cache-control"] == "no-store"
    assert (answer.status, answer.json) == (
        200,
        {"cache_writable": True, "bundle_store": "ok", "ext_cache_max_bytes": "lots"},
    )
    assert service.ask("/healthz", method="HEAD").status == 200
    file_server.answer = lambda asked: PeerResponse(503)
    assert service.ask("/healthz").json["bundle_store"] == "bundle_store_unreachable"
    assert service.ask("/readyz").json == {
        "ready": False,
        "cache_writable": True,
        "store": "unreachable",
        "store_access": "unsigned",
    }


def test_keys_that_may_read_but_not_list_are_ready(start: Start, file_server: Peer) -> None:
    denied = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    file_server.answer = lambda asked: PeerResponse(403, denied)
    keys = {"S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}
    service = start(BUNDLE_STORE_BASE=f"{file_server.url}/bucket", **keys)
    ready = service.ask("/readyz")
    assert (ready.status, ready.json["store"], ready.json["store_access"]) == (200, "ok", "signed")
    assert "authorization" in file_server.asked[0].headers


@pytest.mark.slow
def test_health_does_not_wait_for_a_silent_store(start: Start) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/bucket"
        for keys in ({}, {"S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}):
            service = start(BUNDLE_STORE_BASE=url, **keys)
            service.ask("/readyz")
            began = time.monotonic()
            answer = service.ask("/healthz")
            assert time.monotonic() - began < 2.5
            assert (answer.status, answer.json["bundle_store"]) == (200, "bundle_store_unreachable")


def test_a_line_for_each_request(start: Start, demo: Bundle) -> None:
    service = start()
    service.ask(f"{demo.path()}?tenant={TENANT}", {"x-request-id": "r-1"})
    line = service.line("request")
    assert line.pop("duration_ms") > 0
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": "r-1",
        "method": "GET",
        "path": demo.path(),
        "tenant": TENANT,
        "extension": "demo-ext",
        "hash": demo.digest.hex,
        "status": 200,
        "bytes": 73,
        "cache": "miss",
    }
    service.ask(demo.path("assets/app.js"))
    assert service.line("request")["cache"] == "hit"
    service.ask(demo.path("a/route"))
    assert service.line("request")["cache"] == "spa-fallback"
    service.ask("/nowhere%0Aforged")
    assert service.line("request")["path"] == "/nowhere\nforged"


def test_the_log_level(start: Start, demo: Bundle) -> None:
    loud = start(LOG_LEVEL="DEBUG")
    loud.ask("/healthz")
    assert loud.line("request")["path"] == "/healthz"
    port = str(free_port())
    quiet = subprocess.Popen(
        [sys.executable, "-m", "algaenv.runner"],
        env=clean_env(NEEDED | {"LOG_LEVEL": "error", "PORT": port}),
        stdout=subprocess.PIPE,
    )
    until = time.monotonic() + 20
    while run("--healthcheck", env={"PORT": port}).returncode:
        assert time.monotonic() < until
    quiet.terminate()
    assert quiet.communicate(timeout=20)[0] == b""


def test_the_start_is_quick(start: Start) -> None:
    start().stop()
    began = time.monotonic()
    start()
    # Generous for a busy machine; the budget is 0.35 s on an idle one.
    assert time.monotonic() - began < 2


def test_answers_over_one_connection_are_not_delayed(start: Start, demo: Bundle) -> None:
    service = start()
    times = []
    link = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    with closing(link):
        for _ in range(21):
            began = time.monotonic()
            link.request("GET", demo.path(), headers=WHO)
            assert link.getresponse().read()
            times.append(time.monotonic() - began)
    # Head and body are two packets; without TCP_NODELAY the second waits 40 ms for the peer.
    assert statistics.median(times) < 0.03


def test_requests_under_way_end_before_the_process_does(
    start: Start, demo: Bundle, files: Files
) -> None:
    service = start()
    began, held = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        held.wait(10)

    files.before = wait
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(service.ask, demo.path(), WHO)
        assert began.wait(10)
        service.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", service.port), timeout=1).close()
            except OSError:
                break
            assert time.monotonic() < until, "it still accepts"
            time.sleep(0.02)
        assert service.process.poll() is None
        held.set()
        assert answer.result().status == 200
    assert service.process.wait(10) == 0
    assert service.line("stopped")


def test_it_does_not_wait_for_ever(start: Start, demo: Bundle, files: Files) -> None:
    service = start(RUNNER_DRAIN_SECONDS="1")
    began, held = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        held.wait(20)

    files.before = wait
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(service.ask, demo.path(), WHO)
        assert began.wait(10)
        stopped = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - stopped < 6
        held.set()
        answer.exception()


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
def test_an_idle_service_ends_at_once(start: Start, with_signal: int) -> None:
    service = start()
    idle = socket.create_connection(("127.0.0.1", service.port))
    with closing(idle):
        began = time.monotonic()
        assert service.stop(with_signal) == 0
        assert time.monotonic() - began < 3


def test_nothing_secret_is_said(start: Start, demo: Bundle, registry: Peer) -> None:
    def broken(asked: ReceivedRequest) -> PeerResponse:
        return PeerResponse(500)

    registry.answer = broken
    service = start(
        ALGA_AUTH_KEY="very-secret-key",
        EXT_STATIC_STRICT_VALIDATION="true",
        BUNDLE_STORE_BASE="http://user:very-secret-password@127.0.0.1:9/x",
    )
    service.ask(demo.path(), WHO)
    service.ask("/")
    service.ask("/readyz")
    service.stop()
    assert "very-secret" not in str(service.lines)
