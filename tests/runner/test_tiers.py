"""A large component through the whole service: quick code first, optimised code in every worker."""

from __future__ import annotations

import re
import time
from pathlib import Path

from tests.guests import built

from .archives import EXTENSION, TENANT, bundle
from .conftest import Start
from .peers import Files
from .test_toolchains import Handlers
from .tinies import children

DEADLINE_SECONDS = 120.0


def padded(component: bytes, size: int) -> bytes:
    """The component with a custom section of so many bytes."""
    content = b"\x03pad" + bytes(size)
    length, rest = bytearray(), len(content)
    while rest >= 1 << 7:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    return component + b"\0" + bytes([*length, rest]) + content


def mapped(pid: int) -> set[str]:
    """The compiled components that a process has mapped."""
    return set(
        re.findall(r"[0-9a-f]{64}\.[0-9a-f]{16}\.cwasm", Path(f"/proc/{pid}/maps").read_text())
    )


def test_every_worker_maps_the_optimised_code(start: Start, files: Files) -> None:
    service = start(RUNNER_WORKERS="2")
    made = bundle({"dist/main.wasm": padded(built("script").read_bytes(), 2 << 20)})
    files.objects[made.key] = made.archive
    fields = {"tenant": TENANT, "extension": EXTENSION, "content_hash": made.digest.prefixed}
    assert service.post("/warmup", fields, timeout=DEADLINE_SECONDS).status == 200
    quick = service.line("compiled", tier="quick")
    deadline = time.monotonic() + DEADLINE_SECONDS
    workers = children(service.process.pid)
    assert len(workers) == 2
    handlers = Handlers(service, files)
    wanted: set[str] = set()
    while not wanted or any(mapped(pid) != wanted for pid in workers):
        assert time.monotonic() < deadline, [mapped(pid) for pid in workers]
        assert handlers.call_bundle(made)["status"] == 200
        done = [line for line in service.lines if line.get("tier") == "optimised"]
        if done and not wanted:
            files_made = {file.name for file in service.cache_root.rglob("*.cwasm")}
            assert len(files_made) == 2
            (wanted_name,) = (
                file.name
                for file in service.cache_root.rglob("*.cwasm")
                if file.stat().st_size == done[0]["bytes"]
            )
            wanted = {wanted_name}
    assert quick["component"] == done[0]["component"]
    assert sum(line["event"] == "compiled" for line in service.lines) == 2


def test_a_component_is_compiled_before_its_bundle_comes(start: Start, files: Files) -> None:
    service = start()
    component = padded(built("script").read_bytes(), 2 << 20)
    sent = {"content-type": "application/wasm"}
    answer = service.ask("/warmup", sent, method="POST", body=component, timeout=DEADLINE_SECONDS)
    assert (answer.status, answer.json) == (200, {"status": "compiled"})
    early = service.line("compiled", tier="quick")
    made = bundle({"dist/main.wasm": component})
    files.objects[made.key] = made.archive
    fields = {"tenant": TENANT, "extension": EXTENSION, "content_hash": made.digest.prefixed}
    assert service.post("/warmup", fields, timeout=DEADLINE_SECONDS).status == 200
    assert Handlers(service, files).call_bundle(made)["status"] == 200
    quick = [it for it in service.lines if it["event"] == "compiled" and it["tier"] == "quick"]
    assert quick == [early]
    # Nothing of it is left where it was written down.
    assert not list((service.cache_root).rglob("main.wasm*/main.wasm"))

    broken = service.ask("/warmup", sent, method="POST", body=b"no component")
    assert (broken.status, broken.json["failure"]["kind"]) == (422, "malformed")
