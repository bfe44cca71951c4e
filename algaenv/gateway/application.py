"""The service put together: routes, what they need, and its beginning and end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, request_response
from starlette.types import ASGIApp

from algaenv.gateway import internal, openapi, pages
from algaenv.gateway.answers import document, refusal
from algaenv.gateway.audit import Audit
from algaenv.gateway.below import Below
from algaenv.gateway.debug_stream import DebugStream
from algaenv.gateway.direct import direct
from algaenv.gateway.environment import Environment
from algaenv.gateway.faults import Faults
from algaenv.gateway.feed import Feed
from algaenv.gateway.guard import Guard
from algaenv.gateway.health import Health
from algaenv.gateway.house import Chore, House
from algaenv.gateway.installs import Installs
from algaenv.gateway.journal import Journal
from algaenv.gateway.limit import Limit
from algaenv.gateway.outbound import Outbound
from algaenv.gateway.passage import Passage
from algaenv.gateway.pool import make
from algaenv.gateway.problem import Problem
from algaenv.gateway.proxy import proxy
from algaenv.gateway.redis_link import RedisLink
from algaenv.gateway.relay import Relay
from algaenv.gateway.runner_proxy import RunnerProxy
from algaenv.gateway.sse import FeedStream
from algaenv.gateway.users import Users
from algaenv.serving.chores import restarted


def build(environment: Environment, feed: Feed | None = None) -> ASGIApp:
    """The ASGI application for these settings; opens no connection yet.

    A feed that is handed in can be ended from outside, which lets go of everybody who watches.
    """
    from psycopg import OperationalError

    feed = feed or Feed()
    outbound = Outbound()
    pool = make(environment.database_url)
    settings, stream = environment.settings, environment.debug_stream
    redis = RedisLink(stream.url if stream else None)
    house = House(
        environment=environment,
        pool=pool,
        installs=Installs(
            pool, environment.tenant, narrow="capabilities-union" in settings.faults_fixed
        ),
        users=Users(settings.users),
        relay=Relay(environment.runner_url, environment.service_token, environment.inbound_token),
        audit=Audit(pool),
        feed=feed,
        faults=Faults(settings.faults_fixed, feed),
        settings=settings,
    )
    limit = Limit(settings.rate_limit, redis)
    health = Health(house, outbound, redis)
    chores: list[Chore] = [*internal.chores(house)]
    manners = (direct(cacheable=house.faults.reproduces("direct-cacheable")), proxy())
    runner = RunnerProxy(outbound, environment.runner_url, environment.timeout_ms, feed)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        outbound.begin()
        await pool.open(wait=False)
        working = [asyncio.ensure_future(restarted(chore)) for chore in chores]
        try:
            yield
        finally:
            feed.end()
            for work in working:
                work.cancel()
            await asyncio.gather(*working, return_exceptions=True)
            house.relay.close()
            await outbound.aclose()
            await redis.aclose()
            await house.audit.aclose()
            await pool.close()

    served = Starlette(
        routes=[
            *(Below(manner.prefix, Passage(house, limit, manner)) for manner in manners),
            Route("/api/ext-debug/stream", DebugStream(house, redis).answer),
            Route("/algaenv/events", FeedStream(feed).answer),
            Below("/runner/", request_response(runner.answer), methods=("GET", "HEAD")),
            Route("/healthz", health.healthz),
            Route("/readyz", health.readyz),
            openapi.route(),
            *internal.routes(house),
            *pages.routes(house),
        ],
        exception_handlers={
            404: _bare,
            405: _bare,
            OperationalError: _database_down,
            Exception: _broken,
        },
        lifespan=lifespan,
    )
    return Journal(Guard(served, environment))


async def _bare(request: Request, error: Exception) -> Response:
    """404 and 405; a page may answer its own."""
    status: int = getattr(error, "status_code", 404)
    answer = document(status, {"error": "not_found" if status == 404 else "method_not_allowed"})
    if allow := (getattr(error, "headers", None) or {}).get("Allow"):
        answer.headers["allow"] = allow
    _ = request
    return answer


async def _database_down(request: Request, error: Exception) -> Response:
    problem = Problem(
        "gateway-database-down",
        f"cannot ask the database: {type(error).__name__}",
        "see algaenv status; algaenv up starts the database and makes its tables",
    )
    return refusal(request.scope, 503, {"error": "database_unavailable"}, problem)


async def _broken(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return document(500, {"error": "internal_error"})
