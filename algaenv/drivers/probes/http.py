"""The HTTP client of probes: persistent connections, one deadline for a whole response."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from algaenv.bundle.value import dataclass

if TYPE_CHECKING:
    from http.client import HTTPConnection

_GATEWAY_PREFIX = "x-algaenv-"
_MAX_HEAD_BYTES = 64 * 1024
"""Bytes of a body that are kept; the rest is only hashed."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """An HTTP answer: `head` is the begin of its body, `sha256` (lower hex) is of all of it.

    `gateway_headers` are the headers that our own gateway adds, names in lower case.
    """

    status: int
    head: bytes
    sha256: str
    gateway_headers: Mapping[str, str] = field(default_factory=dict)

    def fields(self) -> Mapping[str, object]:
        """The body as a JSON object; empty when it is none."""
        try:
            loaded = json.loads(self.head)
        except (ValueError, RecursionError):
            return {}
        return loaded if isinstance(loaded, dict) else {}


class _Connections(dict[tuple[str, str], "HTTPConnection"]):
    """Closes what is still open once its thread, or its Prober, is gone."""

    def __del__(self) -> None:
        for connection in self.values():
            connection.close()


class HttpClient(threading.local):
    """Connections that stay open between questions, a set for each thread."""

    def __init__(self) -> None:
        self._connections = _Connections()

    def probe(
        self,
        url: str,
        seconds: float,
        document: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpReply:
        """GET `url`, or POST a JSON document to it; no redirects are followed.

        What is asked may arrive twice. Raises OSError and HTTPException.
        """
        deadline = time.monotonic() + seconds
        parts = urlsplit(url)
        connection = self._connection(parts, seconds)
        used_before = connection.sock is not None
        try:
            return _exchange(connection, parts, deadline, document, headers)
        except ConnectionError:
            # RemoteDisconnected is one too. A server may close what was idle at any time.
            if not used_before:
                raise
            return _exchange(connection, parts, deadline, document, headers)

    def _connection(self, parts: SplitResult, seconds: float) -> HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection

        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        key = (parts.scheme, parts.netloc)
        connection = self._connections.get(key)
        if connection is None:
            connection = kind(parts.hostname or "", parts.port)
            self._connections[key] = connection
        connection.timeout = seconds
        return connection


def _exchange(
    connection: HTTPConnection,
    parts: SplitResult,
    deadline: float,
    document: bytes | None,
    more: Mapping[str, str] | None,
) -> HttpReply:
    from algaenv.system.http import Request, exchange_within

    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Accept-Encoding": "identity", **(more or {})}
    if document is not None:
        headers["Content-Type"] = "application/json"
    request = Request("GET" if document is None else "POST", target, document, headers)
    response, (head, sha256) = exchange_within(
        connection, request, _head_and_digest, seconds=seconds_left(deadline)
    )
    gateway_headers = {name.lower(): value for name, value in response.getheaders()}
    gateway_headers = {
        name: value for name, value in gateway_headers.items() if name.startswith(_GATEWAY_PREFIX)
    }
    return HttpReply(response.status, head, sha256, gateway_headers)


def _head_and_digest(pieces: Iterable[bytes]) -> tuple[bytes, str]:
    digest, head = hashlib.sha256(), bytearray()
    for piece in pieces:
        digest.update(piece)
        head += piece[: _MAX_HEAD_BYTES - len(head)]
    return bytes(head), digest.hexdigest()


def seconds_left(deadline: float) -> float:
    """Seconds until `deadline`, a moment of time.monotonic. Raises TimeoutError past it."""
    seconds_left = deadline - time.monotonic()
    if seconds_left <= 0:
        raise TimeoutError
    return seconds_left
