"""Start the service: open files, listening sockets, the metrics directory, then the supervisor.

There is one listening socket for each worker, all on the same port, and the kernel spreads new
connections over them. Were one socket shared instead, the worker that woke up first would take all
the connections that wait.

Every worker writes its metrics to files that carry its number. A worker started in the place of a
dead one continues its counters, and the directory does not grow with restarts.
"""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from algaenv import __version__
from algaenv.runner.settings import Settings, without_login
from algaenv.runner.workers import BACKLOG, WorkersFailed, WorkerSupervisor
from algaenv.system.locks import file_lock, open_locked, wait_lock


class CannotListen(Exception):
    """The address cannot be bound; the text is one line."""


def listen(host: str, port: int, count: int = 1) -> tuple[socket.socket, ...]:
    """Bind `count` listening sockets to one port; port 0 takes a free one. Raises CannotListen.

    A port in use is refused, even when another runner's sockets share it.
    """
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        family, _, protocol, _, address = found[0]
        sockets.append(_listening_socket(family, protocol, address))
        for _ in range(count - 1):
            # Only now, so that no other process can come between: a socket without the option
            # gets the port for itself, or not at all.
            sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sockets.append(
                _listening_socket(family, protocol, sockets[0].getsockname(), shares=True)
            )
    except OSError as error:
        for each in sockets:
            each.close()
        # gaierror has numbers of its own; for the others Python adds words to the system's.
        number = None if isinstance(error, socket.gaierror) else error.errno
        reason = error.strerror if number is None else os.strerror(number)
        raise CannotListen(f"cannot listen on {host}:{port}: {reason}") from None
    return tuple(sockets)


def _listening_socket(
    family: int, protocol: int, address: tuple[object, ...], *, shares: bool = False
) -> socket.socket:
    # With its protocol named: asyncio sends without delay only over sockets that say TCP.
    created = socket.socket(family, socket.SOCK_STREAM, protocol)
    try:
        created.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shares:
            created.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        created.bind(address)
        created.listen(BACKLOG)
    except OSError:
        created.close()
        raise
    return created


_PRIVATE = 0o700


class MultiprocessDir:
    """A directory that lives as long as the service. Made by the process that starts workers.

    Workers inherit the lock that keeps others from clearing it away; it is gone when all are.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def make(cls, cache_root: Path) -> MultiprocessDir:
        """Make one below the root of the cache, and remove those of services that are no more.

        Raises OSError.
        """
        own = cache_root / ".algaenv"
        folder = own / "metrics"
        for place in (own, folder):
            place.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        with file_lock(folder / "lock"):
            for old in folder.iterdir():
                if old.is_dir():
                    _remove_if_unlocked(old)
            path = Path(tempfile.mkdtemp(dir=folder))
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            wait_lock(descriptor)
        return cls(path, descriptor)

    def worker_exited(self, worker: int) -> None:
        """Take a worker out of the figures that say how things are; what it counted stays."""
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker, str(self.path))  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Remove the directory, after the last worker."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._descriptor)


def _remove_if_unlocked(folder: Path) -> None:
    descriptor = open_locked(folder, os.O_RDONLY | os.O_DIRECTORY)
    if descriptor is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


__all__ = ["CannotListen", "serve"]

_log = logging.getLogger("algaenv.runner")

OPEN_FILES = 65_536
"""Open files that a worker may have, where the system allows it."""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then let requests under way end. Raises CannotListen.

    Ends with SystemExit when a signal comes before there are workers, with code 0, and when
    these cannot be kept running, with words and code 1.
    """
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGINT, _exit)
    _raise_file_limit()
    sockets = listen(settings.host, settings.port, settings.worker_count.workers)
    # All that every worker needs is imported here, once for all of them.
    from algaenv.runner.app import build_app
    from algaenv.runner.http_server import http_work
    from algaenv.serving.access_log import configure_logging

    configure_logging(settings.log_level)
    _log_settings(settings, sockets)
    metrics_dir = _metrics_dir(settings)
    supervisor = WorkerSupervisor(
        sockets,
        http_work(
            lambda worker: build_app(settings, worker, metrics_dir.path if metrics_dir else None),
            drain_seconds=settings.drain_seconds,
        ),
        drain_seconds=settings.drain_seconds,
        worker_exited=lambda worker, _: metrics_dir.worker_exited(worker) if metrics_dir else None,
    )
    try:
        supervisor.run()
    except WorkersFailed as failure:
        raise SystemExit(f"Error: {failure}") from None
    finally:
        if metrics_dir is not None:
            metrics_dir.close()
        _log.info("stopped")


def _metrics_dir(settings: Settings) -> MultiprocessDir | None:
    """Where the workers count together; in the cache, or beside it when that is read-only."""
    for root in (settings.cache_root, Path(tempfile.gettempdir(), "algaenv-runner")):
        with suppress(OSError):
            return MultiprocessDir.make(root)
    _log.warning("no metrics: neither the cache nor the temporary directory can be written to")
    return None


def _log_settings(settings: Settings, sockets: tuple[socket.socket, ...]) -> None:
    host, port = sockets[0].getsockname()[:2]
    fields = {
        "version": __version__,
        "pid": os.getpid(),
        "workers": len(sockets),
        "host": host,
        "port": port,
        "registry": without_login(settings.registry_base),
        "store": without_login(settings.source.url),
        "store_access": "signed" if settings.source.signed else "unsigned",
        "cache_root": str(settings.cache_root),
        "cache_max_bytes": settings.cache_max_bytes,
        "static_max_bytes": settings.static_max_bytes,
        "demands_tenant": settings.demands_tenant,
        "asks_registry": settings.demands_tenant and settings.asks_registry,
    }
    _log.info("listening", extra={"fields": fields})
    if settings.cache_max_text and settings.cache_max_bytes is None:
        _log.warning("EXT_CACHE_MAX_BYTES is not a number of bytes; the cache is not bounded")


def _raise_file_limit() -> None:
    """Ask for more open files than the usual 1024: every connection is one."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _exit(signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise SystemExit(0)
