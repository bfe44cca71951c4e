"""The busiest route, reached past the layers of middleware and routing that the others have."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from algaenv.runner.answers import empty

_log = logging.getLogger(__name__)


class Direct:
    """Answers POST to one path itself, and leaves everything else to `app`."""

    def __init__(
        self, app: ASGIApp, path: str, answer: Callable[[Request], Awaitable[Response]]
    ) -> None:
        self._app, self._path, self._answer = app, path.encode(), answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as an ASGI application."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["raw_path"] != self._path:
            await self._app(scope, receive, send)
            return
        try:
            answer = await self._answer(Request(scope, receive))
        except Exception:
            _log.exception("request failed")
            answer = empty(500)
        await answer(scope, receive, send)
