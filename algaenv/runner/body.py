"""Reading a JSON request the way Alga's runner does: limits, types and words of its refusals."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from starlette.requests import Request

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

    M = TypeVar("M", bound=BaseModel)

MOST_BYTES = 2 * 1024 * 1024
BODY_SECONDS = 60.0
"""For the whole body to arrive."""


class Refusal(Exception):
    """The request cannot be read: an HTTP status and a sentence."""

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(message)


async def read_json(request: Request) -> bytes:
    """The bytes of a body that says it is JSON. Raises Refusal (415, 413, 408)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    main, _, sub = kind.partition("/")
    if main != "application" or not (sub == "json" or sub.endswith("+json")):
        raise Refusal(415, "Expected request with `Content-Type: application/json`")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise Refusal(413, "Failed to buffer the request body: length limit exceeded")
    except TimeoutError:
        raise Refusal(408, f"The request body did not arrive within {BODY_SECONDS:g} s") from None
    return bytes(body)


def parse(shape: type[M], body: bytes) -> M:
    """Read a document of this shape. Raises Refusal (400 for bad JSON, 422 for a bad shape)."""
    from pydantic import ValidationError

    try:
        return shape.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> Refusal:
    """Words without the document's own values: these may be secrets."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return Refusal(400, f"Failed to parse the request body as JSON: {first['msg']}")
    place = ".".join(map(str, first["loc"])) or "."
    return Refusal(
        422,
        f"Failed to deserialize the JSON body into the target type: {place}: {first['msg']}",
    )
