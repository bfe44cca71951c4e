"""The service from its first moment to its last."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from types import FrameType
from typing import NoReturn

from uvicorn.config import Config
from uvicorn.server import Server

from algaenv import __version__
from algaenv.gateway.application import build
from algaenv.gateway.environment import Environment
from algaenv.gateway.feed import Feed
from algaenv.gateway.journal import start_journal
from algaenv.serving.head_limit import LimitedHead

BACKLOG = 2048
DRAIN_SECONDS = 5
"""How long calls under way may still take after SIGTERM."""
KEEP_ALIVE_SECONDS = 75

_log = logging.getLogger("algaenv.gateway")


class CannotListen(Exception):
    """The address cannot be bound; the text is one line."""


def serve(environment: Environment, env: Mapping[str, str]) -> None:
    """Serve until SIGTERM or SIGINT, then let calls under way end. Raises CannotListen.

    `LOG_FORMAT` is `json` or `text`; unset, a terminal gets text.
    """
    # The server hands signals on to these once calls under way have ended.
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    listening = _listen(environment.host, environment.port)
    wanted = env.get("LOG_FORMAT", "").strip().lower()
    journal = start_journal(
        environment.log_level,
        text=wanted == "text" or (wanted != "json" and sys.stdout.isatty()),
    )
    feed = Feed()
    config = Config(
        build(environment, feed),
        loop="uvloop",
        http=LimitedHead,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    host, port = listening.getsockname()[:2]
    fields = {
        "version": __version__,
        "pid": os.getpid(),
        "host": host,
        "port": port,
        "runner": environment.runner_url,
        "tenant": environment.tenant,
        "rate_limit": environment.settings.rate_limit,
        "faults_fixed": sorted(environment.settings.faults_fixed),
    }
    _log.info("listening", extra={"fields": fields})
    try:
        _Server(config, feed).run(sockets=[listening])
    finally:
        _log.info("stopped")
        journal.stop()


class _Server(Server):
    """Lets go of those who watch before it waits for everybody to be answered."""

    def __init__(self, config: Config, feed: Feed) -> None:
        super().__init__(config)
        self._feed = feed

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._feed.end()
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        family, kind, protocol, _, address = found[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError as error:
        why = error.strerror or str(error)
        raise CannotListen(f"cannot listen on {host}:{port}: {why}") from None
    return made


def _leave(signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise SystemExit(0)
