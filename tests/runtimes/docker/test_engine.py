"""The connection: where the engine is, both ways of talking to it, and how it fails."""

from __future__ import annotations

import io
import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from algaenv.model.problem import EngineGone, Problem, Refused, ResolveError, Unavailable
from algaenv.runtimes.docker.endpoint import Endpoint, Remote, UnixSocket, locate
from algaenv.runtimes.docker.engine import Engine, EngineFacts, NoEngine, probe_engine
from algaenv.runtimes.docker.errors import EngineApiError, translate_errors
from algaenv.runtimes.docker.images.pull import require_same_platform
from algaenv.runtimes.docker.runtime import DockerRuntime


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        ({}, UnixSocket("/var/run/docker.sock")),
        ({"DOCKER_HOST": "unix:///run/other.sock"}, UnixSocket("/run/other.sock")),
        ({"DOCKER_HOST": "tcp://10.0.0.1:2375"}, Remote("tcp://10.0.0.1:2375")),
        ({"DOCKER_HOST": "ssh://me@there"}, Remote("ssh://me@there")),
        ({"DOCKER_CONTEXT": "default"}, UnixSocket("/var/run/docker.sock")),
        ({"DOCKER_CONTEXT": "unknown"}, Remote("", "unknown")),
    ],
)
def test_locate(environ: Mapping[str, str], endpoint: Endpoint, tmp_path: Path) -> None:
    assert locate({"HOME": str(tmp_path), **environ}) == endpoint


def test_locate_by_context(tmp_path: Path) -> None:
    hosts = {"rootless": "unix:///run/user/7/docker.sock", "away": "ssh://me@there"}
    import hashlib

    for name, host in hosts.items():
        folder = tmp_path / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
        folder.mkdir(parents=True)
        (folder / "meta.json").write_text(json.dumps({"Endpoints": {"docker": {"Host": host}}}))
    (tmp_path / "config.json").write_text('{"currentContext": "rootless"}')
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    assert locate(environ) == UnixSocket("/run/user/7/docker.sock")
    assert locate({**environ, "DOCKER_CONTEXT": "away"}) == Remote("ssh://me@there", "away")
    assert locate({**environ, "DOCKER_HOST": "tcp://x:1"}) == Remote("tcp://x:1")
    (tmp_path / "config.json").write_text("{broken")
    assert locate(environ) == UnixSocket("/var/run/docker.sock")


def test_docker_desktop_is_found_by_its_context(tmp_path: Path) -> None:
    """Its socket lies in the home directory; /var/run/docker.sock need not be there."""
    import hashlib

    host = f"unix://{tmp_path}/.docker/run/docker.sock"
    name = hashlib.sha256(b"desktop-linux").hexdigest()
    meta = tmp_path / ".docker" / "contexts" / "meta" / name / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": "desktop-linux", "Endpoints": {"docker": {"Host": host}}}))
    (tmp_path / ".docker" / "config.json").write_text('{"currentContext": "desktop-linux"}')
    found = locate({"HOME": str(tmp_path)})
    assert found == UnixSocket(f"{tmp_path}/.docker/run/docker.sock")


def test_images_are_not_made_of_programs_of_another_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on macOS, whose engine is a Linux in a virtual machine."""
    from types import SimpleNamespace

    here = SimpleNamespace(sysname="Darwin", machine="arm64")
    monkeypatch.setattr(os, "uname", lambda: here)
    engine: Any = SimpleNamespace(facts=SimpleNamespace(os="linux", arch="arm64"))
    with pytest.raises(Refused) as refused:
        require_same_platform(engine, "algaenv/runner")
    assert refused.value.problem.code == "image-architecture"
    assert "images: pull" in refused.value.problem.hint


@pytest.mark.parametrize(
    ("host", "here"),
    [("tcp://127.0.0.1:1", True), ("tcp://localhost:1", True), ("ssh://me@there", False)],
)
def test_here_or_elsewhere(host: str, here: bool) -> None:
    assert Remote(host).is_local is here


def test_no_engine_has_a_reason(tmp_path: Path) -> None:
    found = probe_engine({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    assert isinstance(found, NoEngine)
    assert not found
    assert found.reason.startswith(f"cannot reach the container engine at unix://{tmp_path}")
    assert "runtime: process" in found.hint


def test_an_engine_on_another_machine_does_not_count() -> None:
    found = probe_engine({"DOCKER_HOST": "ssh://me@there"})
    assert isinstance(found, NoEngine)
    assert "ssh://me@there" in found.reason
    with pytest.raises(ResolveError) as caught:
        DockerRuntime({"DOCKER_HOST": "tcp://10.9.8.7:1"}).lower(None, print)  # type: ignore[arg-type]
    assert caught.value.problem.code == "engine-elsewhere"


@pytest.mark.docker
def test_facts(engine: Engine) -> None:
    facts = engine.facts
    assert (facts.os, facts.host) == ("linux", str(engine.endpoint))
    assert facts.arch in {"amd64", "arm64"}
    assert probe_engine(os.environ) == facts


@pytest.mark.docker
def test_reading_does_not_import_the_sdk(engine: Engine) -> None:
    code = (
        "import os, sys\n"
        "from algaenv.runtimes.docker.engine import Engine\n"
        "from algaenv.runtimes.docker.endpoint import locate\n"
        "from algaenv.runtimes.docker.observer import DockerObserver\n"
        "DockerObserver(Engine(locate(os.environ), os.environ), 'none').observe([])\n"
        "heavy = 'docker', 'requests', 'tenacity', 'tomllib', 'http.client', 'ssl'\n"
        "print([m for m in heavy if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.docker
def test_find_and_get(engine: Engine) -> None:
    assert engine.find("/containers/no-such-container/json") is None
    with pytest.raises(EngineApiError) as caught:
        engine.get("/containers/no-such-container/json")
    assert caught.value.status == 404
    assert "no-such-container" in caught.value.message
    marked = engine.get("/containers/json", {"filters": {"label": ["no.such=label"]}})
    assert marked == []


@pytest.mark.docker
def test_many_threads_share_it(engine: Engine) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: engine.get("/version"), range(64)))
    assert all(one == found[0] for one in found)


@pytest.mark.docker
def test_it_reconnects_when_the_engine_hung_up(engine: Engine) -> None:
    engine.get("/info")
    for connection in list(engine._idle):
        assert connection._line is not None
        connection._line.shutdown(socket.SHUT_RDWR)
    assert engine.get("/containers/json", {"limit": 1}) is not None


@contextmanager
def _relay(target: str) -> Iterator[int]:
    """TCP on loopback to a unix socket, as an engine that listens on TCP."""
    server = socket.create_server(("127.0.0.1", 0))
    pairs: list[socket.socket] = []

    def copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while chunk := source.recv(65536):
                sink.sendall(chunk)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def accept() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            engine = socket.socket(socket.AF_UNIX)
            engine.connect(target)
            pairs.extend((client, engine))
            for ends in ((client, engine), (engine, client)):
                threading.Thread(target=copy, args=ends, daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(server.getsockname()[1])
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
        for one in pairs:
            one.close()


@pytest.mark.docker
def test_over_tcp_the_sdk_reads(engine: Engine) -> None:
    assert isinstance(engine.endpoint, UnixSocket)
    with _relay(engine.endpoint.path) as port:
        environ = {"DOCKER_HOST": f"tcp://127.0.0.1:{port}"}
        found = probe_engine(environ)
        assert isinstance(found, EngineFacts)
        assert found.api_version == engine.facts.api_version
        far = Engine(locate(environ), environ)
        try:
            assert far.get("/containers/json", {"filters": {"label": ["no.such=label"]}}) == []
            assert far.find("/containers/no-such-container/json") is None
            assert far.api.api_version == engine.facts.api_version
        finally:
            far.close()


@pytest.mark.parametrize(
    ("host", "better"),
    [
        ("/var/run/docker.sock", "unix:///var/run/docker.sock"),
        ("unix:/var/run/docker.sock", "unix:///var/run/docker.sock"),
        ("unix://var/run/docker.sock", "unix:///var/run/docker.sock"),
        ("unix://", "unix:///var/run/docker.sock"),
        ("docker.sock", "unix:///docker.sock"),
        (" unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
        ("~/.docker/run/docker.sock", "unix:///var/run/docker.sock"),
        ("nonsense", "unix:///var/run/docker.sock"),
        ("localhost:2375", "tcp://localhost:2375"),
        ("127.0.0.1:2375", "tcp://127.0.0.1:2375"),
        (":2375", "tcp://127.0.0.1:2375"),
        ("tcp:127.0.0.1:2375", "tcp://127.0.0.1:2375"),
        ("tcp:/127.0.0.1:2375", "tcp://127.0.0.1:2375"),
        ("tcp://", "tcp://127.0.0.1:2375"),
        ("tpc://127.0.0.1:2375", "tcp://127.0.0.1:2375"),
        ("ssh:user@there", "ssh://user@there"),
    ],
)
def test_a_malformed_address_gets_a_correction(host: str, better: str) -> None:
    found = probe_engine({"DOCKER_HOST": host})
    assert isinstance(found, NoEngine)
    assert found.reason == f"cannot read DOCKER_HOST {host}: it is no address of an engine"
    assert found.hint.startswith(f"write {better}, or unset DOCKER_HOST")
    with pytest.raises(Refused):
        DockerRuntime({"DOCKER_HOST": host})


@pytest.mark.docker
def test_no_proxy_of_the_shell_stands_before_the_engine(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert isinstance(engine.endpoint, UnixSocket)
    with _relay(engine.endpoint.path) as port:
        environ = {"DOCKER_HOST": f"tcp://127.0.0.1:{port}"}
        far = Engine(locate(environ), environ)
        assert far.facts.api_version == engine.facts.api_version
        far.close()


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:1", "unix:///nowhere.sock"])
def test_both_ways_an_engine_that_is_gone_is_gone(host: str) -> None:
    environ = {"DOCKER_HOST": host}
    engine = Engine(locate(environ), environ)
    with pytest.raises(EngineGone) as caught:
        engine.facts  # noqa: B018
    assert caught.value.problem.code == "engine-gone"
    engine.close()


@pytest.mark.docker
def test_an_engine_that_dies_between_two_calls(engine: Engine) -> None:
    assert isinstance(engine.endpoint, UnixSocket)
    with _relay(engine.endpoint.path) as port:
        environ = {"DOCKER_HOST": f"tcp://127.0.0.1:{port}"}
        far = Engine(locate(environ), environ)
        assert far.facts
    with pytest.raises(EngineGone), translate_errors("look"):
        far.get("/info")
    far.close()


def _listener(tmp_path: Path, reply: bytes | None) -> tuple[socket.socket, str]:
    path = str(tmp_path / "engine.sock")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()

    def serve() -> None:
        try:
            client, _ = server.accept()
            with client:
                client.recv(65536)
                if reply is not None:
                    client.sendall(reply)
        except OSError:
            pass

    threading.Thread(target=serve, daemon=True).start()
    return server, path


def _http(body: object) -> bytes:
    text = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (None, "cannot reach"),
        (b"SSH-2.0-OpenSSH\r\n", "cannot reach"),
        (_http({"Os": "windows", "ApiVersion": "1.44", "MinAPIVersion": "1.24"}), "runs windows"),
        (_http({"Os": "linux", "ApiVersion": "1.30", "Version": "17.06"}), "17.06"),
        (_http([]), "cannot use"),
    ],
)
def test_what_is_no_engine_for_us(tmp_path: Path, reply: bytes | None, reason: str) -> None:
    server, path = _listener(tmp_path, reply)
    with server:
        found = probe_engine({"DOCKER_HOST": f"unix://{path}"})
    assert isinstance(found, NoEngine)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("theirs", "least", "spoken"),
    [("1.41", "1.12", "1.41"), ("1.52", "1.44", "1.44"), ("1.60", "1.50", "1.50")],
)
def test_the_version_that_is_spoken(tmp_path: Path, theirs: str, least: str, spoken: str) -> None:
    response = {"Os": "linux", "Arch": "arm64", "ApiVersion": theirs, "MinAPIVersion": least}
    response["Version"] = "1"
    server, path = _listener(tmp_path, _http(response))
    with server:
        found = probe_engine({"DOCKER_HOST": f"unix://{path}"})
    assert isinstance(found, EngineFacts)
    assert (found.api_version, found.arch, found.rootless) == (spoken, "arm64", False)


def test_podman_is_told_by_its_parts(tmp_path: Path) -> None:
    parts = [{"Name": "Podman Engine", "Version": "4.3.1"}, {"Name": "Conmon"}]
    response = {"Os": "linux", "ApiVersion": "1.41", "MinAPIVersion": "1.24", "Components": parts}
    server, path = _listener(tmp_path, _http(response))
    with server:
        found = probe_engine({"DOCKER_HOST": f"unix://{path}"})
    assert isinstance(found, EngineFacts)
    assert (found.podman, found.rootless, found.api_version) == (True, False, "1.41")


def test_a_slow_engine_is_slow_not_gone() -> None:
    with pytest.raises(Unavailable) as caught, translate_errors("look"):
        raise TimeoutError("timed out")
    assert caught.value.problem.code == "engine-slow"
    assert not isinstance(caught.value, EngineGone)


ACTIONS: dict[str, Callable[[Any], object]] = {
    "pull": lambda api: list(api.pull("x", tag="1", stream=True, decode=True)),
    "build": lambda api: list(api.build(fileobj=io.BytesIO(), custom_context=True, decode=True)),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("silent_after", ["request", "head", "line"])
@pytest.mark.parametrize("action", ACTIONS)
def test_an_engine_that_stops_in_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str, silent_after: str
) -> None:
    monkeypatch.setattr("algaenv.runtimes.docker.engine._STREAM_TIMEOUT", 0.5)
    path, ended = str(tmp_path / "engine.sock"), threading.Event()
    version = _http({"Os": "linux", "ApiVersion": "1.44", "MinAPIVersion": "1.24", "Version": "1"})
    response = {"request": b"", "head": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"}
    response["line"] = response["head"] + b'e\r\n{"stream":""}\n\r\n'

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked = self.request.recv(65536)
            if b"/version" in asked:
                self.request.sendall(version)
            elif asked:
                self.request.sendall(response[silent_after])
                ended.wait(60)

    with socketserver.ThreadingUnixStreamServer(path, Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        engine = Engine(UnixSocket(path), {"HOME": str(tmp_path)})
        try:
            with pytest.raises(Unavailable) as caught, translate_errors("do it"):
                ACTIONS[action](engine.api)
        finally:
            ended.set()
            engine.close()
            server.shutdown()
    assert caught.value.problem.code == "engine-slow"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to switch to another user")
def test_who_may_not_gets_a_hint_about_the_group(tmp_path: Path) -> None:
    server, path = _listener(tmp_path, None)
    code = (
        "import os; from algaenv.runtimes.docker.engine import probe_engine\n"
        "from algaenv.runtimes.docker.engine import Engine, locate\n"
        "import algaenv.runtimes.docker.errors, http.client, json, encodings.idna\n"
        f"e = {{'DOCKER_HOST': 'unix://{path}'}}\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "found = probe_engine(e); print(found.reason, '|', found.hint)\n"
    )
    with server:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
    assert "Permission denied" in done.stdout
    assert "add your user to the group" in done.stdout


@pytest.mark.parametrize(
    ("status", "message", "kind", "code"),
    [
        (409, "x", "Conflict", "engine-conflict"),
        (400, "bad parameter", "Refused", "engine-refused"),
        (404, "no such", "Failed", "engine-failed"),
        (500, "write: no space left on device", "Failed", "engine-disk-full"),
        (503, "starting", "EngineGone", "engine-gone"),
        (
            500,
            "could not find an available, non-overlapping IPv4 address pool among the defaults",
            "Failed",
            "network-pool-exhausted",
        ),
    ],
)
def test_replies_become_problems(status: int, message: str, kind: str, code: str) -> None:
    from algaenv.model.problem import DriverError

    with pytest.raises(DriverError) as caught, translate_errors("do it"):
        raise EngineApiError(status, message)
    assert type(caught.value).__name__ == kind
    assert caught.value.problem.code == code
    assert caught.value.problem.summary == "cannot do it"
    assert isinstance(caught.value.__cause__, EngineApiError)


def test_our_own_mistakes_pass_unchanged() -> None:
    with pytest.raises(ZeroDivisionError), translate_errors("do it"):
        _ = 1 // 0
    ours = Refused(Problem("x", "cannot"))
    with pytest.raises(Refused) as caught, translate_errors("do it"):
        raise ours
    assert caught.value is ours
