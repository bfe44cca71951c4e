"""The internal APIs of the application server: one request format, a mapping of statuses each.

`POST {base}/api/internal/{api}/install/{install id}` with a JSON object that names its operation.

JSON and base64 are read strictly: no infinities, no lone surrogates, no trailing bits. What is
read here is handed to guests, whose strings cannot hold what JSON in Python can. A field may be
spelled `likeThis` or `like_this`; the first spelling counts when it is there at all, whatever its
value, as in Alga's runner.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import math
from collections.abc import Mapping
from functools import cache
from typing import NoReturn
from urllib.parse import quote

from algaenv.runner.execute.invocation import Invocation
from algaenv.runner.host.settings import HostSettings
from algaenv.runner.outbound import (
    InvalidHeader,
    NoResponse,
    Outbound,
    PeerRequest,
    header_pair,
    send_request,
)


def parse_json(text: str | bytes) -> object:
    """Read a JSON document. Raises ValueError, whose text does not quote the document."""
    try:
        if isinstance(text, bytes):
            text = text.decode()
        value = json.loads(text, parse_constant=_reject_constant, parse_float=_finite_float)
        if "\\u" in text:
            # An escape may stand for half a character.
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos}") from None
    except UnicodeError:
        raise ValueError("not Unicode") from None
    except RecursionError:
        raise ValueError("too deep") from None
    return value


def dump_json(value: object) -> str:
    """Write JSON without spaces. Raises ValueError when it is nested too deep."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise ValueError("too deep") from None


def encode_base64(content: bytes) -> str:
    """Padded standard base64."""
    return base64.b64encode(content).decode()


def decode_base64(text: str) -> bytes:
    """Read padded standard base64, in its one right spelling. Raises ValueError."""
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if encode_base64(content) != text:
        raise ValueError("bits left over")
    return content


def _reject_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number out of range")
    return value


Fields = Mapping[str, object]

_MAX_U64 = 2**64 - 1
_MAX_U32 = 2**32 - 1


class MalformedResponse(Exception):
    """A response lacks something, or has it in another shape."""


@cache
def camel_case(name: str) -> str:
    """`client_id` as `clientId`."""
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


def raw_field(fields: Fields, name: str) -> object:
    """The value under either spelling; None when there is none."""
    spelled = camel_case(name)
    return fields[spelled] if spelled in fields else fields.get(name)


def text_field(fields: Fields, name: str) -> str | None:
    """A string, or None for anything else."""
    value = raw_field(fields, name)
    return value if isinstance(value, str) else None


def required_text(fields: Fields, name: str) -> str:
    """A string. Raises MalformedResponse."""
    value = raw_field(fields, name)
    if not isinstance(value, str):
        raise MalformedResponse(name)
    return value


def enum_field(fields: Fields, name: str, values: frozenset[str]) -> str:
    """One of these strings. Raises MalformedResponse."""
    value = required_text(fields, name)
    if value not in values:
        raise MalformedResponse(name)
    return value


def bool_field(fields: Fields, name: str, *, default: bool) -> bool:
    """A boolean, or the default for anything else."""
    value = raw_field(fields, name)
    return value if isinstance(value, bool) else default


def as_number(value: object) -> float | None:
    """What JSON calls a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def as_unsigned(value: object) -> int | None:
    """A whole number that fits into 64 bits, written without a fraction."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= _MAX_U64 else None


def count_field(fields: Fields, name: str, *, default: int) -> int:
    """A number of at most 32 bits; larger ones lose what is above, as in Alga's runner."""
    value = as_unsigned(raw_field(fields, name))
    return default if value is None else value & _MAX_U32


def as_object(value: object) -> Fields:
    """A JSON object. Raises MalformedResponse."""
    if not isinstance(value, dict):
        raise MalformedResponse
    return value


def list_field(fields: Fields, name: str) -> list[object]:
    """An array, or an empty one for anything else."""
    value = raw_field(fields, name)
    return value if isinstance(value, list) else []


_log = logging.getLogger(__name__)

SECONDS = 30.0
"""For a whole question; the call's own deadline may come first."""
_MAX_LOGGED_CHARS = 300
"""Characters of a peer's response in a line of the log."""
_FIXED = (
    (b"accept", b"*/*"),
    (b"content-type", b"application/json"),
)


class HostCallError(Exception):
    """A host function cannot do what it was asked.

    `name` is the case of the interface's error, the text a sentence for those interfaces that
    pass one on, `body` what came with an HTTP status.
    """

    def __init__(self, name: str, text: str = "", *, body: bytes = b"") -> None:
        self.name, self.text, self.body = name, text, body
        super().__init__(name)


class InternalApi:
    """The API of one topic (`storage`). `names` gives statuses the names of errors; the others
    are `internal`."""

    def __init__(
        self,
        topic: str,
        names: Mapping[int, str],
        *,
        host_settings: HostSettings,
        outbound: Outbound,
    ) -> None:
        self._topic, self._names = topic, names
        self._prefix = (
            host_settings.internal and f"{host_settings.internal}/api/internal/ext-{topic}/install/"
        )
        self._token = host_settings.internal_token
        self._outbound = outbound

    def call(
        self,
        invocation: Invocation,
        operation: str,
        fields: Mapping[str, object],
        *,
        log_extra: Mapping[str, object] | None = None,
    ) -> object:
        """Ask about the installation of this invocation and return the JSON of the response.

        An empty response is None. `log_extra` is added to a line of the log.
        Raises HostCallError, and DeadlineExceeded when the time of the call is over.
        """
        log_fields: dict[str, object] = {"operation": operation, **(log_extra or {})}
        try:
            request = self._request(invocation, {"operation": operation, **fields})
            response = invocation.wait(send_request(self._outbound, request, seconds=SECONDS))
            if not response.complete and response.ok:
                raise NoResponse("cut short")
        except NoResponse as error:
            self._warn(invocation, log_fields | {"why": str(error)})
            raise HostCallError("internal", "transport failure") from None
        except HostCallError as error:
            self._warn(invocation, log_fields | {"why": error.text})
            raise
        if not response.ok:
            reply = response.body.decode(errors="replace")
            self._warn(
                invocation,
                log_fields | {"status": response.status, "body": reply[:_MAX_LOGGED_CHARS]},
            )
            name = self._names.get(response.status, "internal")
            raise HostCallError(name, f"http {response.status}: {reply}", body=response.body)
        if not response.body.strip():
            return None
        try:
            return parse_json(response.body)
        except ValueError as error:
            self._warn(invocation, log_fields | {"status": response.status, "why": str(error)})
            raise HostCallError("internal", "invalid JSON response") from None

    def _request(self, invocation: Invocation, fields: Mapping[str, object]) -> PeerRequest:
        install = invocation.install or ""
        if self._prefix is None:
            raise HostCallError("internal", f"{self._topic} base URL not configured")
        if self._token is None:
            raise HostCallError("internal", "runner auth token not configured")
        if install in {".", ".."}:
            raise NoResponse("an install id that would change the path")
        try:
            token = header_pair("x-runner-auth", self._token)
            body = dump_json(fields).encode()
            origin = _origin(invocation)
        except InvalidHeader:
            raise NoResponse("a token that cannot be sent") from None
        except ValueError as error:
            raise NoResponse(str(error)) from None
        return PeerRequest(
            "POST", self._prefix + quote(install, safe=""), (*_FIXED, token, *origin), body
        )

    def _warn(self, invocation: Invocation, log_fields: Mapping[str, object]) -> None:
        fields = {
            "request_id": invocation.request_id,
            "tenant": invocation.tenant,
            "extension": invocation.extension,
            **log_fields,
        }
        _log.warning("%s_request error", self._topic, extra={"fields": fields})


def _origin(invocation: Invocation) -> tuple[tuple[bytes, bytes], ...]:
    """The header that tells which call asks, for a gateway that traces it; Alga's knows none."""
    if invocation.trace is None or not invocation.request_id:
        return ()
    try:
        return (header_pair("x-algaenv-request-id", invocation.request_id),)
    except InvalidHeader:
        return ()
