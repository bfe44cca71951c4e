"""Carries a call to the runner and brings back all that it says, also what the product drops."""

from __future__ import annotations

import asyncio
import json
import math
import time
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from algaenv.gateway.connection import NotDelivered, Reply, TooLong
from algaenv.gateway.courier import Courier
from algaenv.gateway.execution import Asked, Road, document, routing
from algaenv.gateway.installs import Install
from algaenv.gateway.users import User

EXECUTE = "/v1/execute"

MOST_BYTES = 64 * 1024 * 1024
"""Of an answer of the runner, where its caller wants no less."""

_ERROR = 400
_SHOWN = 500


@dataclass(frozen=True, slots=True)
class Failure:
    """How a handler came to give no answer, as our runner tells it; others do not."""

    kind: str
    reason: str
    causes: tuple[str, ...]
    stderr: tuple[str, ...]
    """The last lines that the guest wrote."""
    hint: str = ""
    host_call: str = ""
    """The last call of its host: `http.fetch: transport (ConnectError)`."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The runner answered, for the handler or in its place."""

    status: int
    headers: Mapping[str, str]
    """The handler's, names in lower case."""
    body: bytes | None
    error: str | None
    """Begins with the runner's word for what went wrong; the product drops it."""
    failure: Failure | None
    runner_headers: Mapping[str, str]
    """Of the runner's own HTTP answer, names in lower case."""
    ms: float


@dataclass(frozen=True, slots=True)
class Refused:
    """The runner answered with something that is no answer: HTTP `status` and how it begins."""

    status: int
    text: str
    ms: float
    error: str | None = None
    """Its `error`, where the refusal is a JSON object that has one."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Nobody answers there."""

    why: str
    ms: float


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The time of the call was over before there was an answer."""

    ms: float


Relayed = Answered | Refused | Unreachable | TimedOut


class Relay:
    """Asks the runner."""

    def __init__(self, runner_url: str, service_token: str, inbound_token: str = "") -> None:
        self._courier = Courier(runner_url + EXECUTE)
        self._service_token = service_token
        self._inbound_token = inbound_token

    async def call(
        self,
        install: Install,
        asked: Asked,
        *,
        road: Road,
        request_id: str,
        timeout_ms: int,
        seconds: float = math.inf,
        user: User | None = None,
        idempotency_key: str | None = None,
        trigger: Mapping[str, str] | None = None,
        most_bytes: int | None = None,
    ) -> Relayed:
        """Have a handler run; never raises for what the runner does.

        The handler has `timeout_ms`, and the answer has to be there within `seconds`, if that is
        less. `trigger` is added to the context (`{"trigger": "schedule", "schedule_id": …}`). An
        answer of more than `most_bytes`, else MOST_BYTES, is refused and not read to its end.
        """
        content = document(
            install,
            asked,
            road=road,
            request_id=request_id,
            timeout_ms=timeout_ms,
            user=user,
            trigger=trigger or {},
        )
        headers = routing(
            install,
            asked.method,
            road=road,
            request_id=request_id,
            idempotency_key=idempotency_key,
            service_token=self._service_token,
            inbound_token=self._inbound_token,
        )
        started = time.perf_counter()
        try:
            async with asyncio.timeout(min(timeout_ms / 1000, seconds)):
                answer = await self._courier.post(content, headers, most_bytes or MOST_BYTES)
        except TimeoutError:
            return TimedOut(_since(started))
        except TooLong as error:
            return Refused(error.status, str(error), _since(started))
        except NotDelivered as error:
            return Unreachable(str(error), _since(started))
        return _read(answer, _since(started))

    def close(self) -> None:
        """Close the connections kept open."""
        self._courier.close()


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 2)


def _read(answer: Reply, ms: float) -> Relayed:
    content = answer.content
    try:
        said: Any = json.loads(content)
    except (ValueError, RecursionError):
        said = None
    if answer.status >= _ERROR or not isinstance(said, dict):
        error = said.get("error") if isinstance(said, dict) else None
        return Refused(answer.status, content[:_SHOWN].decode(errors="replace"), ms, _words(error))
    status, body = said.get("status"), said.get("body_b64")
    try:
        decoded = b64decode(body, validate=True) if isinstance(body, str) else None
    except ValueError:
        return Refused(answer.status, "its body_b64 is not base64", ms)
    return Answered(
        status=status if isinstance(status, int) else 200,
        headers=_headers(said.get("headers")),
        body=decoded,
        error=_words(said.get("error")),
        failure=_failure(said.get("failure"), answer.headers),
        runner_headers=answer.headers,
        ms=ms,
    )


def _words(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _headers(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {name.lower(): each for name, each in value.items() if isinstance(each, str)}


def _failure(value: object, headers: Mapping[str, str]) -> Failure | None:
    if not isinstance(value, dict):
        return None
    return Failure(
        kind=str(value.get("kind", "")),
        reason=str(value.get("reason", "")),
        causes=_lines(value.get("causes")),
        stderr=_lines(value.get("stderr")),
        hint=headers.get("x-algaenv-hint", ""),
        host_call=headers.get("x-algaenv-host-call", ""),
    )


def _lines(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
