"""Runs the service with a store of files before it, asks it, and looks at its processes."""

from __future__ import annotations

import http.server
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from algaenv.bundle.digest import Digest
from algaenv.bundle.layout import bundle_key
from benchmarks.command import Unmeasured
from benchmarks.free_ports import Ports
from benchmarks.runner.components import EXTENSION, TENANT

ASSET: Final = b"/* fifty kilobytes */".ljust(50 * 1024, b"x")
_PATIENCE = 60.0


class Store:
    """Bundles by their key, served by a thread; `/fetch` answers a request of a guest."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        store = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = store._objects.get(self.path.lstrip("/"))
                if body is None and self.path == "/fetch":
                    body = b'{"items":[]}'
                self.send_response(404 if body is None else 200)
                self.send_header("content-length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            do_HEAD = do_GET

            def log_message(self, format: str, *args: object) -> None:
                """Stay silent."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def keep(self, files: Mapping[str, bytes]) -> Digest:
        """Pack a bundle of these files; gives its digest."""
        import zstandard

        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for name, content in files.items():
                header = tarfile.TarInfo(name)
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
        archive = zstandard.ZstdCompressor(level=1).compress(packed.getvalue())
        digest = Digest.of(archive)
        self._objects[bundle_key(TENANT, EXTENSION, digest)] = archive
        return digest

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass(frozen=True, slots=True)
class Service:
    """A running runner."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def post(self, path: str, body: bytes, seconds: float = 120.0) -> tuple[int, bytes]:
        """One request over a connection of its own."""
        with Line(self.port, seconds) as line:
            return line.ask(request(path, body))

    def warm(self, digest: Digest) -> float:
        """Seconds that a warm-up took. Raises Unmeasured when this runner cannot."""
        fields = {"tenant": TENANT, "extension": EXTENSION, "content_hash": digest.prefixed}
        started = time.perf_counter()
        # With optimisation, on a machine that others use, a large component takes minutes.
        status, said = self.post("/warmup", json.dumps(fields).encode(), 600.0)
        if status != 200:
            raise Unmeasured(f"/warmup answered {status}: {said.decode(errors='replace')[:200]}")
        return time.perf_counter() - started

    def workers(self) -> list[int]:
        """The processes that serve: the children, or the one there is."""
        return children(self.process.pid) or [self.process.pid]


class Line:
    """A connection that is kept, as a gateway does; nothing but sending and receiving."""

    def __init__(self, port: int, seconds: float = 60.0) -> None:
        self._wire = socket.create_connection(("127.0.0.1", port), seconds)
        self._wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.close()

    def ask(self, asked: bytes) -> tuple[int, bytes]:
        """Send a whole request; gives status and body."""
        self._wire.sendall(asked)
        said = b""
        while b"\r\n\r\n" not in said:
            said += self._more()
        head, _, body = said.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-len")]
        length = int(lengths[0].partition(b":")[2]) if lengths else 0
        while len(body) < length:
            body += self._more()
        return int(head.split(b" ", 2)[1]), body

    def times(self, asked: bytes, count: int) -> list[float]:
        """Seconds of each of so many requests, one after another."""
        took = []
        for _ in range(count):
            began = time.perf_counter()
            self.ask(asked)
            took.append(time.perf_counter() - began)
        return took

    def _more(self) -> bytes:
        chunk = self._wire.recv(1 << 18)
        if not chunk:
            raise Unmeasured("the service hung up")
        return chunk


def request(path: str, body: bytes | None = None) -> bytes:
    """A GET, or a POST of JSON with the headers of a call."""
    head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    if body is not None:
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        head += f"x-alga-tenant: {TENANT}\r\nx-alga-extension: {EXTENSION}\r\n"
    return head.encode() + b"\r\n" + (body or b"")


@contextmanager
def serving(store: Store, cache: Path, ports: Ports, **environ: str) -> Iterator[Service]:
    """The service on an empty or kept `cache`; it answers when the block begins."""
    (port,) = ports.take(1)
    settings = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "ALGA_AUTH_KEY": "benchmark",
        "REGISTRY_BASE_URL": store.url,
        "BUNDLE_STORE_BASE": store.url,
        "EXT_CACHE_ROOT": str(cache),
        "EXT_STATIC_STRICT_VALIDATION": "false",
        **environ,
    }
    with (cache.with_suffix(".log")).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "algaenv.runner"], env=settings, stdout=log, stderr=log
        )
    try:
        _until_well(process, port)
        yield Service(process, port)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until_well(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + _PATIENCE
    while True:
        if process.poll() is not None:
            raise Unmeasured(f"the runner ended with {process.returncode}")
        try:
            with Line(port) as line:
                if line.ask(request("/healthz"))[0] == 200:
                    return
        except OSError:
            pass
        if time.monotonic() > until:
            raise Unmeasured("the runner did not answer")
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """The processes it has started and not yet buried."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(word) for word in (task / "children").read_text().split()]
    return found


_TICKS: Final = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME = 11, 12
"""Places in `/proc/<pid>/stat`, counted from what follows the name."""


def process_fields(pid: int) -> list[str]:
    """What `/proc/<pid>/stat` says after the name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def processor_seconds(pids: Iterable[int]) -> float:
    """What these processes have spent so far."""
    fields = [process_fields(pid) for pid in pids]
    return sum(int(each[_UTIME]) + int(each[_STIME]) for each in fields) / _TICKS


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds: bytes resident, mappings, threads, open files."""

    resident: int
    mappings: int
    threads: int
    files: int

    @classmethod
    def of(cls, pid: int) -> Footprint:
        here = Path(f"/proc/{pid}")
        fields: dict[str, Any] = dict(
            line.split(":", 1) for line in (here / "status").read_text().splitlines() if ":" in line
        )
        return cls(
            resident=int(fields["VmRSS"].split()[0]) * 1024,
            mappings=(here / "maps").read_text().count("\n"),
            threads=int(fields["Threads"]),
            files=len(list((here / "fd").iterdir())),
        )
