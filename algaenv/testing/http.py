"""Prepared HTTP: what the servers answer that a handler asks, and what it has asked them."""

from __future__ import annotations

import json as json_module
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from algaenv.bundle.value import dataclass, field

if TYPE_CHECKING:
    from algaenv.testing.gateway import TenantGateway


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request of a handler."""

    method: str
    url: str
    headers: Mapping[str, str]
    """Names in lower case; of equal names the last."""
    content: bytes = field(repr=False)
    answered: bool
    """False where no prepared response fitted, so that it failed."""
    extension: str
    """Registry id."""
    request_id: str
    """Of the call in which it was sent."""

    @property
    def text(self) -> str:
        """The body as UTF-8; what is none is replaced."""
        return self.content.decode(errors="replace")

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return json_module.loads(self.content)


class PreparedHttp:
    """Of one tenant. Without a prepared response a request fails: none leaves the environment."""

    def __init__(self, gateway: TenantGateway) -> None:
        self._gateway = gateway
        self._path = f"/algaenv/tenants/{gateway.tenant}/http"

    def respond(
        self,
        method: str,
        url: str,
        *,
        status: int = 200,
        json: object = None,
        text: str | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer requests of a method (`*`: any) to a URL, with one of the three bodies.

        A URL with a query fits that query in any order, one without fits any query, and one that
        ends with `*` fits what begins so. Of several responses that fit each is used once, in the
        order in which they were prepared, and the last goes on to be used. Raises TypeError for
        more than one body, GatewayRefused for what is no response.
        """
        if sum(it is not None for it in (json, text, content)) > 1:
            raise TypeError("give one of json, text and content")
        named = {name.lower(): value for name, value in (headers or {}).items()}
        body = content or b""
        if json is not None:
            body = json_module.dumps(json).encode()
            named.setdefault("content-type", "application/json")
        elif text is not None:
            body = text.encode()
            named.setdefault("content-type", "text/plain; charset=utf-8")
        fields = {"status": status, "headers": list(named.items())}
        self._prepare(method, url, {**fields, "body": b64encode(body).decode()})

    def fail(self, method: str, url: str) -> None:
        """Have requests to a URL fail, as if no server were there."""
        self._prepare(method, url, {"error": True})

    @property
    def requests(self) -> list[SentRequest]:
        """All requests, oldest first; of more than 1000 the last."""
        return [_sent(it) for it in self._report()["requests"]]

    @property
    def unanswered(self) -> list[SentRequest]:
        """Those that no prepared response fitted. A test that leaves some fails at its end."""
        return [it for it in self.requests if not it.answered]

    @property
    def unused(self) -> list[tuple[str, str]]:
        """Method and URL of responses that were prepared and not used."""
        return [(it["method"], it["url"]) for it in self._report()["unused"]]

    def _prepare(self, method: str, url: str, fields: Mapping[str, object]) -> None:
        body = {"method": method.upper(), "url": url, **fields}
        self._gateway.request("POST", self._path, body)

    def _report(self) -> Any:
        return self._gateway.request("GET", self._path)


def _sent(fields: Mapping[str, Any]) -> SentRequest:
    return SentRequest(
        method=fields["method"],
        url=fields["url"],
        headers={name.lower(): value for name, value in fields["headers"]},
        content=b64decode(fields["body"]),
        answered=fields["answered"],
        extension=fields["extensionId"],
        request_id=fields["requestId"] or "",
    )
