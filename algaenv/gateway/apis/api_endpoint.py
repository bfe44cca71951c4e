"""What the internal APIs share: bodies, tokens, errors, and the route that calls an API.

What is wrong with a body is said in the words of zod, with which the product checks it: handlers
get to read them.
"""

from __future__ import annotations

import hmac
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import AfterValidator, WrapValidator
from pydantic_core import PydanticCustomError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from algaenv.gateway.events import EventBus
from algaenv.gateway.javascript import (
    dump_json,
    number_text,
    parse_json,
    utf16_length,
    well_formed,
)
from algaenv.serving.request_limits import (
    BodyTooLarge,
    BodyTooSlow,
    body_timeout_response,
    read_body,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

    from algaenv.gateway.installs import Install, Installs


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


class InvalidJson(Exception):
    """The body is no JSON."""


class InvalidBody(Exception):
    """The body does not have the shape of a call; `details` is `{formErrors, fieldErrors}`."""

    def __init__(self, details: Mapping[str, Any]) -> None:
        super().__init__("the body does not have the shape of a call")
        self.details = details


Refusal = ApiError | InvalidBody | InvalidJson
"""What an API answers in its own shape."""


def parse_body(model: type[M], body: object) -> M:
    """The body as this model, without unknown fields. Raises InvalidBody with all errors."""
    from pydantic import ValidationError

    try:
        return model.model_validate(body)
    except ValidationError as error:
        form: list[str] = []
        fields: dict[str, list[str]] = {}
        for detail in error.errors(include_url=False):
            place = detail["loc"]
            messages = fields.setdefault(str(place[0]), []) if place else form
            messages += _messages(detail["type"], detail.get("ctx", {}), detail["input"])
        raise InvalidBody({"formErrors": form, "fieldErrors": fields}) from None


def length(at_least: int, at_most: int) -> AfterValidator:
    """Checks a text: so many UTF-16 code units."""

    def check(text: str) -> str:
        if utf16_length(text) < at_least:
            raise PydanticCustomError("string_too_short", "too short", {"min_length": at_least})
        if utf16_length(text) > at_most:
            raise PydanticCustomError("string_too_long", "too long", {"max_length": at_most})
        return text

    return AfterValidator(check)


def whole(**limits: int) -> WrapValidator:
    """Checks a number that is not an `int`: all that is wrong with it is said at once.

    `limits` are those of the field, by their names `gt`, `ge` and `le`.
    """

    def check(value: object, handler: Callable[[object], int]) -> int:
        if not isinstance(value, float):
            return handler(value)
        wrong = [] if value.is_integer() else ["Expected integer, received float"]
        wrong += [
            _number_message(name, limit)
            for name, limit in limits.items()
            if not _WITHIN[name](value, limit)
        ]
        if wrong:
            raise PydanticCustomError("several", "not a number of this field", {"messages": wrong})
        return int(value)

    return WrapValidator(check)


_WITHIN: Mapping[str, Callable[[float, float], bool]] = {
    "gt": lambda value, limit: value > limit,
    "ge": lambda value, limit: value >= limit,
    "le": lambda value, limit: value <= limit,
}
_NUMBER_LIMITS = {
    "gt": "greater than",
    "ge": "greater than or equal to",
    "le": "less than or equal to",
}
_EXPECTED = {
    "bool_type": "boolean",
    "dict_type": "object",
    "int_type": "number",
    "list_type": "array",
    "model_type": "object",
    "string_type": "string",
}


def _messages(kind: str, context: Mapping[str, Any], value: object) -> list[str]:
    """What zod says of an error of pydantic's."""
    match kind:
        case "several":
            return list(context["messages"])
        case "missing":
            return ["Required"]
        case "literal_error":
            choice = " | ".join(re.findall("'[^']*'", context["expected"]))
            if isinstance(value, str):
                return [f"Invalid enum value. Expected {choice}, received '{value}'"]
            return [f"Expected {choice}, received {_type_name(value)}"]
        case "string_too_short":
            return [f"String must contain at least {context['min_length']} character(s)"]
        case "string_too_long":
            return [f"String must contain at most {context['max_length']} character(s)"]
        case "string_pattern_mismatch":
            return ["Invalid uuid"]
        case "too_short":
            return [f"Array must contain at least {context['min_length']} element(s)"]
        case "greater_than" | "greater_than_equal" | "less_than_equal":
            ((name, limit),) = context.items()
            return [_number_message(name, limit)]
        case _:
            return [f"Expected {_EXPECTED[kind]}, received {_type_name(value)}"]


def _number_message(limit: str, value: float) -> str:
    return f"Number must be {_NUMBER_LIMITS[limit]} {number_text(value)}"


def _type_name(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


_log = logging.getLogger(__name__)

_MAX_REASON = 300
MAX_BODY_BYTES = 64 << 20
"""A body is held in memory."""
_JSON_FIELDS = frozenset(("value", "metadata", "payload"))
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")
"""Half of a surrogate pair, as only an escape can spell it."""
_DATABASE_DOWN = {"error": "Database unavailable", "code": "INTERNAL_ERROR"}


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """A JSON response, with headers where a fault of the product has shown."""

    status: int
    content: object
    headers: Mapping[str, str] = field(default_factory=dict)


TOO_LARGE = ApiResponse(413, {"error": "payload_too_large"}, {"connection": "close"})
"""To a body above MAX_BODY_BYTES, of which the rest is not read."""


@dataclass(slots=True)
class ApiCall:
    """One call. The API that handles it fills in what it learns, for the event bus."""

    install_id: str
    body: Any
    extension: str | None = None
    """Registry id, once it is known."""
    subject: str | None = None
    """What the call is about, in a few words: a key, a schedule."""
    request_id: str | None = None
    """Of the call of a handler that asks; only our runner tells."""

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

    def refusal(self, error: Refusal) -> ApiResponse:
        """The response for an error, in this API's shape."""


def api_route(api: Api, expected: str, events: EventBus) -> Route:
    """The route of an API: POST with the token in `x-runner-auth`."""

    import psycopg

    async def handle(request: Request) -> Response:
        started = time.perf_counter()
        call = ApiCall(request.path_params["install_id"], None)
        call.request_id = request.headers.get("x-algaenv-request-id")
        reason: str | None = None
        try:
            if not token_matches(request.headers.get(RUNNER_AUTH_HEADER), expected):
                raise ApiError("UNAUTHORIZED", "Invalid runner token")
            call.body = _read_json(await read_body(request, MAX_BODY_BYTES))
            response = await api.handle(call)
        except (ApiError, InvalidBody, InvalidJson) as error:
            response = api.refusal(error)
            reason = str(error)
        except BodyTooSlow:
            return body_timeout_response()
        except BodyTooLarge:
            response = TOO_LARGE
            reason = f"a body of more than {MAX_BODY_BYTES >> 20} MiB"
        except psycopg.OperationalError as error:
            response = ApiResponse(503, _DATABASE_DOWN, database_down_headers(error))
            reason = f"{type(error).__name__}: {error}"
        except psycopg.DataError as error:
            # Such as an install id that is no UUID: the product hands it to the database as well.
            response = internal_error()
            reason = f"{type(error).__name__}: {error}"
        except Exception as error:
            _log.exception("internal API failed", extra={"fields": {"api": api.name}})
            response = internal_error()
            reason = f"{type(error).__name__}: {error}"
        events.publish(_event(api, call, response, reason, time.perf_counter() - started))
        return to_http(response)

    return Route(f"/api/internal/ext-{api.name}/install/{{install_id}}", handle, methods=["POST"])


def _read_json(content: bytes) -> Any:
    try:
        body = parse_json(content)
        return _storable(body) if _HALF_PAIR.search(content) else body
    except (ValueError, RecursionError):
        raise InvalidJson("the body is no JSON") from None


def _storable(value: Any, name: str = "") -> Any:
    """With texts that are UTF-8, as columns of text keep them; JSON is kept as it is."""
    if name in _JSON_FIELDS:
        return value
    match value:
        case str():
            return well_formed(value)
        case list():
            return [_storable(each) for each in value]
        case dict():
            return {well_formed(key): _storable(each, key) for key, each in value.items()}
        case _:
            return value


def internal_error(headers: Mapping[str, str] = MappingProxyType({})) -> ApiResponse:
    """What the product answers when something in it fails."""
    return ApiResponse(500, {"error": "Internal error", "code": "INTERNAL_ERROR"}, headers)


async def installed(installs: Installs, call: ApiCall) -> Install | None:
    """The install of a call, which then knows the extension; None if it may not be called.

    Raises psycopg.DataError for an id that is no UUID.
    """
    install = await installs.get(call.install_id)
    if install is None or not install.available:
        return None
    call.extension = install.registry_id
    return install


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
    if call.request_id is not None:
        event["request_id"] = call.request_id
    if reason is not None:
        event["error"] = reason[:_MAX_REASON]
    return event
