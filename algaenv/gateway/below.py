"""A route for everything under a prefix.

The pattern of an ordinary route ends at a line feed, and `%0a` is one by the time it is matched.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send


class Below(BaseRoute):
    """Hands every request whose path begins with `prefix` to `app`, or those of `methods`."""

    def __init__(
        self, prefix: str, app: ASGIApp, *, methods: Collection[str] | None = None
    ) -> None:
        self.prefix = prefix
        self.methods = methods
        self._app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether it is one of these."""
        below = scope["type"] == "http" and scope["path"].startswith(self.prefix)
        return (Match.FULL if below else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer. Raises HTTPException (405) for another method."""
        if self.methods is not None and scope["method"] not in self.methods:
            raise HTTPException(405, headers={"Allow": ", ".join(self.methods)})
        await self._app(scope, receive, send)
