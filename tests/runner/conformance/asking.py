"""The runner under test, as a client of it sees it."""

from __future__ import annotations

import http.client
import json
import socket
from base64 import b64decode
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.runner.service import Answer


@dataclass(frozen=True, slots=True)
class Outcome:
    """The JSON that `/v1/execute` answers with."""

    fields: dict[str, Any]

    @property
    def status(self) -> int:
        status: int = self.fields["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        headers: dict[str, str] = self.fields["headers"]
        return headers

    @property
    def error(self) -> str:
        """Empty when the handler answered."""
        return self.fields["error"] or ""

    @property
    def body(self) -> bytes | None:
        text = self.fields["body_b64"]
        return None if text is None else b64decode(text, validate=True)

    @property
    def json(self) -> Any:
        assert self.body is not None, self.fields
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Runner:
    """Where it is, and the directory that its profile names for its cache."""

    host: str
    port: int
    cache: Path

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def ask(
        self,
        target: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
        timeout: float = 60,
    ) -> Answer:
        """Send the target as it is: nothing is normalised or encoded."""
        given = {name.lower(): value for name, value in (headers or {}).items()}
        with closing(http.client.HTTPConnection(self.host, self.port, timeout=timeout)) as link:
            link.putrequest(method, target, skip_host="host" in given, skip_accept_encoding=True)
            for name, value in given.items():
                link.putheader(name, value)
            if body is not None:
                link.putheader("content-length", str(len(body)))
            link.endheaders(body)
            answer = link.getresponse()
            content = answer.read()
            return Answer(
                answer.status,
                {name.lower(): value for name, value in answer.getheaders()},
                content,
            )

    def post(self, target: str, body: object, headers: Mapping[str, str] | None = None) -> Answer:
        """Send JSON; bytes are sent as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = {"content-type": "application/json", **(headers or {})}
        return self.ask(target, kind, method="POST", body=content)

    def raw(self, request: bytes) -> socket.socket:
        """Send bytes over a connection of their own, for the caller to read from and close."""
        link = socket.create_connection((self.host, self.port), 60)
        link.sendall(request)
        return link
