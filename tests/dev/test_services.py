"""Services that go away are noticed once, and one that merely restarts is not."""

from __future__ import annotations

import queue
import socket
from pathlib import Path

import pytest

from algaenv.dev import services
from algaenv.dev.services import ServiceMonitor, addresses_of
from algaenv.model.lock import Environment
from algaenv.model.status import ServiceStatus, Status


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "INTERVAL_SECONDS", 0.05)


def test_one_that_goes_away() -> None:
    gone: queue.SimpleQueue[tuple[str, ...]] = queue.SimpleQueue()
    monitor = ServiceMonitor(gone.put)
    stays, goes = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    monitor.watch({"store": stays.getsockname(), "redis": goes.getsockname()})
    with pytest.raises(queue.Empty):
        gone.get(timeout=0.3)
    goes.close()
    assert gone.get(timeout=5) == ("redis",)
    with pytest.raises(queue.Empty):  # Once is enough; the next turn watches again.
        gone.get(timeout=0.3)
    monitor.watch({"store": stays.getsockname()})
    monitor.stop()
    stays.close()
    with pytest.raises(queue.Empty):
        gone.get(timeout=0.3)


def test_addresses_of_a_status() -> None:
    environment = Environment("0123456789", "demo", Path("/algaenv.yaml"), Path("/home"))
    status = Status(
        environment,
        "process",
        (
            ServiceStatus(
                "store", "ready", {"api": "http://127.0.0.1:9000", "console": "http://x:1"}
            ),
            ServiceStatus("redis", "ready", {"url": "redis://127.0.0.1:6379"}),
            ServiceStatus("database", "ready", {}),
        ),
        (),
    )
    assert addresses_of(status) == {"store": ("127.0.0.1", 9000), "redis": ("127.0.0.1", 6379)}
