"""Our execution layer alone: the same calls as the service makes, without the service.

The engine with its pool and value layer, the real host functions; no HTTP, no queue, no logging.

    python -m benchmarks.runner.layer <component> <scratch> <path>

Speaks as `stock` does.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from algaenv.runner.execute.invocation import Invocation, granted_capabilities
from algaenv.runner.execute.request_models import User
from algaenv.runner.host.functions import host_functions
from algaenv.runner.host.settings import HostSettings
from algaenv.runner.outbound import Outbound
from algaenv.runner.wasm.engine_config import config
from algaenv.runner.wasm.guest import GuestLoader
from benchmarks.runner.components import EXTENSION, GRANTED, SECRET, TENANT, USER


class _Silent:
    def write(self, *_: object) -> None:
        """Nobody listens."""


def main(component: Path, scratch: Path, path: str) -> None:
    from wasmtime import Engine
    from wasmtime.component import Component

    content = component.read_bytes()
    started = time.perf_counter()
    compiled = Component(Engine(config()), content)
    seconds = time.perf_counter() - started
    file = scratch / "layer.cwasm"
    file.write_bytes(compiled.serialize())
    del compiled
    guests = GuestLoader(host_functions(HostSettings.read({}), Outbound()), 2)
    guest = guests.load(file)
    grants = granted_capabilities(GRANTED)
    user = User.model_validate(USER)

    def wait(work: Any) -> Any:
        work.close()
        raise AssertionError("this call asks nobody else")

    def once() -> tuple[float, bytes]:
        began = time.perf_counter()
        invocation = Invocation(
            request_id="r-1",
            tenant=TENANT,
            extension=EXTENSION,
            install=None,
            version=None,
            capabilities=grants,
            secrets=SECRET,
            user=user,
            deadline=time.monotonic() + 30,
            wait=wait,
            listener=_Silent(),
        )
        http: dict[str, Any] = {"method": "GET", "url": path, "headers": [], "body": None}
        response = guest.call(
            invocation, {"context": _context(), "http": http}, memory_bytes=256 << 20
        )
        return time.perf_counter() - began, response["body"]

    print(json.dumps({"compile": seconds, "body": once()[1].decode()}), flush=True)
    for line in sys.stdin:
        print(json.dumps([once()[0] for _ in range(int(line))]), flush=True)
    guests.close()


def _context() -> dict[str, str | None]:
    return {
        "request_id": "r-1",
        "tenant_id": TENANT,
        "extension_id": EXTENSION,
        "install_id": None,
        "version_id": None,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
