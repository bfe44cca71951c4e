"""The Redis that the debug stream is written to."""

from __future__ import annotations

from collections.abc import Sequence

from algaenv.runner.guestlog.event import Event
from algaenv.runner.guestlog.settings import StreamSettings

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 2.0


class NoRedis(Exception):
    """The URL names no Redis that can be asked at all."""


class Sink:
    """One connection, opened when it is used and again after it was lost. Not thread-safe."""

    def __init__(self, settings: StreamSettings) -> None:
        """Raises NoRedis. Takes a tenth of a second for the library."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self._settings = settings
        self._refused = 0
        self._passing = (
            redis.ConnectionError,
            redis.TimeoutError,
            redis.ReadOnlyError,
            redis.OutOfMemoryError,
            redis.exceptions.ClusterDownError,
            redis.exceptions.TryAgainError,
        )
        try:
            self._client = redis.Redis.from_url(
                settings.url or "",
                socket_connect_timeout=CONNECT_SECONDS,
                socket_timeout=ANSWER_SECONDS,
                # Whoever writes tries again; a connection closed in a pause is noticed anyway.
                retry=Retry(NoBackoff(), 0),
                # Every Redis and every proxy before one speaks it.
                protocol=2,
            )
            # Whether the parameters in the URL mean anything shows only here.
            self._client.connection_pool.make_connection()
        except (ValueError, TypeError, redis.RedisError):
            # Its text may repeat the password.
            raise NoRedis from None

    def greet(self) -> None:
        """See that it answers. Raises what the library does."""
        self._client.ping()

    def write(self, events: list[Event]) -> int:
        """Append the events to their streams, and remove from the list those that are done with.

        Returns how many the server will never take, since the last time that nothing was raised.
        Raises what the library does for those that may be taken later; they stay in the list.
        """
        settings = self._settings
        pipeline = self._client.pipeline(transaction=False)
        for event in events:
            pipeline.xadd(
                event.key(settings.prefix).encode(errors="replace"),
                event.fields(),  # type: ignore[arg-type]
                maxlen=settings.maxlen,
                approximate=True,
            )
        answers: Sequence[object] = pipeline.execute(raise_on_error=False)
        passing = [isinstance(answer, self._passing) for answer in answers]
        events[:] = [event for event, later in zip(events, passing, strict=True) if later]
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        self._refused += len(errors) - len(events)
        if events:
            raise next(error for error in errors if isinstance(error, self._passing))
        refused, self._refused = self._refused, 0
        return refused

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
