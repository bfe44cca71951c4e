"""The events that a gateway has kept of an extension, read from its `/algaenv/events`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from algaenv.cli.gateway_client import connection_to, silent_gateway
from algaenv.model.problem import Problem, Refused

if TYPE_CHECKING:
    from http.client import HTTPResponse

    from algaenv.model.status import ExtensionEndpoint

MOST_EVENTS = 1_000
"""As many as a gateway keeps."""
_MOST_BYTES = 1 << 20
"""Of one event."""
_QUIET_SECONDS = 1.0
"""After so long without an event, all that were kept have come."""
_SECONDS = 5.0
"""For all of them: others may go on to happen, and the stream has no mark where they begin."""


def recorded_events(endpoint: ExtensionEndpoint) -> list[Mapping[str, Any]]:
    """Read those that were kept, and maybe some that happen meanwhile.

    Raises NotReady (`gateway-silent`), and Refused (`compare-nothing`) when the answer is no
    stream of events.
    """
    from http.client import HTTPException

    from algaenv.system.deadline import shutdown_after

    target = f"/algaenv/events?extension={quote(endpoint.extension, safe='')}"
    connection, target = connection_to(endpoint, target)
    events: list[Mapping[str, Any]] = []
    try:
        connection.request("GET", target)
        line = connection.sock
        response = connection.getresponse()
        _check(endpoint, response)
        line.settimeout(_QUIET_SECONDS)
        with shutdown_after(line.fileno(), _SECONDS) as expired:
            try:
                for data in _messages(response):
                    events.append(_event(endpoint, data))
                    if len(events) == MOST_EVENTS:
                        break
            except TimeoutError:
                pass
            except (OSError, HTTPException):
                if not expired.is_set():
                    raise
    except (OSError, HTTPException) as error:
        raise silent_gateway(endpoint, error) from error
    finally:
        connection.close()
    return events


def _check(endpoint: ExtensionEndpoint, response: HTTPResponse) -> None:
    kind = response.headers.get_content_type()
    if response.status != HTTPStatus.OK:
        raise _unreadable(endpoint, f"answers {response.status} instead of its events")
    if kind != "text/event-stream":
        raise _unreadable(endpoint, f"answers {kind} instead of its events")


def _messages(response: HTTPResponse) -> Iterator[bytes]:
    """The data of each message. One that is not whole when the stream ends is none."""
    while line := response.readline(_MOST_BYTES):
        if line.startswith(b"data:") and (line.endswith(b"\n") or len(line) == _MOST_BYTES):
            yield line[len(b"data:") :]


def _event(endpoint: ExtensionEndpoint, data: bytes) -> Mapping[str, Any]:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise _unreadable(endpoint, "sends an event that is no JSON object")
    return event


def _unreadable(endpoint: ExtensionEndpoint, why: str) -> Refused:
    return Refused(
        Problem(
            code="compare-nothing",
            summary=f"cannot read what was recorded: the gateway at {endpoint.gateway} {why}",
            hint="write the calls into a file, and name it with `--calls`",
        )
    )
