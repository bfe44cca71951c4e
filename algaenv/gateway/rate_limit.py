"""The rate limit of both entry points: a token bucket in Redis, for each extension of a tenant.

60 calls at once and one more a second, as in the product. Redis counts, so that restarts and
other gateways make no difference; when it does not answer, every call is refused.
"""

from __future__ import annotations

import math
from typing import Any

from algaenv.gateway.installs import Install
from algaenv.gateway.settings import RateLimit
from algaenv.serving.redis_client import NoRedis, RedisClient

BURST = 60
PER_SECOND = 1

_PREFIX = "algaenv:extension-gateway:"
_TAKE_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = math.min(tonumber(ARGV[1]),
  (tonumber(kept[1]) or tonumber(ARGV[1])) + (now - (tonumber(kept[2]) or now)) * ARGV[2])
local wait = 0
if tokens >= 1 then tokens = tokens - 1 else wait = (1 - tokens) / ARGV[2] end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(now))
redis.call('EXPIRE', KEYS[1], math.ceil(ARGV[1] / ARGV[2]) + 1)
return tostring(wait)
"""


class RateLimiterUnavailable(Exception):
    """The calls cannot be counted; the text is the reason."""


class RateLimiter:
    """Lets calls pass, or returns how long to wait."""

    def __init__(self, mode: RateLimit, redis: RedisClient) -> None:
        self._mode = mode
        self._redis = redis
        self._script: Any = None

    async def take(self, install: Install) -> int:
        """0 when the call may go on, else the seconds to wait. Raises RateLimiterUnavailable."""
        if self._mode == "off":
            return 0
        import redis

        try:
            script = self._scripted()
            key = f"{_PREFIX}{install.tenant}:{install.registry_id}"
            return math.ceil(float(await script(keys=[key], args=[BURST, PER_SECOND])))
        except NoRedis as error:
            raise RateLimiterUnavailable(str(error)) from None
        except (redis.RedisError, OSError, ValueError) as error:
            # The text of an error about the URL may repeat its password.
            raise RateLimiterUnavailable(type(error).__name__) from None

    def _scripted(self) -> Any:
        if self._script is None:
            self._script = self._redis.client().register_script(_TAKE_SCRIPT)
        return self._script
