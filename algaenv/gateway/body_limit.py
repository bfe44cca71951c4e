"""How long the body of a request may take to arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from starlette.responses import Response

BODY_SECONDS = 60.0


class BodyTooSlow(Exception):
    """The body did not come within BODY_SECONDS."""


async def in_time(body: Awaitable[bytes]) -> bytes:
    """What `body` reads. Raises BodyTooSlow, and what `body` raises."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await body
    except TimeoutError:
        raise BodyTooSlow from None


def too_slow() -> Response:
    """The answer to such a request; what still comes of it is not read."""
    return Response(status_code=408, headers={"connection": "close"})
