"""What the measurements share: a place for files, a store, bundles, and floors that stay up."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from algaenv.bundle.digest import Digest
from benchmarks.command import Unmeasured
from benchmarks.free_ports import Ports
from benchmarks.runner import components
from benchmarks.runner.rows import Table
from benchmarks.runner.service import ASSET, Service, Store, serving


@dataclass
class Bench:
    """Everything a measurement needs; `runs` is how often what varies is repeated."""

    root: Path
    table: Table
    runs: int
    say: Callable[[str], None]
    store: Store = field(default_factory=Store)
    ports: Ports = field(default_factory=Ports)
    stack: ExitStack = field(default_factory=ExitStack)
    typical: float | None = None
    """Seconds of a typical call over HTTP, once it was measured."""
    _made: int = 0

    @cached_property
    def guest(self) -> bytes:
        """The component of 12 MB."""
        return components.everything()

    def handler(self, number: int = 0) -> Digest:
        """A bundle with a handler and an asset; another number is another component."""
        wasm = components.variant(self.guest, number) if number else self.guest
        return self.store.keep({"dist/main.wasm": wasm, "ui/index.html": b"<p>", "ui/a.js": ASSET})

    def fresh(self) -> Path:
        """A cache directory that was never used."""
        self._made += 1
        made = self.root / f"cache-{self._made}"
        made.mkdir()
        return made

    @contextmanager
    def service(self, cache: Path, **environ: str) -> Iterator[Service]:
        """The runner."""
        with serving(self.store, cache, self.ports, **environ) as service:
            yield service

    @cached_property
    def warm_cache(self) -> Path:
        """One that holds the plain handler, compiled with optimisation."""
        cache = self.fresh()
        with self.service(cache, RUNNER_COMPILE_TIERS="1") as service:
            service.warm(self.handler())
        return cache

    def floor(self, name: str, path: str = "/typical") -> Floor:
        """`stock` or `layer`, started once."""
        made = self.__dict__.setdefault("_floors", {})
        if name not in made:
            made[name] = self.stack.enter_context(_floor(self, name, path))
        floor: Floor = made[name]
        return floor


class Floor:
    """A process that calls the handler by itself."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        details = json.loads(self._line())
        self.compile_seconds: float = details["compile"]
        self.body: str = details["body"]

    def calls(self, count: int) -> list[float]:
        """Seconds of each of so many calls."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        found: list[float] = json.loads(self._line())
        return found

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Unmeasured("a floor's process ended")
        return line


@contextmanager
def _floor(bench: Bench, name: str, path: str) -> Iterator[Floor]:
    component = bench.root / "guest.wasm"
    component.write_bytes(bench.guest)
    command = [sys.executable, "-m", f"benchmarks.runner.{name}"]
    process = subprocess.Popen(
        [*command, str(component), str(bench.root), path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Floor(process)
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait(30)
        process.stdout.close()
