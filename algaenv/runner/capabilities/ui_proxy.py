"""`ui-proxy`: what the extension's own pages could ask, asked by its handler."""

from __future__ import annotations

import logging

from algaenv.runner.capabilities import grants
from algaenv.runner.capabilities.exchange import NoAnswer, Question, exchange
from algaenv.runner.capabilities.head import BadHeader, pair
from algaenv.runner.capabilities.peers import Peers
from algaenv.runner.capabilities.route import BadRoute, address
from algaenv.runner.invocation import Invocation
from algaenv.runner.outbound import Outbound
from algaenv.runner.wasm.values import Err

_log = logging.getLogger(__name__)

API_KEY = "api_key"
"""The secret that goes along as `x-api-key`, whether or not the handler may read secrets."""

_NAMES = {401: "denied", 403: "denied", 429: "denied", 404: "route-not-found"}


class UiProxy:
    """Asks the base that the environment names, in the name of the tenant and the user."""

    def __init__(self, peers: Peers, outbound: Outbound) -> None:
        self._base = peers.ui_proxy
        self._seconds = peers.ui_proxy_seconds
        self._outbound = outbound

    def call_route(self, invocation: Invocation, route: str, payload: bytes | None) -> bytes | Err:
        """The body of the answer; GET without a payload, POST with one."""
        if grants.UI_PROXY not in invocation.granted:
            return Err("denied")
        if self._base is None:
            return Err("route-not-found")
        try:
            question = Question(
                "GET" if payload is None else "POST",
                address(self._base, invocation.extension, route),
                _headers(invocation, has_payload=payload is not None),
                payload,
            )
            answer = invocation.wait(exchange(self._outbound, question, seconds=self._seconds))
        except BadRoute:
            return Err("bad-request")
        except BadHeader:
            return _failed(invocation, "a header that cannot be sent")
        except NoAnswer as silence:
            return _failed(invocation, str(silence))
        if not answer.whole:
            return _failed(invocation, "cut short")
        if answer.fine:
            return answer.body
        other = "bad-request" if 400 <= answer.status < 500 else "internal"
        return Err(_NAMES.get(answer.status, other))


def _headers(invocation: Invocation, *, has_payload: bool) -> tuple[tuple[bytes, bytes], ...]:
    user = invocation.user
    wanted = {
        "accept": "*/*",
        "x-request-id": invocation.request_id or "ui-proxy-call",
        "x-alga-tenant": invocation.tenant,
        "x-alga-extension": invocation.extension,
        "x-ext-install-id": invocation.install,
        "x-ext-version-id": invocation.version,
        "x-api-key": (invocation.secrets or {}).get(API_KEY),
        "x-user-id": user.user_id if user else None,
        "x-user-email": user.user_email if user else None,
        "content-type": "application/json" if has_payload else None,
    }
    return tuple(pair(name, value) for name, value in wanted.items() if value is not None)


def _failed(invocation: Invocation, why: str) -> Err:
    fields = {
        "request_id": invocation.request_id,
        "tenant": invocation.tenant,
        "extension": invocation.extension,
        "why": why,
    }
    _log.warning("ui_proxy error", extra={"fields": fields})
    return Err("internal")
