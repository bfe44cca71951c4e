"""HTTP in one worker: from its listening socket to the end of the last request."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvloop  # noqa: F401 - to be in memory before the workers are forked
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import Server

from algaenv.runner.workers import BACKLOG, Work, Worker
from algaenv.serving.request_limits import LimitedHttpProtocol

KEEP_ALIVE_SECONDS = 75
"""Longer than the pools of usual HTTP clients keep a connection, so that they close it first."""
LAST_REQUEST_SECONDS = 0.1
"""How long connections are still accepted and answered, each for the last time."""
FIRST_REQUEST_SECONDS = 1.0
"""How long a connection that was accepted may take until its first request comes."""

BuildApp = Callable[[Worker], ASGIApp]
"""Makes the application; runs in the worker, before its event loop does."""


def http_work(build: BuildApp, *, drain_seconds: int) -> Work:
    """What a worker does that serves an application."""

    def work(worker: Worker) -> None:
        # A request leaves few cycles behind, and looking for them takes time from all others.
        gc.set_threshold(20_000, 50, 50)
        config = Config(
            build(worker),
            loop="uvloop",
            http=LimitedHttpProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="on",
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=drain_seconds,
        )
        _DrainingServer(config).run(sockets=[worker.listening])

    return work


class _DrainingServer(Server):
    """Loses no request of a connection that was established."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        signal.signal(signal.SIGTERM, self.handle_exit)
        yield
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        began = time.monotonic()
        state = self.server_state
        # Clients learn it with a response, instead of by a reset when they ask the next time.
        state.default_headers = [*state.default_headers, (b"connection", b"close")]
        await asyncio.sleep(LAST_REQUEST_SECONDS)
        while self._expects_first() and time.monotonic() - began < FIRST_REQUEST_SECONDS:
            await asyncio.sleep(LAST_REQUEST_SECONDS / 4)
        allowed = self.config.timeout_graceful_shutdown
        if allowed is not None:
            left = max(0, allowed - int(time.monotonic() - began))
            self.config.timeout_graceful_shutdown = left
        await super().shutdown(sockets)

    def _expects_first(self) -> bool:
        return any(
            getattr(connection, "cycle", None) is None
            for connection in self.server_state.connections
        )
