"""The application: its routes, what they need and whether that answers, and its server."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from types import FrameType
from typing import NoReturn
from urllib.parse import urlsplit

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route, request_response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import Server

from algaenv import __version__
from algaenv.gateway import apis, openapi, page_proxy, pages
from algaenv.gateway.apis.storage.records import RecordRepository
from algaenv.gateway.audit import AuditLog
from algaenv.gateway.call import AccessRecord, TextFormatter, write_record
from algaenv.gateway.db import acquire, create_pool
from algaenv.gateway.debug_stream import DebugStreamEndpoint
from algaenv.gateway.dev_turns import PATH as DEV_PATH
from algaenv.gateway.dev_turns import DevEndpoint, DevTurns
from algaenv.gateway.events import EventBus, EventStream
from algaenv.gateway.http_client import OutboundClient
from algaenv.gateway.installs import Installs
from algaenv.gateway.page_proxy import PageProxy
from algaenv.gateway.policy import RateLimiter
from algaenv.gateway.proxy import ExtensionProxy
from algaenv.gateway.quirks import DIFFERENCES, Quirks
from algaenv.gateway.responses import Problem, json_response, problem_response
from algaenv.gateway.rules import DIRECT_PREFIX, direct_rules, proxy_rules
from algaenv.gateway.runner_client import RunnerClient
from algaenv.gateway.scratch_tenants import ScratchTenantMiddleware, ScratchTenants
from algaenv.gateway.settings import GatewayConfig
from algaenv.gateway.state import AppState, BackgroundTask
from algaenv.gateway.users import Users
from algaenv.serving.access_log import AccessLog, configure_logging
from algaenv.serving.background import restart_on_failure
from algaenv.serving.host_header import is_loopback
from algaenv.serving.redis_client import RedisClient
from algaenv.serving.request_limits import LimitedHttpProtocol
from algaenv.serving.span_export import SpanExporter


def create_app(config: GatewayConfig, events: EventBus | None = None) -> ASGIApp:
    """The ASGI application for these settings; opens no connection yet.

    An event bus that is passed in can be closed from outside, which ends all subscriptions.
    """
    from psycopg import OperationalError

    events = events or EventBus()
    outbound = OutboundClient()
    pool = create_pool(config.database_url)
    settings, stream = config.settings, config.debug_stream
    redis = RedisClient(stream.url if stream else None)
    installs = Installs(
        pool, config.tenant, grants_only="capabilities-union" in settings.faults_fixed
    )
    scratch = ScratchTenants(pool, installs, config.tenant) if config.scratch_tenants else None
    state = AppState(
        config=config,
        pool=pool,
        installs=installs,
        users=Users(settings.users),
        runner=RunnerClient(
            config.runner_url,
            config.service_token,
            config.inbound_token,
            tenant=config.tenant if scratch else "",
        ),
        audit=AuditLog(pool),
        events=events,
        dev=DevTurns(events),
        quirks=Quirks(settings.faults_fixed, events),
        settings=settings,
        spans=SpanExporter(config.spans) if config.spans else None,
        scratch=scratch,
    )
    limit = RateLimiter(settings.rate_limit, redis)
    health = HealthEndpoints(state, outbound, redis)
    records = RecordRepository(pool)
    background_tasks: list[BackgroundTask] = [*apis.background_tasks(state)]
    entry_points = (
        direct_rules(cacheable=state.quirks.reproduces("direct-cacheable")),
        proxy_rules(),
    )
    page_files = PageProxy(outbound, config.runner_url, config.timeout_ms, events)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        outbound.begin()
        await pool.open(wait=False)
        tasks = [asyncio.ensure_future(restart_on_failure(task)) for task in background_tasks]
        try:
            yield
        finally:
            events.close()
            state.dev.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            state.runner.close()
            await outbound.aclose()
            await redis.aclose()
            await state.audit.aclose()
            await pool.close()
            if state.spans is not None:
                await asyncio.to_thread(state.spans.close)

    served = Starlette(
        routes=[
            *(
                PrefixRoute(rules.prefix, ExtensionProxy(state, limit, rules))
                for rules in entry_points
            ),
            Route(
                "/api/ext-debug/stream",
                DebugStreamEndpoint(state, redis).respond,
                methods=["GET", "POST"],
            ),
            Route("/algaenv/events", EventStream(events).respond),
            Route(DEV_PATH, DevEndpoint(state).respond, methods=["GET", "POST"]),
            Route(page_proxy.ROOT, page_files.respond),
            PrefixRoute(
                page_proxy.PREFIX, request_response(page_files.respond), methods=("GET", "HEAD")
            ),
            Route("/healthz", health.healthz),
            Route("/readyz", health.readyz),
            openapi.route(),
            *apis.routes(state, records),
            *pages.routes(state, health.states, records),
        ],
        exception_handlers={
            404: _plain_error,
            405: _plain_error,
            OperationalError: _database_unavailable,
            Exception: _internal_error,
        },
        lifespan=lifespan,
    )
    named = ScratchTenantMiddleware(served, scratch)
    return AccessLog(HostOriginMiddleware(named, config), AccessRecord, write_record)


async def _plain_error(request: Request, error: Exception) -> Response:
    """404 and 405; a page may answer its own."""
    status: int = getattr(error, "status_code", 404)
    if status == 404 and (page := pages.not_found(request)):
        return page
    answer = json_response(
        status, {"error": "not_found" if status == 404 else "method_not_allowed"}
    )
    if allow := (getattr(error, "headers", None) or {}).get("Allow"):
        answer.headers["allow"] = allow
    return answer


async def _database_unavailable(request: Request, error: Exception) -> Response:
    problem = Problem(
        "gateway-database-down",
        f"cannot ask the database: {type(error).__name__}",
        "see algaenv status; algaenv up starts the database and makes its tables",
    )
    return problem_response(request.scope, 503, {"error": "database_unavailable"}, problem)


async def _internal_error(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return json_response(500, {"error": "internal_error"})


class PrefixRoute(BaseRoute):
    """Routes every request whose path begins with `prefix` to `app`, or those of `methods`.

    The pattern of an ordinary route ends at a line feed, and `%0a` is one once it is matched.
    """

    def __init__(
        self, prefix: str, app: ASGIApp, *, methods: Collection[str] | None = None
    ) -> None:
        self.prefix = prefix
        self.methods = methods
        self._app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the path begins with the prefix."""
        below = scope["type"] == "http" and scope["path"].startswith(self.prefix)
        return (Match.FULL if below else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer. Raises HTTPException (405) for another method."""
        if self.methods is not None and scope["method"] not in self.methods:
            raise HTTPException(405, headers={"Allow": ", ".join(self.methods)})
        await self._app(scope, receive, send)


UNCHECKED_PATHS = ("/api/internal/", "/api/installs/", "/healthz", "/readyz")
"""Routes that need a token, or return nothing worth stealing."""

_CHECKED_HEADERS = frozenset((b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode"))
_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))


class HostOriginMiddleware:
    """Wraps an application; refuses requests of other sites' pages, since there is no log-in.

    A browser may be led here by any page it shows. Its Host header then names that page's server
    (when DNS was bent towards this machine), or its Origin does. Runners use whatever name their
    network gives this service, but send a token; their requests are not checked here.
    """

    def __init__(self, app: ASGIApp, config: GatewayConfig) -> None:
        self._app = app
        self._allowed = config.allowed_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as an ASGI application."""
        if scope["type"] == "http" and not scope["path"].startswith(UNCHECKED_PATHS):
            problem = self._problem(scope)
            if problem is not None:
                error = problem.code.removeprefix("gateway-").replace("-", "_")
                await problem_response(scope, 403, {"error": error}, problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        headers = _header_values(scope)
        host = headers.get("host", "")
        if not is_loopback(host):
            return Problem(
                "gateway-host-refused",
                f"cannot answer for the host {host[:100]!r}",
                "use localhost or 127.0.0.1, and forward a port to reach it from elsewhere",
            )
        origin = headers.get("origin")
        cross_site = headers.get("sec-fetch-site") == "cross-site" and (
            headers.get("sec-fetch-mode") != "navigate" or scope["path"].startswith("/api/")
        )
        if cross_site or (origin is not None and not self._origin_allowed(scope, origin, host)):
            return Problem(
                "gateway-origin-refused",
                f"cannot take calls from a page of {(origin or 'another site')[:100]!r}",
                "call from a page of this service, or list the origin in EXT_PROXY_ALLOWED_ORIGINS",
            )
        return None

    def _origin_allowed(self, scope: Scope, origin: str, host: str) -> bool:
        if origin == f"http://{host}" or origin in self._allowed:
            return True
        try:
            netloc = urlsplit(origin).netloc
        except ValueError:
            return False
        if not is_loopback(netloc):
            return False
        # Any page may call the direct gateway of the product; here, any of this machine.
        return scope["path"].startswith(DIRECT_PREFIX) or scope["method"] in _SAFE_METHODS


def _header_values(scope: Scope) -> dict[str, str]:
    """The headers that count, by name; of one that comes twice, all values, so that neither is
    overlooked."""
    found: dict[str, list[str]] = {}
    for key, value in scope["headers"]:
        if key in _CHECKED_HEADERS:
            found.setdefault(key.decode("latin-1"), []).append(value.decode("latin-1"))
    return {name: ", ".join(values) for name, values in found.items()}


ANSWER_SECONDS = 3.0

_OK = 200


class HealthEndpoints:
    """Asks the database, the runner and Redis, all at once."""

    def __init__(self, state: AppState, outbound: OutboundClient, redis: RedisClient) -> None:
        self._state = state
        self._outbound = outbound
        self._redis = redis

    async def healthz(self, request: Request) -> Response:  # noqa: ARG002
        """200 as long as the process can say so."""
        return json_response(200, {"status": "ok", "version": __version__})

    async def readyz(self, request: Request) -> Response:  # noqa: ARG002
        """200 when all answer, else 503; the state of each is `ok`, `off` or an error."""
        states = await self.states()
        ready = all(state in {"ok", "off"} for state in states.values())
        return json_response(200 if ready else 503, {"ready": ready, **states})

    async def states(self) -> dict[str, str]:
        """The state of each: `ok`, `off`, or the kind of the error, within ANSWER_SECONDS."""
        checks = {"database": self._database, "runner": self._runner, "redis": self._stream}
        states = await asyncio.gather(*map(_checked, checks.values()))
        return dict(zip(checks, states, strict=True))

    async def _database(self) -> str:
        async with acquire(self._state.pool, ANSWER_SECONDS / 2) as connection:
            await connection.execute("SELECT 1 FROM tenant_extension_install LIMIT 1")
        return "ok"

    async def _runner(self) -> str:
        client = await self._outbound.client()
        answer = await client.get(f"{self._state.config.runner_url}/healthz")
        return "ok" if answer.status_code == _OK else f"status {answer.status_code}"

    async def _stream(self) -> str:
        if not self._redis.configured:
            return "off"
        await self._redis.client().ping()
        return "ok"


async def _checked(check: Callable[[], Awaitable[str]]) -> str:
    try:
        with anyio.fail_after(ANSWER_SECONDS):
            return await check()
    except Exception as error:
        # Only the kind: words of these libraries may repeat a password.
        return type(error).__name__


BACKLOG = 2048
DRAIN_SECONDS = 5
"""How long calls under way may still take after SIGTERM."""
KEEP_ALIVE_SECONDS = 75

_log = logging.getLogger("algaenv.gateway")


class ListenError(Exception):
    """The address cannot be bound; the text is one line."""


def serve(config: GatewayConfig, env: Mapping[str, str]) -> None:
    """Serve until SIGTERM or SIGINT, then let calls under way end. Raises ListenError.

    `LOG_FORMAT` is `json` or `text`; unset, a terminal gets text.
    """
    # The server passes signals on to these once calls under way have ended.
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGINT, _exit)
    listening = _listen(config.host, config.port)
    wanted = env.get("LOG_FORMAT", "").strip().lower()
    text = wanted == "text" or (wanted != "json" and sys.stdout.isatty())
    configure_logging(config.log_level, TextFormatter() if text else None)
    events = EventBus()
    server_config = Config(
        create_app(config, events),
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
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    host, port = listening.getsockname()[:2]
    fields = {
        "version": __version__,
        "pid": os.getpid(),
        "host": host,
        "port": port,
        "runner": config.runner_url,
        "tenant": config.tenant,
        "rate_limit": config.settings.rate_limit,
        "faults_fixed": sorted(config.settings.faults_fixed),
    }
    _log.info("listening", extra={"fields": fields})
    _log.info("answers differ on purpose", extra={"fields": {"differences": list(DIFFERENCES)}})
    try:
        _Server(server_config, events).run(sockets=[listening])
    finally:
        _log.info("stopped")


class _Server(Server):
    """Ends subscriptions before it waits for open requests to end."""

    def __init__(self, server_config: Config, events: EventBus) -> None:
        super().__init__(server_config)
        self._events = events

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._events.close()
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ListenError(f"cannot listen on {host}:{port}: {reason}") from None
    return listening


def _exit(signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise SystemExit(0)
