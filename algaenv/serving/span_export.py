"""Sends spans to an OpenTelemetry collector, by OTLP over HTTP, from a thread in the background.

    SpanExporter.add -> queue -> thread -> POST …/v1/traces

No call waits for the collector. The queue is bounded: while nothing can be sent, new spans are
dropped and counted. One warning says that a collector does not take spans, and one line that it
does again.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from algaenv.serving.spans import Span, export_request

if TYPE_CHECKING:
    import httpx

TRACES_PATH = "/v1/traces"
MAX_QUEUE_BYTES = 8 * 1024 * 1024
"""What all waiting spans may take, about: 8,000 without events."""
BATCH_SPANS = 512
LINGER_SECONDS = 1.0
"""For more spans to come that are sent together."""
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
MAX_ATTEMPTS = 5
MAX_RETRY_SECONDS = 4.0
"""Between two attempts to send the same spans."""
CLOSE_SECONDS = 1.5
"""For what waits at the end of the service."""

_TRY_AGAIN = frozenset((429, 502, 503, 504))
_SUCCESS = range(200, 300)
_MAX_ANSWER_BYTES = 64 * 1024
_HINT = (
    "see that a collector takes OTLP over HTTP at otel.endpoint, usually on port 4318 (4317 is "
    "gRPC); for containers it must listen on more than 127.0.0.1"
)

_log = logging.getLogger(__name__)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """Where spans go, and what they say of the service."""

    url: str
    """Of traces: with its path."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    resource: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, env: Mapping[str, str], service: str) -> ExportSettings | None:
        """Read the variables of the OpenTelemetry standard; None where no endpoint is named.

        `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`,
        `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME` (else `service`),
        `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SDK_DISABLED`. Raises ValueError; its text names the
        variable and no value.
        """
        if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return None
        name = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
        url = env.get(name, "").strip()
        if not url:
            name = "OTEL_EXPORTER_OTLP_ENDPOINT"
            if not (base := env.get(name, "").strip()):
                return None
            url = base.rstrip("/") + TRACES_PATH
        if not _is_http_url(url):
            raise ValueError(f"{name} is not an http(s) URL")
        headers = _pairs(env, "OTEL_EXPORTER_OTLP_HEADERS")
        if not all(name.isascii() and _is_header_value(text) for name, text in headers.items()):
            raise ValueError("OTEL_EXPORTER_OTLP_HEADERS holds what no header may")
        resource = _pairs(env, "OTEL_RESOURCE_ATTRIBUTES")
        resource["service.name"] = (
            env.get("OTEL_SERVICE_NAME", "").strip() or resource.get("service.name") or service
        )
        return cls(url, headers, resource)


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_header_value(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _pairs(env: Mapping[str, str], variable: str) -> dict[str, str]:
    """`name=value,name=value`, the values percent-encoded. Raises ValueError."""
    found = {}
    for pair in filter(None, map(str.strip, env.get(variable, "").split(","))):
        name, mark, text = pair.partition("=")
        if not (mark and name.strip()):
            raise ValueError(f"{variable} is not a list of name=value")
        found[name.strip()] = unquote(text.strip())
    return found


class SpanExporter:
    """Takes spans from any thread, and sends them. Never blocks, never fails."""

    def __init__(
        self, settings: ExportSettings, on_drop: Callable[[int], None] = lambda _: None
    ) -> None:
        """`on_drop` is called with the number of spans that will not be sent, from any thread."""
        self._settings = settings
        self._on_drop = on_drop
        self._queue: deque[Span] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self._available = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._client: httpx.Client | None = None
        self._failing = False
        self.dropped = 0
        """Spans that were not sent and never will be."""

    def add(self, *spans: Span) -> None:
        """Have spans sent that their trace wants; those that find no room are dropped."""
        dropped = 0
        spans = tuple(it for it in spans if it.context.sampled)
        if not spans:
            return
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
                self._thread.start()
            for span in spans:
                if self._closed.is_set() or self._bytes > MAX_QUEUE_BYTES:
                    dropped += 1
                    continue
                self._queue.append(span)
                self._bytes += span.size
        if dropped:
            self._drop(dropped)
        self._available.set()

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Send what waits, and end; after so long, drop the rest. Blocks."""
        self._closed.set()
        self._available.set()
        if self._thread is not None:
            self._thread.join(seconds)
        with self._lock:
            left = len(self._queue)
            self._queue.clear()
        if left:
            self._drop(left)
        if self.dropped:
            fields = {"spans": self.dropped}
            _log.warning("spans were dropped", extra={"fields": fields})

    def _drop(self, number: int) -> None:
        with self._lock:
            self.dropped += number
        self._on_drop(number)

    def _run(self) -> None:
        while True:
            self._available.wait()
            if len(self._queue) < BATCH_SPANS:
                self._closed.wait(LINGER_SECONDS)
            with self._lock:
                batch = [self._queue.popleft() for _ in range(min(BATCH_SPANS, len(self._queue)))]
                self._bytes -= sum(it.size for it in batch)
                if not self._queue:
                    self._available.clear()
                    if self._closed.is_set():
                        self._available.set()
            if batch:
                self._send(batch)
            elif self._closed.is_set():
                break
        if self._client is not None:
            self._client.close()

    def _send(self, spans: list[Span]) -> None:
        content = _encode(export_request(self._settings.resource, spans)).encode()
        pause = 0.5
        for attempt in range(MAX_ATTEMPTS):
            reason, again = self._post(content)
            if not reason:
                if self._failing:
                    self._failing = False
                    fields = {"dropped": self.dropped}
                    _log.info("spans are sent again", extra={"fields": fields})
                return
            self._warn(reason)
            if not again or attempt == MAX_ATTEMPTS - 1 or self._closed.wait(pause):
                break
            pause = min(pause * 2, MAX_RETRY_SECONDS)
        self._drop(len(spans))

    def _post(self, content: bytes) -> tuple[str, bool]:
        """Send a batch; returns why it was not taken, and whether to try again."""
        import httpx

        try:
            if self._client is None:
                timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
                self._client = httpx.Client(timeout=timeout)
            headers = {"content-type": "application/json", **self._settings.headers}
            request = self._client.build_request(
                "POST", self._settings.url, content=content, headers=headers
            )
            response = self._client.send(request, stream=True)
            try:
                if response.status_code in _SUCCESS:
                    self._count_rejected(_beginning(response))
                    return "", False
                status = response.status_code
                reason = f"it answers {status} {response.reason_phrase}".rstrip()
                return reason, status in _TRY_AGAIN
            finally:
                response.close()
        except httpx.HTTPError as error:
            return f"{type(error).__name__}: {error}".rstrip(": "), True
        except Exception as error:
            # An unexpected error of the library must not end the thread.
            return type(error).__name__, False

    def _count_rejected(self, answer: bytes) -> None:
        """Count the spans that the collector says it did not take."""
        try:
            rejected = int(json.loads(answer)["partialSuccess"]["rejectedSpans"])
        except (ValueError, LookupError, TypeError):
            return
        if rejected > 0:
            self._drop(rejected)

    def _warn(self, reason: str) -> None:
        if self._failing:
            return
        self._failing = True
        parts = urlsplit(self._settings.url)
        # What stands before an @, and a query, may be a password.
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        fields = {"url": shown, "why": reason[:300], "hint": _HINT}
        _log.warning("cannot send spans", extra={"fields": fields})


def _beginning(response: httpx.Response) -> bytes:
    import httpx

    content = b""
    # The spans were taken, however the answer ends.
    with suppress(httpx.HTTPError):
        for piece in response.iter_bytes():
            content += piece
            if len(content) > _MAX_ANSWER_BYTES:
                break
    return content
