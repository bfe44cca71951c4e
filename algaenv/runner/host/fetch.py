"""`http`: any request to a host that the egress list permits, exactly as the guest words it.

URLs are read as browsers read them. A call for a scratch tenant of the gateway has its requests
answered by the gateway, which knows the responses that a test has prepared.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anyio

from algaenv.runner.execute.invocation import CAP_HTTP, NOT_GRANTED, Invocation
from algaenv.runner.host import internal_api
from algaenv.runner.host.internal_api import InternalApi
from algaenv.runner.host.settings import EgressDenied, HostSettings, is_allowed
from algaenv.runner.outbound import (
    MAX_RESPONSE_BYTES,
    InvalidHeader,
    Outbound,
    header_pair,
    is_token,
)
from algaenv.runner.wasm.wit import Err

if TYPE_CHECKING:
    import httpx


WEB = frozenset(("http", "https"))

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_HOST = re.compile(rb"[a-z0-9._~!$&'()*+,;=-]+|[0-9a-f.]*:[0-9a-f:.]+(%[0-9a-z._~-]+)?")
_EDGES = "".join(map(chr, range(0x21)))
_IGNORED = str.maketrans("", "", "\t\r\n")
_MAX_PORT = 65_535


class InvalidUrl(Exception):
    """Not an absolute URL."""


def parse_url(text: str) -> httpx.URL:
    """Read an absolute URL of any scheme; that of an `http` or `https` URL has a host.

    The rules of the URL standard that the library does not know are applied first: space around
    it and line breaks in it do not count, and `\\` and any number of slashes begin a host.
    Raises InvalidUrl.
    """
    import httpx

    text = text.strip(_EDGES).translate(_IGNORED)
    found = _SCHEME.match(text)
    if found is None:
        raise InvalidUrl
    scheme = found[0][:-1].lower()
    if scheme in WEB:
        rest = text[found.end() :]
        end = next((at for at, char in enumerate(rest) if char in "?#"), len(rest))
        text = f"{scheme}://{rest[:end].replace(chr(92), '/').lstrip('/')}{rest[end:]}"
    try:
        url = httpx.URL(text)
        port = url.port
    except (httpx.InvalidURL, ValueError):
        raise InvalidUrl from None
    if port is not None and not 0 <= port <= _MAX_PORT:
        raise InvalidUrl
    # What stands here goes to the resolver, or to a proxy, which may unquote it again.
    if not _HOST.fullmatch(url.raw_host) and (url.scheme in WEB or url.raw_host):
        raise InvalidUrl
    return url


_log = logging.getLogger(__name__)

SECONDS = 30.0
"""For a whole request; the call's own deadline may come first."""

_VISIBLE = re.compile(rb"[\t\x20-\x7e]*")
_SENDS_A_LENGTH = frozenset(("POST", "PUT", "PATCH"))

_Record = dict[str, Any]


class HttpFetch:
    """Sends requests; redirects are answers like others, and nothing is unpacked."""

    def __init__(self, host_settings: HostSettings, outbound: Outbound) -> None:
        self._entries = host_settings.egress
        self._local = host_settings.local
        self._outbound = outbound
        self._gateway = None
        if host_settings.scratch_tenants:
            self._gateway = InternalApi("http", {}, host_settings=host_settings, outbound=outbound)

    def fetch(self, invocation: Invocation, request: _Record) -> _Record | Err:
        """http-request to http-response. Not http or https, or headers that cannot be sent:
        `transport`. A body that is cut short or longer than MAX_RESPONSE_BYTES: `internal`."""
        if CAP_HTTP not in invocation.capabilities:
            invocation.reason = NOT_GRANTED.format(CAP_HTTP)
            return Err("not-allowed")
        try:
            url = parse_url(request["url"])
        except InvalidUrl:
            return Err("invalid-url")
        if not is_allowed(self._entries, url):
            invocation.reason = "the host is not in EXT_EGRESS_ALLOWLIST"
            return Err("not-allowed")
        if not is_token(request["method"]):
            return Err("invalid-url")
        if url.scheme not in WEB:
            return Err("transport")
        try:
            request_out = _prepare(url, request)
        except InvalidHeader:
            return Err("transport")
        if invocation.http_by_gateway:
            return self._ask_gateway(invocation, request_out, request["body"] or b"")
        sent = invocation.wait(self._send(request_out, invocation))
        if isinstance(sent, Err):
            return sent
        response, chunks = sent
        return {
            "status": response.status_code,
            "headers": [_header_record(*header) for header in response.extensions["headers"]],
            "body": b"".join(chunks),
        }

    def _ask_gateway(
        self, invocation: Invocation, request: httpx.Request, body: bytes
    ) -> _Record | Err:
        """The response that a test has prepared. Without one: `transport`, and never a server."""
        if self._gateway is None:
            invocation.reason = "ALGAENV_SCRATCH_TENANTS is off"
            return Err("not-allowed")
        raw = request.headers.raw
        headers = [(name.decode(), value.decode(errors="replace")) for name, value in raw]
        fields = {
            "method": request.method,
            "url": str(request.url),
            "headers": headers,
            "body": internal_api.encode_base64(body),
        }
        try:
            reply = internal_api.as_object(self._gateway.call(invocation, "fetch", fields))
            if "error" in reply:
                invocation.reason = internal_api.required_text(reply, "error")
                return Err("transport")
            return {
                "status": internal_api.count_field(reply, "status", default=200),
                "headers": [
                    {"name": name.lower(), "value": value}
                    for name, value in map(_text_pair, internal_api.list_field(reply, "headers"))
                ],
                "body": internal_api.decode_base64(internal_api.required_text(reply, "body")),
            }
        except internal_api.HostCallError as error:
            invocation.reason = _refusal(error)
            return Err("transport")
        except (internal_api.MalformedResponse, ValueError):
            return Err("internal")

    async def _send(
        self, request: httpx.Request, invocation: Invocation
    ) -> tuple[httpx.Response, list[bytes]] | Err:
        import httpx

        response: httpx.Response | None = None
        chunks: list[bytes] = []
        size = 0
        try:
            with anyio.fail_after(SECONDS):
                url = request.url
                await self._local.check(
                    url.raw_host.decode(), url.port or (443 if url.scheme == "https" else 80)
                )
                client = await self._outbound.guests()
                # An `Auth` that adds nothing; without it, the library looks for a login itself.
                response = await client.send(request, stream=True, auth=httpx.Auth())
                async for chunk in response.aiter_raw():
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > MAX_RESPONSE_BYTES:
                        return Err("internal")
        except EgressDenied as error:
            _log.warning("fetch denied", extra={"fields": {"why": str(error)}})
            invocation.reason = str(error)
            return Err("not-allowed")
        except Exception as error:  # what a URL can provoke in a resolver has no list
            _log.debug("fetch failed", extra={"fields": {"why": type(error).__name__}})
            invocation.reason = type(error).__name__
            return Err("transport" if response is None else "internal")
        finally:
            if response is not None:
                await response.aclose()
        return response, chunks


def _text_pair(value: object) -> tuple[str, str]:
    match value:
        case [str(name), str(text)]:
            return name, text
        case _:
            raise internal_api.MalformedResponse


def _refusal(error: internal_api.HostCallError) -> str:
    """What the gateway says."""
    try:
        reply = internal_api.as_object(internal_api.parse_json(error.body))
        return internal_api.required_text(reply, "error")
    except (internal_api.MalformedResponse, ValueError):
        return error.text


def _prepare(url: httpx.URL, request: Mapping[str, Any]) -> httpx.Request:
    import httpx

    method: str = request["method"]
    body: bytes | None = request["body"]
    headers = [header_pair(header["name"], header["value"]) for header in request["headers"]]
    names = {name.lower() for name, _ in headers}
    # The rest is what HTTP itself demands.
    if b"host" not in names:
        headers.insert(0, (b"host", url.netloc))
    if url.userinfo and b"authorization" not in names:
        login = internal_api.encode_base64(f"{url.username}:{url.password}".encode())
        headers.append((b"authorization", f"Basic {login}".encode()))
    if not names & {b"content-length", b"transfer-encoding"} and (
        body or method in _SENDS_A_LENGTH
    ):
        headers.append((b"content-length", b"%d" % len(body or b"")))
    # With `stream`, the library adds nothing; a method it would turn into upper case.
    request_out = httpx.Request(method, url, headers=headers, stream=httpx.ByteStream(body or b""))
    request_out.method = method
    return request_out


def _header_record(name: bytes, value: bytes) -> dict[str, str]:
    visible = _VISIBLE.fullmatch(value) is not None
    return {
        "name": name.lower().decode("latin-1"),
        "value": value.decode("ascii") if visible else "",
    }
