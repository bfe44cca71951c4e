"""`/algaenv/dev`: what `algaenv dev` reports about each extension, for the pages.

`dev` posts a message for each turn, with the token of the internal APIs, and heartbeats in between.
The last turn of each extension is kept in memory. Every turn is an event `dev-turn` that has also
`replaces`, the digest of the turn that was applied before it, where one is known. The turns are
cleared, with the event `dev-ended`, when `dev` ends or is not heard of for EXPIRY_SECONDS.

Pages read here what events cannot tell them: the digests that the rows name now, and turns from
before the page was opened or from while it was not connected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from algaenv.bundle.layout import UUID_PATTERN
from algaenv.gateway.apis.api_endpoint import first_token, token_matches
from algaenv.gateway.javascript import parse_json
from algaenv.gateway.responses import json_response
from algaenv.serving.request_limits import (
    BodyTooLarge,
    BodyTooSlow,
    body_timeout_response,
    read_body,
)

if TYPE_CHECKING:
    from algaenv.gateway.events import EventBus
    from algaenv.gateway.state import AppState

PATH = "/algaenv/dev"
EXPIRY_SECONDS = 60.0
"""After so long without a message from `dev` its turns are cleared."""
MAX_BODY_BYTES = 64 * 1024
MAX_EXTENSIONS = 256
"""Extensions whose turn is kept; the one that was heard of longest ago makes room."""

_MAX_ERRORS = 5
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class DevProblem(_Body):
    """What went wrong in a turn. `where` is `file:line:column` in the author's own path."""

    code: str
    summary: str
    hint: str = ""
    where: str | None = None
    detail: list[str] = []


class DevTurn(_Body):
    """The state of an extension (registry id).

    `changed` are paths in the extension's source; null means unknown. `seconds` is the time of the
    whole turn, and `stages` has the parts of it in milliseconds.
    """

    type: Literal["dev-turn"]
    extension: Annotated[str, Field(pattern=f"^{UUID_PATTERN}$")]
    state: Literal["building", "failed", "applied", "idle"]
    runs_from: Literal["component", "source"] = "component"
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    changed: list[str] | None = None
    problems: list[DevProblem] = []
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    stages: dict[str, Milliseconds] | None = None


class DevAlive(_Body):
    """A heartbeat."""

    type: Literal["dev-alive"]


class DevEnded(_Body):
    """`dev` ends."""

    type: Literal["dev-ended"]


_MESSAGES: TypeAdapter[DevTurn | DevAlive | DevEnded] = TypeAdapter(
    Annotated[DevTurn | DevAlive | DevEnded, Field(discriminator="type")]
)


def message_schemas() -> dict[str, Any]:
    """The JSON Schema of `DevMessage`, and of what it refers to, for the OpenAPI document."""
    schema = _MESSAGES.json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), "DevMessage": schema}


class DevTurns:
    """The last turn of each extension, while `dev` is heard of. For one event loop."""

    def __init__(self, events: EventBus) -> None:
        self._events = events
        self._turns: dict[str, DevTurn] = {}
        self._digests: dict[str, str] = {}
        """Of the turn that was applied last."""
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def by_extension(self) -> Mapping[str, DevTurn]:
        """Registry id → the last turn."""
        return self._turns

    def receive(self, message: DevTurn | DevAlive | DevEnded) -> None:
        """Keep and publish what a message says."""
        self.close()
        match message:
            case DevTurn():
                self._keep(message)
            case DevEnded():
                self._clear("it ended")
                return
        self._expiry = asyncio.get_running_loop().call_later(
            EXPIRY_SECONDS, self._clear, f"no message for {EXPIRY_SECONDS:g} s"
        )

    def close(self) -> None:
        """Expire no more."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def _keep(self, turn: DevTurn) -> None:
        id_ = turn.extension
        self._turns.pop(id_, None)
        self._turns[id_] = turn
        event = {**turn.model_dump(), "replaces": self._digests.get(id_)}
        if turn.state == "applied" and turn.digest:
            self._digests[id_] = turn.digest
        while len(self._turns) > MAX_EXTENSIONS:
            oldest = next(iter(self._turns))
            del self._turns[oldest]
            self._digests.pop(oldest, None)
        self._events.publish(event)

    def _clear(self, reason: str) -> None:
        self._expiry = None
        if self._turns:
            self._turns.clear()
            self._digests.clear()
            self._events.publish({"type": "dev-ended", "reason": reason})


class DevEndpoint:
    """Answers `dev`, which posts, and pages, which read."""

    def __init__(self, state: AppState) -> None:
        self._state = state
        self._token = first_token((state.config.storage_token, state.config.service_token))

    async def respond(self, request: Request) -> Response:
        """The answer to a POST, or to a GET."""
        return await (self._post(request) if request.method == "POST" else self._get(request))

    async def _get(self, request: Request) -> Response:
        """The last turns, the event after which they are so, and registry id → digest of the
        installed bundle, which is read later; null without a database."""
        from psycopg import OperationalError

        wanted = request.query_params.get("extension")
        last = self._state.events.last_id
        turns = [
            it.model_dump()
            for it in self._state.dev.by_extension.values()
            if wanted in {None, it.extension}
        ]
        try:
            installed = await self._state.installs.all()
        except OperationalError:
            digests = None
        else:
            digests = {
                it.registry_id: it.digest.hex if it.digest else None
                for it in installed
                if wanted in {None, it.registry_id}
            }
        return json_response(200, {"last": last, "digests": digests, "turns": turns})

    async def _post(self, request: Request) -> Response:
        """The extensions whose turn is known, or 400, 401, 403, 408 and 413."""
        if not self._token:
            return _refusal(403, "dev_disabled", "the gateway was started without a token")
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token_matches(given.strip(), self._token):
            reason = "the token of the internal APIs is needed, as Authorization: Bearer …"
            answer = _refusal(401, "unauthorized", reason)
            answer.headers["www-authenticate"] = "Bearer"
            return answer
        try:
            body = await read_body(request, MAX_BODY_BYTES)
        except BodyTooLarge:
            answer = _refusal(413, "payload_too_large", f"more than {MAX_BODY_BYTES} bytes")
            answer.headers["connection"] = "close"
            return answer
        except BodyTooSlow:
            return body_timeout_response()
        try:
            message = _MESSAGES.validate_python(parse_json(body))
        except ValidationError as error:
            return _refusal(400, "invalid_body", _reason(error))
        except (ValueError, RecursionError):
            return _refusal(400, "invalid_body", "it is no JSON")
        self._state.dev.receive(message)
        return json_response(200, {"extensions": list(self._state.dev.by_extension)})


def _refusal(status: int, error: str, reason: str) -> Response:
    return json_response(status, {"error": error, "reason": reason})


def _reason(error: ValidationError) -> str:
    """`problems.0.summary: Field required; …`"""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    places = (".".join(map(str, it["loc"])) or "body" for it in found)
    told = [f"{place}: {it['msg']}" for place, it in zip(places, found, strict=True)]
    more = len(told) - _MAX_ERRORS
    return "; ".join(told[:_MAX_ERRORS]) + (f"; and {more} more" if more > 0 else "")
