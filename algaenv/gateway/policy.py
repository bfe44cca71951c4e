"""Who may call what: the rules of both entry points, in the product's order, as one pure function.

`authorise` does no I/O. The rate limit comes after it, since it needs Redis, and the audit after
that, since it needs the database.

The rate limit is a token bucket in Redis, for each extension of a tenant: 60 calls at once and one
more a second, as in the product. Redis counts, so that restarts and other gateways make no
difference; when it does not answer, every call is refused.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from algaenv.gateway.installs import EXTENSION_PRODUCT, Endpoint, FoundInstall, Install
from algaenv.gateway.javascript import trim
from algaenv.gateway.responses import Problem
from algaenv.gateway.settings import RateLimit
from algaenv.gateway.users import USER_HEADER, User
from algaenv.serving.redis_client import NoRedis, RedisClient

READ_METHODS = frozenset(("GET", "HEAD"))
TENANT_HEADERS = ("x-alga-tenant", "x-tenant-id")

_MAX_LISTED = 8


@dataclass(frozen=True, slots=True)
class Allowed:
    """The call may go on to this endpoint."""

    install: Install
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Denied:
    """It may not: the product's status and body, and what an author should know."""

    status: int
    body: Mapping[str, object]
    problem: Problem
    retry_after: int | None = None
    """Seconds."""


Decision = Allowed | Denied


def unknown_user(users: Sequence[User]) -> Denied:
    """The refusal for an unknown user name, as if nobody were signed in."""
    names = ", ".join(user.key for user in users)
    return Denied(
        401,
        {"error": "Unauthorized"},
        Problem(
            "gateway-user-unknown",
            "cannot tell who asks: no user has that name",
            f"name one of {names} in the header {USER_HEADER}, or nobody",
        ),
    )


def check_tenant(headers: Mapping[str, str], tenant: str) -> Denied | None:
    """A refusal, when a header names another tenant than the session's."""
    for name in TENANT_HEADERS:
        named = headers.get(name, "").strip()
        if named and named != tenant:
            return _denied(
                403,
                "tenant_mismatch",
                "gateway-tenant-mismatch",
                f"cannot act for the tenant that {name} names: the session belongs to {tenant}",
                f"leave {name} out",
            )
    return None


def authorise(
    found: FoundInstall,
    user: User,
    method: str,
    path: str,
    *,
    ref: str,
    disabled_checks: Collection[str] = (),
) -> Decision:
    """The first rule that is broken, or what may be called.

    `path` is decoded and without query, `ref` is what the request called the extension, and
    `disabled_checks` names checks that are not made.
    """
    if found.product != EXTENSION_PRODUCT:
        return Denied(
            403,
            {"error": "Product access denied", "code": "PRODUCT_ACCESS_DENIED"},
            Problem(
                "gateway-product-wrong",
                f"cannot use extensions with the product {found.product!r}",
                "set tenants.product_code of this tenant to psa",
            ),
        )
    install = found.install
    if install is None:
        return _denied(
            404,
            "extension_not_available",
            "gateway-extension-unknown",
            f"cannot find an extension under {ref[:200]!r}",
            "use its registry id, its install id, or publisher.name; / lists what is installed",
        )
    if not install.available:
        return _denied(
            404,
            "extension_not_available",
            "gateway-extension-disabled",
            f"cannot call {install.slug}: its install is switched off (status {install.status})",
            "enable it in the spec and run algaenv up",
        )
    endpoint = match_endpoint(install.endpoints, method, path)
    if endpoint is None:
        return _denied(
            404,
            "endpoint_not_found",
            "gateway-endpoint-undeclared",
            f"cannot call {method[:16]} {path[:200]}: {install.slug} {install.version} declares "
            f"{_declared(install)}",
            "declare it under api.endpoints of the manifest, then run algaenv up",
        )
    return _denial(install, user, method, disabled_checks) or Allowed(install, endpoint)


def match_endpoint(endpoints: Sequence[Endpoint], method: str, path: str) -> Endpoint | None:
    """The first endpoint for this call: same method (HEAD counts as GET) and as many segments,
    where one with a colon in front takes any that is not empty. Blanks around the whole path do
    not count, nor do slashes."""
    wanted = "GET" if method == "HEAD" else method
    segments = _segments(path)
    for endpoint in endpoints:
        declared = "GET" if endpoint.method == "HEAD" else endpoint.method
        if declared == wanted and _fits(_segments(endpoint.path), segments):
            return endpoint
    return None


def _segments(path: str) -> list[str]:
    return trim(path).strip("/").split("/")


def _fits(declared: list[str], actual: list[str]) -> bool:
    return len(declared) == len(actual) and all(
        bool(segment) if pattern.startswith(":") else pattern == segment
        for pattern, segment in zip(declared, actual, strict=True)
    )


def _denial(
    install: Install, user: User, method: str, checks_off: Collection[str]
) -> Denied | None:
    if not user.is_client:
        wanted = "extension:read" if method in READ_METHODS else "extension:write"
        if wanted in user.permissions or wanted in checks_off:
            return None
        return _denied(
            403,
            "forbidden",
            "gateway-permission-missing",
            f"cannot call {method[:16]} as {user.key}: the permission {wanted} is missing",
            f"give it to the user, or name {wanted} in gateway.checks_off",
        )
    if "client-portal-menu" not in checks_off and not install.menu_label("clientPortalMenu"):
        return _denied(
            403,
            "forbidden",
            "gateway-menu-missing",
            f"cannot call {install.slug} from the client portal: it has no menu entry there",
            "set ui.hooks.clientPortalMenu.label in the manifest",
        )
    if "client-portal-client" not in checks_off and not user.client_id:
        return _denied(
            403,
            "forbidden",
            "gateway-client-unknown",
            f"cannot call as {user.key}: the user belongs to no client",
            "give the user a client_id",
        )
    return None


def _declared(install: Install) -> str:
    names = [f"{it.method} {it.path}" for it in install.endpoints]
    if not names:
        return "no endpoint"
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more


def _denied(status: int, error: str, code: str, summary: str, hint: str) -> Denied:
    return Denied(status, {"error": error}, Problem(code, summary, hint))


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
