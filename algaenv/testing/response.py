"""The response to a call, with what the handler did for it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from algaenv.cli.gateway_client import read_guest_lines
from algaenv.cli.output.escape import escape_controls

if TYPE_CHECKING:
    from algaenv.cli.gateway_client import GatewayResponse, HandlerError
    from algaenv.model.status import ExtensionEndpoint
    from algaenv.model.trace import GuestLine, HostCall

_EXCERPT = 300
"""Characters of a body in a report."""
_REQUEST_ID = "x-algaenv-request-id"


class Response:
    """What a caller gets, and what is known of the call beyond that."""

    def __init__(self, endpoint: ExtensionEndpoint, about: str, found: GatewayResponse) -> None:
        """`about` is the call in words: `notes: GET /notes`."""
        self.about = about
        self._endpoint = endpoint
        self._found = found
        self._began = time.time() - found.ms / 1000

    @property
    def status(self) -> int:
        """Of HTTP."""
        return self._found.status

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return not self._found.failed

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case, those of the gateway (`x-algaenv-…`) included."""
        return self._found.headers

    @property
    def content(self) -> bytes:
        """The body as it came."""
        return self._found.body

    @property
    def text(self) -> str:
        """The body as UTF-8; what is none is replaced."""
        return self._found.body.decode(errors="replace")

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return json.loads(self._found.body)

    @property
    def ms(self) -> float:
        """Milliseconds until the last byte."""
        return self._found.ms

    @property
    def request_id(self) -> str:
        """By which logs and traces name the call."""
        return self.headers.get(_REQUEST_ID, "")

    @property
    def error(self) -> HandlerError | None:
        """Why the call failed, as far as the gateway tells; None where it tells nothing."""
        return self._found.error

    @property
    def host_calls(self) -> tuple[HostCall, ...]:
        """What the handler asked of its host, in order: `name`, `about`, `error`, `ms` …"""
        trace = self._found.trace
        return trace.host_calls if trace else ()

    @cached_property
    def log_lines(self) -> tuple[GuestLine, ...]:
        """What the handler wrote: `level`, `stream`, `message`. Waits up to 3 s for late lines."""
        trace = self._found.trace
        if trace is None or not trace.lines:
            return ()
        return read_guest_lines(self._endpoint, trace, self.request_id, self._began).guest_lines

    @property
    def logs(self) -> list[str]:
        """The messages of `log_lines`."""
        return [line.message for line in self.log_lines]

    def report(self) -> str:
        """The call for a person: status, error, host calls and lines."""
        lines = [f"{self.about} → {self.status} {self._found.phrase} ({self.ms:g} ms)"]
        if error := self.error:
            lines += [f"  {error.summary}"]
            lines += [f"  reason: {error.reason}"] if error.reason else []
            lines += [f"  hint: {error.hint}"] if error.hint else []
        elif not self.ok:
            lines += [f"  body: {self.text[:_EXCERPT]}"]
        for call in self.host_calls:
            failed = f" → {call.error}" if call.error else ""
            lines.append(f"  host call: {call.name} {call.about}{failed} ({call.ms:g} ms)")
        lines += [f"  {line.stream}: {line.message}" for line in self.log_lines]
        # A handler and its servers write what they like; it is shown on a terminal.
        return "\n".join(escape_controls(it) for line in lines for it in line.split("\n"))

    def __repr__(self) -> str:
        error = self.error
        why = f": {error.reason or error.summary}" if error else ""
        return escape_controls(
            f"<Response {self.status} {self._found.phrase} to {self.about}{why}>"
        )
