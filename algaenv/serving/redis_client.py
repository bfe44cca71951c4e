"""The Redis that runners write the debug stream to, which also counts calls for the rate limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis.asyncio import Redis

ANSWER_SECONDS = 3.0


class NoRedis(Exception):
    """There is none, or its URL cannot be used; the text is the reason, without the URL."""


class RedisClient:
    """One client, made when it is first needed."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._client: Redis | None = None

    @property
    def configured(self) -> bool:
        """Whether there is one to ask."""
        return self._url is not None

    def client(self) -> Redis:
        """The client; it connects when it is used. Raises NoRedis."""
        if self._client is None:
            if self._url is None:
                raise NoRedis("RUNNER_DEBUG_REDIS_URL is not set")
            from redis.asyncio import Redis

            try:
                self._client = Redis.from_url(
                    self._url,
                    socket_connect_timeout=ANSWER_SECONDS,
                    socket_timeout=ANSWER_SECONDS,
                    protocol=2,
                )
            except ValueError:
                raise NoRedis("RUNNER_DEBUG_REDIS_URL names no Redis") from None
        return self._client

    async def aclose(self) -> None:
        """Close the connections kept open."""
        if self._client is not None:
            await self._client.aclose()
