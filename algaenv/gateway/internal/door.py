"""The way into the APIs that runners call: token, body, answer, and a word about it on the feed."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from algaenv.gateway.body_limit import BodyTooSlow, in_time, too_slow
from algaenv.gateway.feed import Feed
from algaenv.gateway.internal import jsontext, token
from algaenv.gateway.internal.refusal import Invalid, Refused

_log = logging.getLogger(__name__)

_LONGEST_TOLD = 300
_DOWN = {"error": "Database unavailable", "code": "INTERNAL_ERROR"}


@dataclass(frozen=True, slots=True)
class Said:
    """An answer: JSON, with headers where a fault of the product has shown."""

    status: int
    content: object
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Call:
    """One call. Whoever answers it fills in what it learns, for the feed."""

    install_id: str
    body: Any
    extension: str | None = None
    """Registry id, once it is known."""
    about: str | None = None
    """What is asked for, in a few words: a key, a schedule."""

    @property
    def operation(self) -> object:
        """As the body names it; unchecked."""
        return self.body.get("operation") if isinstance(self.body, dict) else None


class Api(Protocol):
    """One of the internal APIs."""

    name: str
    """As its path spells it after `ext-`."""

    async def answer(self, call: Call) -> Said:
        """Answer. Raises Refused, Invalid, and anything else for a failure of our own."""

    def refusal(self, error: Refused | Invalid) -> Said:
        """Say it in this API's shape."""


def door(api: Api, expected: str, feed: Feed) -> Route:
    """The route of an API: POST with the token in `x-runner-auth`."""

    import psycopg

    async def enter(request: Request) -> Response:
        started = time.perf_counter()
        call = Call(request.path_params["install_id"], None)
        why: str | None = None
        try:
            if not token.shown(request.headers.get(token.RUNNER_HEADER), expected):
                raise Refused("UNAUTHORIZED", "The runner token is not the right one")
            call.body = jsontext.read(await in_time(request.body()))
            said = await api.answer(call)
        except (Refused, Invalid) as error:
            said = api.refusal(error)
            why = str(error)
        except BodyTooSlow:
            return too_slow()
        except psycopg.OperationalError as error:
            said = Said(503, _DOWN, database_down(error))
            why = f"{type(error).__name__}: {error}"
        except Exception as error:
            _log.exception("internal API failed", extra={"fields": {"api": api.name}})
            said = Said(500, {"error": "Internal error", "code": "INTERNAL_ERROR"})
            why = f"{type(error).__name__}: {error}"
        feed.say(_event(api, call, said, why, time.perf_counter() - started))
        return answer(said)

    return Route(f"/api/internal/ext-{api.name}/install/{{install_id}}", enter, methods=["POST"])


def database_down(error: Exception) -> dict[str, str]:
    """Headers that say so; the words of the library may repeat a host, and never a password."""
    summary = f"gateway-database-down: cannot ask the database: {type(error).__name__}"
    return {"x-algaenv-error": summary, "x-algaenv-hint": "see algaenv status"}


def answer(said: Said) -> Response:
    """As HTTP."""
    return Response(
        jsontext.write(said.content), said.status, said.headers, media_type="application/json"
    )


def _event(api: Api, call: Call, said: Said, why: str | None, seconds: float) -> dict[str, object]:
    event: dict[str, object] = {
        "type": "host-call",
        "extension": call.extension,
        "install": call.install_id,
        "api": api.name,
        "operation": call.operation if isinstance(call.operation, str) else None,
        "about": call.about,
        "status": said.status,
        "ms": round(seconds * 1000, 2),
    }
    if why is not None:
        event["error"] = why[:_LONGEST_TOLD]
    return event
