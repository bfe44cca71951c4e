"""Notices services that do not answer any more: a TCP connection to each, every few seconds."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from algaenv.model.status import Status

INTERVAL_SECONDS: Final = 3.0
_CONNECT_SECONDS: Final = 2.0
_MISSES: Final = 2
"""Looks in a row without an answer before a service counts as gone: it may just be restarting."""


class ServiceMonitor:
    """Calls `gone` with the names of services once they do not answer any more."""

    def __init__(self, gone: Callable[[tuple[str, ...]], None]) -> None:
        self._gone = gone
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, addresses: Mapping[str, tuple[str, int]]) -> None:
        """Watch these from now on; `gone` is called at most once until the next call."""
        self.stop()
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(dict(addresses), self._stop), name="services", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Watch nothing any more."""
        self._stop.set()
        self._thread = None

    def _run(self, addresses: Mapping[str, tuple[str, int]], stop: threading.Event) -> None:
        missed = dict.fromkeys(addresses, 0)
        while not stop.wait(INTERVAL_SECONDS):
            for name, address in addresses.items():
                missed[name] = 0 if _answers(address) else missed[name] + 1
            silent = tuple(name for name, count in missed.items() if count >= _MISSES)
            if silent and not stop.is_set():
                self._gone(silent)
                return


def addresses_of(status: Status) -> dict[str, tuple[str, int]]:
    """Host and port of each service of a status, by its first endpoint."""
    found: dict[str, tuple[str, int]] = {}
    for service in status.services:
        for url in service.endpoints.values():
            parts = urlsplit(url)
            if parts.hostname and parts.port:
                found.setdefault(service.name, (parts.hostname, parts.port))
    return found


def _answers(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=_CONNECT_SECONDS):
            return True
    except OSError:
        return False
