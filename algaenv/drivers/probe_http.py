"""The HTTP client of probes, and what the answers of an extension mean.

Connections are persistent, and one deadline holds for a whole response.

A handler's own 4xx or 5xx is final. An error of the gateway itself is transient while the runner
behind it does not answer yet. Runners without prewarming answer 400, or 404: then only the first
call of the handler is slow.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

from algaenv.bundle.value import dataclass, field
from algaenv.model.probe import BrokenHandler, Never, NotYet, PrewarmRequest, ProbeResult, Yes
from algaenv.system.plain_http import PlainConnection, PlainRequest, TcpAddress

if TYPE_CHECKING:
    from http.client import HTTPConnection


_GATEWAY_PREFIX = "x-algaenv-"
_MAX_HEAD_BYTES = 64 * 1024
"""Bytes of a body that are kept; the rest is only hashed."""
_ENDPOINT_HINT: Final = (
    "mend its handler, or take it out of `probe`; `algaenv call EXT PATH` asks it by hand"
)
_TRANSIENT_STATUSES: Final = frozenset({429, 502, 503, 504})
_MAX_EXCERPT: Final = 300


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


class _Connections(dict[tuple[str, str], "PlainConnection | HTTPConnection"]):
    """Closes what is still open once its thread, or its Prober, is gone."""

    def __del__(self) -> None:
        for connection in self.values():
            connection.close()


class ProbeClient(threading.local):
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
        """GET `url`, or POST a document to it, JSON unless `headers` name another `Content-Type`.

        No redirects are followed.

        What is asked may arrive twice. Raises OSError and HTTPException.
        """
        deadline = time.monotonic() + seconds
        parts = urlsplit(url)
        connection = self._connection(parts)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        kind = {} if document is None else {"Content-Type": "application/json"}
        sent = {"Accept-Encoding": "identity", **kind, **(headers or {})}
        request = PlainRequest("GET" if document is None else "POST", target, document, sent)
        used_before = _is_open(connection)
        try:
            return _exchange(connection, request, deadline)
        except ConnectionError:
            # RemoteDisconnected is one too. A server may close what was idle at any time.
            if not used_before:
                raise
            return _exchange(connection, request, deadline)

    def _connection(self, parts: SplitResult) -> PlainConnection | HTTPConnection:
        key = (parts.scheme, parts.netloc)
        connection = self._connections.get(key)
        if connection is None:
            connection = self._connections[key] = _new_connection(parts)
        return connection


def _new_connection(parts: SplitResult) -> PlainConnection | HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "https":
        from http.client import HTTPSConnection

        return HTTPSConnection(host, parts.port)
    return PlainConnection(TcpAddress(host, parts.port or 80))


def _is_open(connection: PlainConnection | HTTPConnection) -> bool:
    if isinstance(connection, PlainConnection):
        return connection.is_open
    return connection.sock is not None


def _exchange(
    connection: PlainConnection | HTTPConnection, request: PlainRequest, deadline: float
) -> HttpReply:
    seconds = seconds_left(deadline)
    if isinstance(connection, PlainConnection):
        reply, (head, sha256) = connection.exchange_within(
            request, _head_and_digest, seconds=seconds
        )
        status, headers = reply.status, reply.headers
    else:
        from algaenv.system.http import exchange_within

        response, (head, sha256) = exchange_within(
            connection, request, _head_and_digest, seconds=seconds
        )
        status = response.status
        headers = tuple((name.lower(), value) for name, value in response.getheaders())
    gateway_headers = {name: value for name, value in headers if name.startswith(_GATEWAY_PREFIX)}
    return HttpReply(status, head, sha256, gateway_headers)


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


def user_headers(key: str) -> Mapping[str, str]:
    """The headers that choose who asks."""
    return {"x-algaenv-user": key} if key else {}


def endpoint_answer(path: str, reply: HttpReply) -> ProbeResult:
    """Read what the gateway answered to `GET path`; the query is left out of messages."""
    if reply.status < 400:
        return Yes()
    error, reason, stderr, hint = (
        reply.gateway_headers.get(f"x-algaenv-{name}", "")
        for name in ("error", "reason", "stderr", "hint")
    )
    last = f"GET {path.partition('?')[0]} answered {reply.status}"
    if text := reason or error or _body_excerpt(reply.head):
        last += f": {text}"
    if error and not reason and reply.status in _TRANSIENT_STATUSES:
        return NotYet(last)
    detail = []
    if error and error not in last:
        detail.append(error)
    if stderr:
        detail.append(f"stderr: {stderr}")
    return Never(last, hint or _ENDPOINT_HINT, tuple(detail))


def _body_excerpt(body: bytes) -> str:
    return " ".join(body[: 4 * _MAX_EXCERPT].decode(errors="replace").split())[:_MAX_EXCERPT]


OTHER_BYTES: Final = "the stored bundle has other bytes than its name says: upload it again"
_FAILURE_HINTS: Final = {
    "malformed": "build dist/main.wasm as a component: `jco componentize`, or your tool chain's",
    "compile": "build dist/main.wasm anew; if it stays so, try another version of its tool chain",
    "limit": "",  # Which one to raise stands in the reason.
    "link": "build it for the world `alga:extension/runner`, which names all that it may import",
    "signature": "export `handler: func(request: execute-request) -> execute-response`",
    "instantiate": "look at what it does while it is being set up, before it is called",
}
"""Kind of failure → what its author can do."""


def prewarm_body(warming: PrewarmRequest) -> bytes:
    """The body of the request."""
    fields = {
        "tenant": warming.tenant_id,
        "extension": warming.registry_id,
        "content_hash": warming.content_hash,
    }
    return json.dumps(fields).encode()


def prewarm_answer(place: str, reply: HttpReply) -> ProbeResult | BrokenHandler:
    """Read the reply of the runner at `place`."""
    fields = reply.fields()
    code, last = fields.get("code"), f"{place} answered {reply.status}"
    if isinstance(code, str):
        last += f" {code[:80]}"
    match reply.status, code:
        case 422, "execute_failed":
            return _broken(fields, last)
        case 200 | 400 | 404 | 405 | 422, _:
            return Yes()
        case _, "archive_hash_mismatch":
            return Never(last, OTHER_BYTES)
        case _:
            return NotYet(last)


def _broken(fields: Mapping[str, object], last: str) -> NotYet | BrokenHandler:
    failure = fields.get("failure")
    details: Mapping[str, object] = failure if isinstance(failure, dict) else {}
    if details.get("kind") == "host":  # The runner's own fault, which may pass.
        return NotYet(f"{last}: {_one_line(details.get('reason'))}")
    causes = details.get("causes")
    text = str(fields.get("error", "")).removeprefix("execute_failed: ")
    reason = _one_line(details.get("reason") or text)
    return BrokenHandler(
        reason=reason,
        hint=_FAILURE_HINTS.get(str(details.get("kind")), "") or _limit_hint(reason),
        causes=tuple(_one_line(cause) for cause in causes) if isinstance(causes, list) else (),
    )


def _limit_hint(reason: str) -> str:
    """How to raise the limit that was met; how to build it anew for what is not known."""
    found = re.search(r"\((RUNNER_COMPILE_\w+)\)", reason)
    if found is None:
        return _FAILURE_HINTS["compile"]
    more = "" if "MEMORY" in found[1] else "raise `ready_timeout` in the spec, or "
    return f"the component may be fine: {more}set a higher {found[1]} under `runner.environment`"


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:_MAX_EXCERPT]
