"""Keeps everyone but the gateway away from the two routes that make handlers run.

A page in a browser can reach this port, by its Origin or with DNS bent towards this machine, and so
can a guest. A browser cannot choose its Host, and neither knows the token. Pages are not guarded:
Alga serves them under names of their own.
"""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from algaenv.runner.answers import document

TOKEN_HEADER = b"x-runner-service-token"
ROUTES = frozenset(("/v1/execute", "/warmup"))

_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
_PRIVATE_NAMES = (".localhost", ".local", ".internal", ".svc")
"""Names that no public DNS answers, so that no page comes from them."""


class Guard:
    """Wraps an application; answers 401 or 403 in its place. `token` is None where none is needed,
    `hosts` are names under which callers may come beside those of this machine and network."""

    def __init__(self, app: ASGIApp, token: str | None, hosts: frozenset[str]) -> None:
        self._app, self._hosts = app, hosts
        self._token = token.encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as an ASGI application."""
        if scope["type"] == "http" and scope["path"] in ROUTES:
            refused = self._refused(scope)
            if refused is not None:
                status, error, why = refused
                answer = document(status, {"error": error, "message": why})
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refused(self, scope: Scope) -> tuple[int, str, str] | None:
        hosts, origins, sites, tokens = [], [], [], []
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value.decode("latin-1"))
            elif name == b"origin":
                origins.append(value.decode("latin-1"))
            elif name == b"sec-fetch-site":
                sites.append(value)
            elif name == TOKEN_HEADER:
                tokens.append(value)
        if len(hosts) > 1 or not all(self._is_ours(host) for host in hosts):
            return 403, "host_refused", "this host is not one of RUNNER_ALLOWED_HOSTS"
        if b"cross-site" in sites or not all(_same(origin, hosts) for origin in origins):
            return 403, "origin_refused", "pages of other sites cannot call handlers"
        if self._token is not None and not (
            len(tokens) == 1 and hmac.compare_digest(tokens[0], self._token)
        ):
            return 401, "token_required", "x-runner-service-token is missing or wrong"
        return None

    def _is_ours(self, netloc: str) -> bool:
        name = host_name(netloc)
        if name is None:
            return False
        if name in self._hosts or is_local_name(name):
            return True
        # A page has an address in numbers as its host only if that very machine sent it.
        return _is_address(name)


def is_local_name(name: str) -> bool:
    """Whether a name is this machine, or one that only a private network gives, as `runner`."""
    return name in _LOOPBACK or name.endswith(_PRIVATE_NAMES) or "." not in name


def host_name(netloc: str) -> str | None:
    """The name in `host[:port]`, in lower case and without a dot at its end; None for no host."""
    try:
        parts = urlsplit(f"//{netloc}")
        name = (parts.hostname or "").rstrip(".")
        _ = parts.port
    except ValueError:
        return None
    if not name or parts.username is not None or parts.path or parts.query or parts.fragment:
        return None
    return name


def _same(origin: str, hosts: list[str]) -> bool:
    """Whether a page of this very service asks, under a name of this machine."""
    if not hosts or origin not in (f"http://{hosts[0]}", f"https://{hosts[0]}"):
        return False
    name = host_name(hosts[0])
    return name is not None and (name in _LOOPBACK or name.endswith(".localhost"))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
