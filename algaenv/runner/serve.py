"""The listening socket, the event loop and the end of both."""

from __future__ import annotations

import logging
import os
import signal
import socket
from types import FrameType
from typing import NoReturn

from algaenv import __version__
from algaenv.runner.environment import Environment, without_login

_log = logging.getLogger("algaenv.runner")

KEEP_ALIVE_SECONDS = 75
"""Longer than the pools of usual HTTP clients keep a connection, so that they close it first."""
BACKLOG = 2048


class CannotListen(Exception):
    """The address cannot be bound; the text is one line."""


def listen(host: str, port: int) -> socket.socket:
    """Bind a listening socket; port 0 takes a free one. Raises CannotListen."""
    listening: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
        # With its protocol named: asyncio sends without delay only over sockets that say TCP.
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        if listening is not None:
            listening.close()
        # gaierror has numbers of its own; for the others Python adds words to the system's.
        number = None if isinstance(error, socket.gaierror) else error.errno
        why = error.strerror if number is None else os.strerror(number)
        raise CannotListen(f"cannot listen on {host}:{port}: {why}") from None
    return listening


def serve(environment: Environment) -> None:
    """Serve until SIGTERM or SIGINT, then let requests under way end. Raises CannotListen.

    Ends with SystemExit(0) when it was told to stop.
    """
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    listening = listen(environment.host, environment.port)
    from uvicorn.config import Config
    from uvicorn.server import Server

    from algaenv.runner.application import build
    from algaenv.runner.journal import start_journal

    start_journal(environment.log_level)
    server = Server(
        Config(
            build(environment),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="on",
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=environment.drain_seconds,
        )
    )
    _announce(environment, listening)
    try:
        server.run(sockets=[listening])
    finally:
        _log.info("stopped")


def _announce(environment: Environment, listening: socket.socket) -> None:
    host, port = listening.getsockname()[:2]
    fields = {
        "version": __version__,
        "pid": os.getpid(),
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


def _leave(signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    """Before and after the server's own handling of signals: nothing is left to wait for."""
    raise SystemExit(0)
