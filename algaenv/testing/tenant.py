"""What a test gets: a tenant of its own, and everything that is asked of it."""

from __future__ import annotations

import json as json_module
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from algaenv.bundle.value import dataclass, replace
from algaenv.cli.gateway_client import GatewayRequest, ask, send_request
from algaenv.testing.gateway import TENANT_HEADER, TenantGateway
from algaenv.testing.http import PreparedHttp
from algaenv.testing.response import Response
from algaenv.testing.schedules import Clock, Schedules
from algaenv.testing.storage import Storage

if TYPE_CHECKING:
    from algaenv.testing.environment import Environment, Extension

_JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Page:
    """A page of an extension: where a browser finds it, and its bytes."""

    url: str
    """Of the page around it, in the portal. A browser must send `ScratchTenant.headers`."""
    frame_url: str
    """Of the page itself."""
    content: bytes

    @property
    def text(self) -> str:
        """The page itself, as UTF-8."""
        return self.content.decode(errors="replace")


class ScratchTenant:
    """A tenant with an install of each extension; it is gone after the test."""

    def __init__(self, environment: Environment, id_: str, installs: Mapping[str, str]) -> None:
        """`installs`: registry id → install id."""
        self.environment = environment
        self.id = id_
        self._installs = installs
        self._gateway = TenantGateway(environment.gateway, id_)
        self.calls: list[Response] = []
        """Of `call`, in order."""
        self.http = PreparedHttp(self._gateway)
        self.schedules = Schedules(self._gateway)
        self.clock = Clock(self._gateway)

    @property
    def headers(self) -> dict[str, str]:
        """With these any HTTP client, or a browser, acts for the tenant."""
        return {TENANT_HEADER: self.id}

    def call(
        self,
        extension: str,
        method: str,
        path: str,
        *,
        user: str | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Call a handler as a user of the spec does. Raises KeyError for an unknown extension."""
        __tracebackhide__ = True
        found = self._find(extension)
        named = {name.lower(): value for name, value in (headers or {}).items()}
        if json is not None:
            content = json_module.dumps(json).encode()
            named = {**_JSON, **named}
        endpoint = self._gateway.endpoint(found.registry_id)
        request = GatewayRequest(method.upper(), path, content, user, named, traced=True)
        answer = send_request(endpoint, request)
        response = Response(endpoint, f"{extension}: {method.upper()} {path}", answer)
        self.calls.append(response)
        return response

    def storage(self, namespace: str, *, extension: str | None = None) -> Storage:
        """A namespace of an extension; the name may be left out where there is only one."""
        install = self._installs[self._find(extension).registry_id]
        return Storage(self._gateway, install, namespace)

    def page(
        self, extension: str | None = None, *, portal: str = "msp", user: str | None = None
    ) -> Page:
        """The page of an extension in a portal (`msp` or `client`).

        Raises KeyError where the portal does not show it, AssertionError where it is not served.
        """
        found = self._find(extension)
        url = found.portal_urls[portal]
        headers = {"accept": "text/html", **({"x-algaenv-user": user} if user else {})}
        around = ask(self._gateway.endpoint(), "GET", urlsplit(url).path, None, headers)
        assert not around.failed, f"the page around {found.name} answers {around.status}"  # noqa: S101
        parts = urlsplit(found.page_url)
        runner = replace(self._gateway.endpoint(), gateway=f"{parts.scheme}://{parts.netloc}")
        page = ask(runner, "GET", f"{parts.path}?{parts.query}", None, headers)
        assert not page.failed, f"the page of {found.name} answers {page.status}"  # noqa: S101
        return Page(url, found.page_url, page.body)

    @property
    def invoices(self) -> list[dict[str, Any]]:
        """What handlers have invoiced in the tenant, newest first."""
        found: list[dict[str, Any]] = self._gateway.request("GET", "/algaenv/invoices")["invoices"]
        return found

    def report(self) -> str:
        """The calls of the test for a person, with what the handlers did."""
        return "\n".join(it.report() for it in self.calls)

    def _find(self, name: str | None) -> Extension:
        __tracebackhide__ = True
        known = self.environment.extensions
        if name is None and len(known) == 1:
            (name,) = known
        if name is None or name not in known:
            raise KeyError(f"{name}: the spec has {', '.join(known) or 'no extension'}")
        return known[name]
