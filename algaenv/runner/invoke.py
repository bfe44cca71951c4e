"""What one call goes through, in the order in which Alga's runner finds fault with it.

The bundle, the capabilities, the secrets, the component, and only then the guest.
"""

from __future__ import annotations

import time
from base64 import b64decode
from binascii import Error as NotBase64
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from algaenv.runner.capabilities.envelope import SecretFailure
from algaenv.runner.capabilities.grants import UnknownCapabilities, granted
from algaenv.runner.components import NO_COMPONENT, Bundle, Components, NoBundle
from algaenv.runner.engine import NoEngine
from algaenv.runner.envelope import Outcome, answered, execute_failed, failed
from algaenv.runner.guestlog.event import Origin
from algaenv.runner.invocation import Invocation, Spent
from algaenv.runner.metrics.labels import Outcome as Label
from algaenv.runner.wasm.advice import HostCall
from algaenv.runner.wasm.failure import GuestFailure, Kind

if TYPE_CHECKING:
    from algaenv.runner.call import Call, GuestRequest
    from algaenv.runner.capabilities.envelope import Envelopes
    from algaenv.runner.engine import Engine, Works
    from algaenv.runner.guestlog.log import GuestLog

DEFAULT_TIMEOUT_MS = 30_000
"""As the gateway asks for; Alga's runner ends a guest at once when nothing is asked for."""
LEAST_TIMEOUT_MS = 10
MOST_TIMEOUT_MS = 24 * 3_600_000
DEFAULT_MEMORY_MB = 256
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Routing:
    """Whose bundle the headers say it is."""

    tenant: str
    extension: str


class Invoker:
    """Runs calls. Raises nothing but Busy, Closed, and CancelledError when the caller has left."""

    def __init__(
        self,
        *,
        components: Components,
        envelopes: Envelopes,
        engine: Engine,
        log: GuestLog,
        has_store: bool,
    ) -> None:
        self._components = components
        self._envelopes = envelopes
        self._engine = engine
        self._log = log
        self._has_store = has_store

    async def run(self, routing: Routing, call: Call, spent: Spent) -> Outcome:
        """Run one call, and write down in `spent` what took how long."""
        try:
            works = await self._engine.works()
        except NoEngine as reason:
            return failed(500, f"engine_init_failed: {reason}", Label.ENGINE)
        if not self._has_store:
            return failed(500, "engine_init_failed: BUNDLE_STORE_BASE not configured", Label.ENGINE)
        try:
            bundle = await self._components.bundle(
                routing.tenant, routing.extension, call.context.content_hash
            )
        except NoBundle as why:
            return failed(502, f"bundle_fetch_failed: {why}", Label.BUNDLE)
        if bundle.component is None:
            return failed(502, f"bundle_fetch_failed: {NO_COMPONENT}", Label.BUNDLE)
        try:
            grants = granted(call.providers)
        except UnknownCapabilities as unknown:
            return failed(400, str(unknown), Label.CAPABILITY)
        invocation = self._invocation(call, grants, works, spent)
        origin = Origin.of(invocation)
        try:
            invocation.secrets = await self._envelopes.resolve(call.secret_envelope, call.context)
        except SecretFailure as failure:
            self._log.secrets_failed(origin, failure.detail)
            return failed(500, "secret_decrypt_failed", Label.SECRETS)
        try:
            return await self._call(works, bundle, invocation, call)
        except GuestFailure as failure:
            self._log.execute_failed(origin, failure.causes)
            words = (invocation.first_words, invocation.last_words)
            return execute_failed(failure, *words, _host_call(invocation))

    async def _call(
        self, works: Works, bundle: Bundle, invocation: Invocation, call: Call
    ) -> Outcome:
        started = time.perf_counter()
        guest = await self._components.guest(bundle, works)
        invocation.spent.load = time.perf_counter() - started
        timeout = call.limits.timeout_ms
        timeout = DEFAULT_TIMEOUT_MS if timeout is None else max(timeout, LEAST_TIMEOUT_MS)
        memory = call.limits.memory_mb
        memory = DEFAULT_MEMORY_MB if memory is None else memory
        # From here on: what is fetched and compiled once is not the guest's to pay for.
        invocation.deadline = time.monotonic() + min(timeout, MOST_TIMEOUT_MS) / 1000

        def perform() -> Outcome:
            request = _request(invocation, call.http)
            return answered(guest.call(invocation, request, memory_bytes=memory * _MIB))

        return await works.lanes.run(perform, invocation)

    def _invocation(
        self, call: Call, grants: frozenset[str], works: Works, spent: Spent
    ) -> Invocation:
        context = call.context
        return Invocation(
            request_id=context.request_id,
            tenant=context.tenant_id,
            extension=context.extension_id,
            install=context.install_id,
            version=context.version_id,
            granted=grants,
            secrets=None,
            user=call.user,
            deadline=float("inf"),
            wait=works.lanes.waiter(),
            listener=self._log,
            spent=spent,
        )


def _host_call(invocation: Invocation) -> HostCall | None:
    if invocation.asked is None:
        return None
    function, error = invocation.asked
    return HostCall(function, None if error is None else str(error), invocation.why)


def _request(invocation: Invocation, http: GuestRequest) -> dict[str, object]:
    """The argument of `handler`. Raises GuestFailure where the body is not base64."""
    return {
        "context": {
            "request_id": invocation.request_id,
            "tenant_id": invocation.tenant,
            "extension_id": invocation.extension,
            "install_id": invocation.install,
            "version_id": invocation.version,
        },
        "http": {
            "method": http.method,
            "url": _url(http),
            "headers": [{"name": name, "value": value} for name, value in http.headers.items()],
            "body": None if http.body_b64 is None else _body(http.body_b64),
        },
    }


def _url(http: GuestRequest) -> str:
    if not http.query:
        return http.path
    query = "&".join(f"{_form(name)}={_form(value)}" for name, value in http.query.items())
    return f"{http.path}{'&' if '?' in http.path else '?'}{query}"


def _form(text: str) -> str:
    """As browsers encode a form; Python's own way differs in two characters."""
    return quote_plus(text, safe="*", errors="replace").replace("~", "%7E")


def _body(text: str) -> bytes:
    try:
        return b64decode(text.strip(), validate=True)
    except (NotBase64, ValueError) as error:
        message = f"invalid body base64: {error}"
        raise GuestFailure(Kind.REQUEST, message) from None
