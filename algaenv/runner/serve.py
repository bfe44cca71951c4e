"""The service from its first moment to its last: what is done before there are workers."""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from algaenv import __version__
from algaenv.runner.environment import Environment, without_login
from algaenv.runner.listening import CannotListen, listen
from algaenv.runner.metrics.ledger import Ledger
from algaenv.runner.workers import Supervisor, WorkersFail

__all__ = ["CannotListen", "serve"]

_log = logging.getLogger("algaenv.runner")

FILES = 65_536
"""Open files that a worker may have, where the system allows it."""


def serve(environment: Environment) -> None:
    """Serve until SIGTERM or SIGINT, then let requests under way end. Raises CannotListen.

    Ends with SystemExit when a signal comes before there are workers, with code 0, and when
    these cannot be kept running, with words and code 1.
    """
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    _allow_files()
    sockets = listen(environment.host, environment.port, environment.workforce.workers)
    # All that every worker needs is imported here, once for all of them.
    from algaenv.runner.application import build
    from algaenv.runner.journal import start_journal
    from algaenv.runner.serving import http_work

    start_journal(environment.log_level)
    _announce(environment, sockets)
    ledger = _ledger(environment)
    supervisor = Supervisor(
        sockets,
        http_work(
            lambda worker: build(environment, worker, ledger.path if ledger else None),
            drain_seconds=environment.drain_seconds,
        ),
        drain_seconds=environment.drain_seconds,
        worker_died=lambda worker, _: ledger.worker_died(worker) if ledger else None,
    )
    try:
        supervisor.run()
    except WorkersFail as failure:
        raise SystemExit(f"Error: {failure}") from None
    finally:
        if ledger is not None:
            ledger.close()
        _log.info("stopped")


def _ledger(environment: Environment) -> Ledger | None:
    """Where the workers count together; in the cache, or beside it when that is read-only."""
    for root in (environment.cache_root, Path(tempfile.gettempdir(), "algaenv-runner")):
        with suppress(OSError):
            return Ledger.make(root)
    _log.warning("no metrics: neither the cache nor the temporary directory can be written to")
    return None


def _announce(environment: Environment, sockets: tuple[socket.socket, ...]) -> None:
    host, port = sockets[0].getsockname()[:2]
    fields = {
        "version": __version__,
        "pid": os.getpid(),
        "workers": len(sockets),
        "host": host,
        "port": port,
        "registry": without_login(environment.registry_base),
        "store": without_login(environment.source.url),
        "store_access": "signed" if environment.source.signed else "unsigned",
        "cache_root": str(environment.cache_root),
        "cache_max_bytes": environment.cache_max_bytes,
        "static_max_bytes": environment.static_max_bytes,
        "demands_tenant": environment.demands_tenant,
        "asks_registry": environment.demands_tenant and environment.asks_registry,
    }
    _log.info("listening", extra={"fields": fields})
    if environment.cache_max_text and environment.cache_max_bytes is None:
        _log.warning("EXT_CACHE_MAX_BYTES is not a number of bytes; the cache is not bounded")


def _allow_files() -> None:
    """Ask for more open files than the usual 1024: every connection is one."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if most == resource.RLIM_INFINITY else min(FILES, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _leave(signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise SystemExit(0)
