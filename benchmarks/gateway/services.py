"""An environment of plain processes with two handlers, and how its services are asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from benchmarks.command import Unmeasured, run, surroundings
from benchmarks.free_ports import Ports
from benchmarks.runner import components
from benchmarks.runner.rows import Table
from benchmarks.runner.service import Line

PATH: Final = "/typical"
"""Six host calls that stay in the runner's process, and some JSON."""
_SERVICES: Final = ("store", "redis", "database", "runner", "gateway")


@dataclass(frozen=True, slots=True)
class Services:
    """Where its services are, and what they want to be shown."""

    folder: Path
    """With the spec."""
    runner: int
    gateway: int
    tenant: str
    registry: str
    install: str
    content_hash: str
    token: str

    @property
    def proxied(self) -> str:
        """The path at the gateway that runs the handler."""
        return f"/api/ext/{self.registry}{PATH}"

    @property
    def routing(self) -> dict[str, str]:
        """Headers of a call to the runner."""
        return {
            "content-type": "application/json",
            "x-alga-tenant": self.tenant,
            "x-alga-extension": self.registry,
            "x-runner-service-token": self.token,
        }

    @property
    def execute(self) -> bytes:
        """The body of the same call, as a gateway sends it to the runner."""
        return json.dumps(
            {
                "context": {
                    "request_id": "r-1",
                    "tenant_id": self.tenant,
                    "extension_id": self.registry,
                    "install_id": self.install,
                    "content_hash": self.content_hash,
                },
                "http": {"method": "GET", "path": PATH},
                "limits": {"timeout_ms": 30_000},
                "providers": list(components.GRANTED),
                "user": components.USER,
            }
        ).encode()


@dataclass(frozen=True, slots=True)
class Bench:
    """What every measurement is given; `runs` is how often what varies is repeated."""

    services: Services
    """With the handler of 12 MB, as Alga's tools build it."""
    smallest: Services
    """The same with the handler of 1 KB, which answers 200 and does nothing else."""
    table: Table
    runs: int


@contextmanager
def start_services(root: Path) -> Iterator[tuple[Services, Services]]:
    """Bring one up below `root`, and take it down again. Raises Unmeasured.

    The pair is the same but for the extension: the handler of 12 MB, and the smallest.
    """
    folder = root / "environment"
    ports = dict(zip(_SERVICES, Ports().take(len(_SERVICES)), strict=True))
    _write(folder, ports)
    try:
        _algaenv(folder, "up")
        yield _found(folder, ports, "benchmark"), _found(folder, ports, "smallest")
    finally:
        _algaenv(folder, "down", "--volumes", "--yes")


def ask(line: Line, target: str, headers: Mapping[str, str], body: bytes | None = None) -> bytes:
    """The body of an answer that must be one of success. Raises Unmeasured."""
    status, said = line.ask(request(target, headers, body))
    if status != 200:
        raise Unmeasured(f"{target} answered {status}: {said[:300].decode(errors='replace')}")
    return said


def request(target: str, headers: Mapping[str, str], body: bytes | None = None) -> bytes:
    """The bytes of a request: GET, or POST where there is a body."""
    named = {"host": "127.0.0.1", **headers}
    if body is not None:
        named["content-length"] = str(len(body))
    head = f"{'GET' if body is None else 'POST'} {target} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return head.encode() + b"\r\n" + (body or b"")


def _write(folder: Path, ports: Mapping[str, int]) -> None:
    _write_extension(folder / "benchmark", components.everything())
    _write_extension(folder / "smallest", components.minimal())
    services: dict[str, dict[str, object]] = {name: {"port": port} for name, port in ports.items()}
    # What is measured is optimised code, with nothing that compiles beside it.
    services["runner"]["environment"] = {"RUNNER_COMPILE_TIERS": "1"}
    spec = {
        "version": 1,
        "name": "gateway-benchmark",
        "runtime": "process",
        "ports": "auto",
        # The handler of 12 MB is compiled with optimisation, on whatever machine.
        "ready_timeout": "10m",
        **services,
        "extensions": {name: {"source": f"./{name}"} for name in ("benchmark", "smallest")},
    }
    # JSON is YAML.
    (folder / "algaenv.yaml").write_text(json.dumps(spec, indent=1))


def _write_extension(source: Path, component: bytes) -> None:
    for name in ("ui", "dist"):
        (source / name).mkdir(parents=True)
    manifest = {
        "name": f"com.example.{source.name}",
        "publisher": "Example",
        "version": "0.1.0",
        "runtime": "wasm-js@1",
        "capabilities": list(components.GRANTED),
        "ui": {
            "type": "iframe",
            "entry": "ui/index.html",
            "hooks": {"appMenu": {"label": "Benchmark"}},
        },
        "api": {"endpoints": [{"method": "GET", "path": PATH, "handler": "dist/main"}]},
    }
    (source / "manifest.json").write_text(json.dumps(manifest, indent=1))
    (source / "ui" / "index.html").write_text("<!doctype html><title>Benchmark</title>\n")
    (source / "dist" / "main.wasm").write_bytes(component)


def _found(folder: Path, ports: Mapping[str, int], name: str) -> Services:
    status: Any = json.loads(_algaenv(folder, "status", "--json"))
    (extension,) = (it for it in status["extensions"] if it["name"] == name)
    variables = dict(
        line.partition("=")[::2] for line in _algaenv(folder, "status", "-o", "env").splitlines()
    )
    return Services(
        folder=folder,
        runner=ports["runner"],
        gateway=ports["gateway"],
        tenant=status["tenant_id"],
        registry=extension["registry_id"],
        install=extension["install_id"],
        content_hash=extension["content_hash"],
        token=variables["RUNNER_STORAGE_API_TOKEN"].strip("'\""),
    )


def _algaenv(folder: Path, *words: str) -> str:
    return run(_argv(*words), environ=_environ(), cwd=folder).text


@contextmanager
def following(services: Services, *words: str) -> Iterator[None]:
    """Have `algaenv` follow something until the block ends; what it shows goes nowhere."""
    process = subprocess.Popen(
        _argv(*words),
        env=_environ(),
        cwd=services.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        process.stdout.readline()  # It shows what is there, so it follows from now on.
        reader = threading.Thread(target=_drain, args=(process.stdout,), daemon=True)
        reader.start()
        yield
    finally:
        process.terminate()
        process.wait(20)


def _drain(stream: IO[bytes]) -> None:
    while stream.read1(1 << 16):  # type: ignore[attr-defined]
        pass


def _argv(*words: str) -> list[str]:
    return [sys.executable, "-m", "algaenv", *words]


def _environ() -> dict[str, str]:
    paths = os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH"))))
    return surroundings({"PYTHONPATH": paths})
