"""What the internal APIs share: JSON, tokens, errors, and the route that calls an API.

Sizes, numbers and timestamps are JavaScript's, because the product is written in it.
"""

from __future__ import annotations

import hmac
import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from algaenv.gateway.events import EventBus
from algaenv.serving.request_limits import BodyTooSlow, body_timeout_response, read_body

if TYPE_CHECKING:
    from pydantic import BaseModel


_EXACT_DIGITS = 15
"""So many digits are the same number in a double."""
_LARGEST_PLAIN = 1e21
"""From here on JavaScript writes integers with an exponent."""


def parse_json(text: bytes) -> Any:
    """The value; every number is the nearest double, integral ones are ints. Raises ValueError."""
    return json.loads(
        text.decode(), parse_int=_integer, parse_float=_number, parse_constant=_refuse
    )


def dump_json(value: object) -> bytes:
    """Compact UTF-8. Raises UnicodeEncodeError for half a surrogate pair."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def utf16_length(text: str) -> int:
    """The length that JavaScript sees: UTF-16 code units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _integer(text: str) -> int | float | None:
    return int(text) if len(text) <= _EXACT_DIGITS else _number(text)


def _number(text: str) -> int | float | None:
    value = float(text)
    if math.isinf(value):
        return None
    return int(value) if value.is_integer() and abs(value) < _LARGEST_PLAIN else value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def iso_timestamp(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds and `Z`; None stays None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


RUNNER_AUTH_HEADER = "x-runner-auth"
API_KEY_HEADER = "x-api-key"


def first_token(candidates: Sequence[str]) -> str:
    """The first of these that is not blank; it alone counts. Empty when all are."""
    return next((it for it in candidates if it.strip()), "")


def token_matches(given: str | None, expected: str) -> bool:
    """Whether the caller sent the secret; always False for one that is not set."""
    if not given or not expected:
        return False
    return hmac.compare_digest(given.encode("latin-1", "replace"), expected.encode())


M = TypeVar("M", bound="BaseModel")

STATUS_BY_CODE = {
    "INVALID_INPUT": 400,
    "LIMIT_EXCEEDED": 400,
    "VALIDATION_FAILED": 400,
    "UNAUTHORIZED": 401,
    "NOT_ALLOWED": 403,
    "NOT_FOUND": 404,
    "REVISION_MISMATCH": 409,
    "QUOTA_EXCEEDED": 429,
    "RATE_LIMITED": 429,
}
"""The codes of the internal APIs and their HTTP statuses."""


class ApiError(Exception):
    """A code of `STATUS_BY_CODE`, a message, and details where the product has some."""

    def __init__(
        self,
        code: str,
        message: str,
        details: object = None,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        self.headers = headers
        """Of faults of the product that have to do with it."""

    @property
    def status(self) -> int:
        """Of HTTP."""
        return STATUS_BY_CODE[self.code]


class InvalidBody(Exception):
    """The body does not have the shape of a call; `details` is `{formErrors, fieldErrors}`."""

    def __init__(self, details: Mapping[str, Any]) -> None:
        super().__init__("the body does not have the shape of a call")
        self.details = details


def parse_body(model: type[M], body: object) -> M:
    """The body as this model, without unknown fields. Raises InvalidBody with all errors."""
    from pydantic import ValidationError

    try:
        return model.model_validate(body)
    except ValidationError as error:
        form: list[str] = []
        fields: dict[str, list[str]] = {}
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            place = detail["loc"]
            messages = fields.setdefault(str(place[0]), []) if place else form
            messages.append(detail["msg"])
        raise InvalidBody({"formErrors": form, "fieldErrors": fields}) from None


_log = logging.getLogger(__name__)

_MAX_REASON = 300
_DATABASE_DOWN = {"error": "Database unavailable", "code": "INTERNAL_ERROR"}


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """A JSON response, with headers where a fault of the product has shown."""

    status: int
    content: object
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class ApiCall:
    """One call. The API that handles it fills in what it learns, for the event bus."""

    install_id: str
    body: Any
    extension: str | None = None
    """Registry id, once it is known."""
    subject: str | None = None
    """What the call is about, in a few words: a key, a schedule."""

    @property
    def operation(self) -> object:
        """As the body names it; unchecked."""
        return self.body.get("operation") if isinstance(self.body, dict) else None


class Api(Protocol):
    """One of the internal APIs."""

    name: str
    """As its path spells it after `ext-`."""

    async def handle(self, call: ApiCall) -> ApiResponse:
        """Handle a call. Raises ApiError, InvalidBody, and anything else for a bug of ours."""

    def refusal(self, error: ApiError | InvalidBody) -> ApiResponse:
        """The response for an error, in this API's shape."""


def api_route(api: Api, expected: str, events: EventBus) -> Route:
    """The route of an API: POST with the token in `x-runner-auth`."""

    import psycopg

    async def handle(request: Request) -> Response:
        started = time.perf_counter()
        call = ApiCall(request.path_params["install_id"], None)
        reason: str | None = None
        try:
            if not token_matches(request.headers.get(RUNNER_AUTH_HEADER), expected):
                raise ApiError("UNAUTHORIZED", "The runner token is not the right one")
            call.body = parse_json(await read_body(request))
            response = await api.handle(call)
        except (ApiError, InvalidBody) as error:
            response = api.refusal(error)
            reason = str(error)
        except BodyTooSlow:
            return body_timeout_response()
        except psycopg.OperationalError as error:
            response = ApiResponse(503, _DATABASE_DOWN, database_down_headers(error))
            reason = f"{type(error).__name__}: {error}"
        except Exception as error:
            _log.exception("internal API failed", extra={"fields": {"api": api.name}})
            response = ApiResponse(500, {"error": "Internal error", "code": "INTERNAL_ERROR"})
            reason = f"{type(error).__name__}: {error}"
        events.publish(_event(api, call, response, reason, time.perf_counter() - started))
        return to_http(response)

    return Route(f"/api/internal/ext-{api.name}/install/{{install_id}}", handle, methods=["POST"])


def database_down_headers(error: Exception) -> dict[str, str]:
    """Headers that name the problem; only the type of the error, since its text may be secret."""
    summary = f"gateway-database-down: cannot ask the database: {type(error).__name__}"
    return {"x-algaenv-error": summary, "x-algaenv-hint": "see algaenv status"}


def to_http(response: ApiResponse) -> Response:
    """The HTTP response."""
    return Response(
        dump_json(response.content),
        response.status,
        response.headers,
        media_type="application/json",
    )


def _event(
    api: Api, call: ApiCall, response: ApiResponse, reason: str | None, seconds: float
) -> dict[str, object]:
    event: dict[str, object] = {
        "type": "host-call",
        "extension": call.extension,
        "install": call.install_id,
        "api": api.name,
        "operation": call.operation if isinstance(call.operation, str) else None,
        "about": call.subject,
        "status": response.status,
        "ms": round(seconds * 1000, 2),
    }
    if reason is not None:
        event["error"] = reason[:_MAX_REASON]
    return event
