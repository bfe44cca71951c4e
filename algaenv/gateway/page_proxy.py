"""`/runner/…`: the runner under the gateway's own origin, for pages in frames.

GET and HEAD only, without a user. Of the request only what caching and ranges need goes on, so a
tenant must be named in the query; of the answer all but what belongs to the connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import anyio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from algaenv.gateway.events import EventBus
from algaenv.gateway.http_client import OutboundClient
from algaenv.gateway.responses import Problem, json_response, problem_response
from algaenv.gateway.urls import parse_target

if TYPE_CHECKING:
    import httpx

ROOT = "/runner"
PREFIX = f"{ROOT}/"

_FORWARDED_HEADERS = (
    "accept",
    "accept-encoding",
    "accept-language",
    "if-modified-since",
    "if-none-match",
    "range",
    "user-agent",
)
_FILE_KINDS = {
    "script": "script",
    "worker": "script",
    "sharedworker": "script",
    "serviceworker": "script",
    "style": "style sheet",
    "font": "font",
    "image": "image",
    "js": "script",
    "mjs": "script",
    "css": "style sheet",
}
"""By `Sec-Fetch-Dest` of the browser, or, without one, by the file's extension."""
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)


class PageProxy:
    """Forwards requests for pages."""

    def __init__(
        self, outbound: OutboundClient, runner_url: str, timeout_ms: int, events: EventBus
    ) -> None:
        self._events = events
        self._outbound = outbound
        self._url = runner_url
        self._seconds = timeout_ms / 1000

    async def respond(self, request: Request) -> Response:
        """The runner's answer, or 502 and 504 in its place."""
        import httpx

        try:
            return await self._forward(request)
        except (TimeoutError, httpx.TimeoutException):
            return _failure(request, 504, "runner_timeout", "it took too long")
        except httpx.ConnectError as error:
            return _failure(request, 502, "runner_unreachable", str(error))
        except httpx.HTTPError as error:
            return _failure(request, 502, "runner_proxy_error", str(error) or type(error).__name__)
        except httpx.InvalidURL:
            return json_response(404, {"error": "not_found"})

    async def _forward(self, request: Request) -> Response:
        import httpx

        scope = request.scope
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        if raw == ROOT.encode():
            raw = PREFIX.encode()
        found = parse_target({**scope, "raw_path": raw}, PREFIX)
        if found is None or not (found.is_text and found.is_plain):
            return json_response(404, {"error": "not_found"})
        query: bytes = scope["query_string"]
        path = raw[len(PREFIX) - 1 :] + (b"?" + query if query else b"")
        base = httpx.URL(self._url)
        client = await self._outbound.client()
        upstream = client.build_request(
            request.method,
            base.copy_with(raw_path=base.raw_path.rstrip(b"/") + path),
            headers=_forwarded(request),
        )
        with anyio.fail_after(self._seconds):
            try:
                answer = await client.send(upstream, stream=True)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                # The runner may close a connection just as it is used again. A page whose script
                # fails for that stays blank, and what is forwarded here may be asked twice.
                answer = await client.send(upstream, stream=True)
        if answer.status_code == 200 and _is_html(answer.headers.get("content-type", "")):
            self._publish_fallback(request, found.path)
        passed = StreamingResponse(_content(answer, self._seconds), answer.status_code)
        dropped = _HOP_BY_HOP | _connection_options(answer.headers.get("connection", ""))
        passed.raw_headers = [
            (name.lower(), value)
            for name, value in answer.headers.raw
            if name.lower().decode("latin-1") not in dropped
        ]
        return passed

    def _publish_fallback(self, request: Request, path: str) -> None:
        """Publish that a script or style was answered with a page.

        The runner does so for every file that the bundle does not hold. A browser runs no such
        script, and a page whose script was never built stays blank without an error.
        """
        registry, _, rest = path.lstrip("/").partition("/")
        file = rest.partition("/")[2]
        wanted = request.headers.get("sec-fetch-dest", "")
        kind = _FILE_KINDS.get(wanted) or (
            "" if wanted else _FILE_KINDS.get(file.rpartition(".")[2], "")
        )
        if kind and file:
            self._events.publish(
                {
                    "type": "page-error",
                    "extension": registry,
                    "path": file,
                    "summary": f"cannot load the {kind} {file}: the bundle does not hold it, and"
                    " the runner answered with the page instead",
                    "hint": f"build it to ui/{file}, or correct the page, and run algaenv up",
                }
            )


def _is_html(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "text/html"


def _forwarded(request: Request) -> list[tuple[bytes, bytes]]:
    """As bytes: a value may be no ASCII, and goes on as it came."""
    there = ((name, request.headers.get(name)) for name in _FORWARDED_HEADERS)
    found = {name: value for name, value in there if value}
    return [
        (name.encode(), value.encode("latin-1"))
        for name, value in {"accept-encoding": "identity", **found}.items()
    ]


async def _content(answer: httpx.Response, seconds: float) -> AsyncIterator[bytes]:
    """The body, as long as its parts keep coming; one that is cut short ends the connection."""
    parts = answer.aiter_raw()
    try:
        while True:
            try:
                with anyio.fail_after(seconds):
                    chunk = await anext(parts)
            except StopAsyncIteration:
                return
            yield chunk
    finally:
        await answer.aclose()


def _connection_options(connection: str) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in connection.split(","))


def _failure(request: Request, status: int, error: str, reason: str) -> Response:
    problem = Problem(
        "gateway-runner-down",
        f"cannot have this page from the runner: {reason}",
        "see algaenv status and algaenv logs runner; algaenv up starts it",
    )
    return problem_response(request.scope, status, {"error": error}, problem)
