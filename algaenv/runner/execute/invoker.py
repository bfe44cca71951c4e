"""The stages of one call, in the order in which Alga's runner checks them, and its outcome.

The bundle, the capabilities, the secrets, the component, and only then the guest.

The response of `POST /v1/execute` has four keys always, and a fifth when a handler failed. The
outcome of a call is the `status` inside. The HTTP status is 200 even then, because the gateway
takes any other for a runner that is broken.
"""

from __future__ import annotations

import json
import re
import time
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from algaenv.runner.components.loaded import (
    NO_COMPONENT,
    BundleUnavailable,
    HandlerBundle,
    Handlers,
)
from algaenv.runner.execute.invocation import (
    CallTrace,
    Invocation,
    Timings,
    UnknownCapabilities,
    granted_capabilities,
)
from algaenv.runner.host.secret_envelope import SecretFailure
from algaenv.runner.observability.guest_log import EventOrigin
from algaenv.runner.observability.metrics import OutcomeLabel
from algaenv.runner.wasm.failure import FailureKind, GuestFailure, HostCall, advise
from algaenv.runner.wasm.runtime import RuntimeUnavailable

if TYPE_CHECKING:
    from algaenv.runner.execute.request_models import ExecuteRequest, GuestRequest
    from algaenv.runner.host.secret_envelope import SecretEnvelopes
    from algaenv.runner.observability.guest_log import GuestLog
    from algaenv.runner.wasm.runtime import LazyWasmRuntime, WasmRuntime


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_quote = json.encoder.encode_basestring_ascii
STAGES = ("queued", "load", "instantiate", "run", "waiting")
"""Of a call, as `Timings` has them."""

HINT = "x-algaenv-hint"
HOST_CALL = "x-algaenv-host-call"
TRACE = "x-algaenv-trace"
"""Of an answer, where calls are traced: its stages, host calls and number of messages."""
_MAX_TRACE_CHARS = 8_000
"""Of a header, with 256 KiB that the bundled gateway takes and 16 KiB that others may."""
RUNS_FROM = "x-algaenv-runs-from"
"""`source`, of a call whose handler is a script; see `algaenv.runner.components.shell`."""
_MAX_HEADER_CHARS = 500
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")


@dataclass(frozen=True, slots=True)
class InvocationOutcome:
    """How a call ended: what is sent, what it is called in logs, and whether it may be replayed."""

    document: bytes
    label: OutcomeLabel | FailureKind
    status: int
    error: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the HTTP response."""

    @property
    def answered(self) -> bool:
        """Whether the response, of any status, came from the handler itself."""
        return self.label is OutcomeLabel.ANSWERED


def handler_outcome(response: Mapping[str, object]) -> InvocationOutcome:
    """A handler's response, `{"status", "headers", "body"}`; of equal header names the last."""
    headers = response["headers"]
    body = response["body"]
    status = response["status"]
    assert isinstance(headers, list)  # noqa: S101
    assert isinstance(status, int)  # noqa: S101
    fields = {
        "status": status,
        "headers": {header["name"]: header["value"] for header in headers},
        "body_b64": b64encode(body).decode() if isinstance(body, bytes) else None,
        "error": None,
    }
    return InvocationOutcome(_bytes(fields), OutcomeLabel.ANSWERED, status)


def failed_outcome(status: int, error: str, label: OutcomeLabel) -> InvocationOutcome:
    """A call that did not come as far as a guest; `error` begins with one of Alga's words."""
    return InvocationOutcome(_bytes(_failure(status, error)), label, status, error)


def guest_failed_outcome(
    failure: GuestFailure,
    first: Sequence[str],
    stderr: Iterable[str],
    call: HostCall | None = None,
) -> InvocationOutcome:
    """A handler that did not answer, with all that is known of it under `failure`.

    `first` are the first lines of its stderr, `stderr` the last. Advice, which other runners do not
    give, goes into headers of the response.
    """
    advice = advise(failure, (*first, *stderr), call)
    error = f"execute_failed: {failure.message}"
    if advice.reason not in failure.message:
        error += f" ({advice.reason})"
    fields = _failure(500, error)
    fields["failure"] = {
        "kind": advice.kind,
        "reason": advice.reason,
        "causes": list(failure.causes),
        "stderr": list(stderr),
    }
    texts = {HINT: advice.hint, HOST_CALL: "" if call is None else call.text}
    headers = {name: _header_value(text) for name, text in texts.items() if text}
    return InvocationOutcome(_bytes(fields), advice.kind, 500, error, headers)


def trace_header(trace: CallTrace, timings: Timings) -> str:
    """JSON in ASCII: `times` in ms by stage, `lines`, `calls`, and how many `more` there were.

    A call is `[name, at ms, ms, bytes sent, bytes received, error, lines before, about]`.
    """
    # Written by hand: it is part of every call, and an encoder takes several times as long.
    times = ",".join(f'"{name}":{getattr(timings, name) * 1000:.2f}' for name in STAGES)
    calls, size = [], 0
    for one in trace.calls:
        text = (
            f"[{_quote(one.name)},{one.at * 1000:.2f},{one.seconds * 1000:.2f},{one.sent},"
            f"{one.received},{_quote(one.error)},{one.lines},{_quote(one.about)}]"
        )
        size += len(text) + 1
        if size > _MAX_TRACE_CHARS:
            break
        calls.append(text)
    more = trace.more + len(trace.calls) - len(calls)
    head = f'{{"times":{{{times}}},"lines":{trace.lines},"more":{more}'
    return f'{head},"calls":[{",".join(calls)}]}}'


def _header_value(text: str) -> str:
    """Text as the value of a header: printable ASCII of one line, of bounded length."""
    return _UNPRINTABLE.sub("?", text[:_MAX_HEADER_CHARS]).strip()


def _failure(status: int, error: str) -> dict[str, object]:
    return {"status": status, "headers": {}, "body_b64": None, "error": error}


def _bytes(fields: Mapping[str, object]) -> bytes:
    # A guest may return what is no valid text; its response must still be readable.
    return _encode(fields).encode(errors="replace")


DEFAULT_TIMEOUT_MS = 30_000
"""As the gateway asks for; Alga's runner ends a guest at once when nothing is asked for."""
MIN_TIMEOUT_MS = 10
MAX_TIMEOUT_MS = 24 * 3_600_000
DEFAULT_MEMORY_MB = 256
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Routing:
    """Whose bundle the headers say it is."""

    tenant: str
    extension: str
    http_by_gateway: bool = False
    """Whether the gateway wants to answer the HTTP requests of the handler."""


class Invoker:
    """Runs calls. Raises only ExecutorBusy, ExecutorClosed, and CancelledError."""

    def __init__(
        self,
        *,
        handlers: Handlers,
        envelopes: SecretEnvelopes,
        lazy_runtime: LazyWasmRuntime,
        guest_log: GuestLog,
        has_store: bool,
        traced: bool,
    ) -> None:
        """`traced`: outcomes have a header TRACE as soon as a handler was about to run."""
        self._handlers = handlers
        self._envelopes = envelopes
        self._lazy_runtime = lazy_runtime
        self._guest_log = guest_log
        self._has_store = has_store
        self._traced = traced

    async def run(
        self,
        routing: Routing,
        call: ExecuteRequest,
        timings: Timings,
        trace: CallTrace | None = None,
    ) -> InvocationOutcome:
        """Run one call; write down in `timings` what took how long, and in `trace` what it did."""
        try:
            runtime = await self._lazy_runtime.get()
        except RuntimeUnavailable as reason:
            return failed_outcome(500, f"engine_init_failed: {reason}", OutcomeLabel.ENGINE)
        if not self._has_store:
            return failed_outcome(
                500, "engine_init_failed: BUNDLE_STORE_BASE not configured", OutcomeLabel.ENGINE
            )
        try:
            bundle = await self._handlers.bundle(
                routing.tenant, routing.extension, call.context.content_hash
            )
        except BundleUnavailable as reason:
            return failed_outcome(502, f"bundle_fetch_failed: {reason}", OutcomeLabel.BUNDLE)
        if bundle.component is None:
            return failed_outcome(502, f"bundle_fetch_failed: {NO_COMPONENT}", OutcomeLabel.BUNDLE)
        try:
            grants = granted_capabilities(call.providers)
        except UnknownCapabilities as unknown:
            return failed_outcome(400, str(unknown), OutcomeLabel.CAPABILITY)
        invocation = self._invocation(call, grants, runtime, timings)
        invocation.script = bundle.script
        invocation.trace = trace or (CallTrace() if self._traced else None)
        invocation.http_by_gateway = routing.http_by_gateway
        outcome = await self._run_bundle(runtime, bundle, invocation, call)
        if self._traced and invocation.trace is not None:
            header = trace_header(invocation.trace, timings)
            outcome = replace(outcome, headers={**outcome.headers, TRACE: header})
        if bundle.script is None:
            return outcome
        return replace(outcome, headers={**outcome.headers, RUNS_FROM: "source"})

    async def _run_bundle(
        self,
        runtime: WasmRuntime,
        bundle: HandlerBundle,
        invocation: Invocation,
        call: ExecuteRequest,
    ) -> InvocationOutcome:
        origin = EventOrigin.of(invocation)
        try:
            invocation.secrets = await self._envelopes.resolve(call.secret_envelope, call.context)
        except SecretFailure as failure:
            self._guest_log.secrets_failed(origin, failure.detail)
            return failed_outcome(500, "secret_decrypt_failed", OutcomeLabel.SECRETS)
        if invocation.trace is not None and invocation.secrets:
            invocation.trace.secrets = invocation.secrets.values()
        try:
            return await self._call(runtime, bundle, invocation, call)
        except GuestFailure as failure:
            self._guest_log.execute_failed(origin, failure.causes)
            words = (invocation.first_stderr, invocation.last_stderr)
            return guest_failed_outcome(failure, *words, _host_call(invocation))

    async def _call(
        self,
        runtime: WasmRuntime,
        bundle: HandlerBundle,
        invocation: Invocation,
        call: ExecuteRequest,
    ) -> InvocationOutcome:
        started = time.perf_counter()
        guest = await self._handlers.guest(bundle, runtime)
        invocation.timings.load = time.perf_counter() - started
        timeout = call.limits.timeout_ms
        timeout = DEFAULT_TIMEOUT_MS if timeout is None else max(timeout, MIN_TIMEOUT_MS)
        memory = call.limits.memory_mb
        memory = DEFAULT_MEMORY_MB if memory is None else memory
        # From here on: what is fetched and compiled once is not the guest's to pay for.
        invocation.deadline = time.monotonic() + min(timeout, MAX_TIMEOUT_MS) / 1000

        def perform() -> InvocationOutcome:
            request = _request(invocation, call.http)
            return handler_outcome(guest.call(invocation, request, memory_bytes=memory * _MIB))

        return await runtime.executor.run(perform, invocation)

    def _invocation(
        self, call: ExecuteRequest, grants: frozenset[str], runtime: WasmRuntime, timings: Timings
    ) -> Invocation:
        context = call.context
        return Invocation(
            request_id=context.request_id,
            tenant=context.tenant_id,
            extension=context.extension_id,
            install=context.install_id,
            version=context.version_id,
            capabilities=grants,
            secrets=None,
            user=call.user,
            deadline=float("inf"),
            wait=runtime.executor.waiter(),
            listener=self._guest_log,
            timings=timings,
        )


def _host_call(invocation: Invocation) -> HostCall | None:
    if invocation.last_host_call is None:
        return None
    function, error = invocation.last_host_call
    return HostCall(function, None if error is None else str(error), invocation.reason)


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
    query = "&".join(
        f"{_form_encode(name)}={_form_encode(value)}" for name, value in http.query.items()
    )
    return f"{http.path}{'&' if '?' in http.path else '?'}{query}"


def _form_encode(text: str) -> str:
    """As browsers encode a form; Python's own way differs in two characters."""
    return quote_plus(text, safe="*", errors="replace").replace("~", "%7E")


def _body(text: str) -> bytes:
    try:
        return b64decode(text.strip(), validate=True)
    except (NotBase64, ValueError) as error:
        message = f"invalid body base64: {error}"
        raise GuestFailure(FailureKind.REQUEST, message) from None
