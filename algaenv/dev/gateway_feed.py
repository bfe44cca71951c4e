"""What happens in a gateway: its events, and the logs of guests, as they come."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

if TYPE_CHECKING:
    from http.client import HTTPResponse

EVENTS: Final = "/algaenv/events"
GUEST_LOG: Final = "/api/ext-debug/stream"
MAX_EXTENSIONS: Final = 16
"""Extensions whose guest logs are followed: each takes a connection."""
_CONNECT_SECONDS: Final = 5.0
_SILENCE_SECONDS: Final = 60.0
"""A gateway that sends nothing for so long may be gone: connect anew."""
_PAUSE_SECONDS: Final = 1.0
_REFUSED_SECONDS: Final = 15.0
_MAX_LINE_BYTES: Final = 1 << 20

GatewayEvent = Mapping[str, Any]


class GatewayFeed:
    """Calls `take` with each event, from threads; connects again when a stream is cut.

    A line that a guest logs is an event `guest-log` with `extension`, `level`, `stream`, `message`,
    `request_id`, `ts` (Unix time in ms, as text) and `truncated`. `tail` is how many lines of the
    past come first, for each extension.
    """

    def __init__(self, take: Callable[[GatewayEvent], None], tail: int = 20) -> None:
        self._take = take
        self._tail = tail
        self._stop = threading.Event()
        self._followed: tuple[str, tuple[str, ...]] = ("", ())

    def follow(self, url: str, registry_ids: Sequence[str]) -> None:
        """Follow the gateway at this URL from now on, and the guests of these extensions."""
        wanted = (url, tuple(sorted(registry_ids))[:MAX_EXTENSIONS])
        if wanted == self._followed:
            return
        self.stop()
        self._followed = wanted
        self._stop = threading.Event()
        streams = [_Stream(url, EVENTS, {}, _as_it_is)]
        for id_ in wanted[1]:
            query = {"extensionId": id_, "tail": str(self._tail)}
            streams.append(_Stream(url, GUEST_LOG, query, partial(_guest_log, registry_id=id_)))
        for stream in streams:
            threading.Thread(
                target=stream.run, args=(self._take, self._stop), name="gateway feed", daemon=True
            ).start()

    def stop(self) -> None:
        """Take nothing any more."""
        self._stop.set()
        self._followed = ("", ())


class _Stream:
    """One stream of events; begins again after the last one that came."""

    def __init__(
        self,
        url: str,
        path: str,
        query: Mapping[str, str],
        read: Callable[[GatewayEvent], GatewayEvent],
    ) -> None:
        self._url = urlsplit(url)
        self._path = path
        self._query = query
        self._read = read
        self._last = ""

    def run(self, take: Callable[[GatewayEvent], None], stop: threading.Event) -> None:
        """Until `stop` is set."""
        from http.client import HTTPException

        while not stop.is_set():
            pause = _PAUSE_SECONDS
            with contextlib.suppress(OSError, HTTPException, ValueError):
                for event in self._events():
                    if stop.is_set():
                        return
                    take(self._read(event))
                pause = _PAUSE_SECONDS if self._last else _REFUSED_SECONDS
            stop.wait(pause)

    def _events(self) -> Iterator[GatewayEvent]:
        from http.client import HTTPConnection, HTTPSConnection

        parts = self._url
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=_CONNECT_SECONDS)
        target = parts.path.rstrip("/") + self._path
        if self._query:
            target += f"?{urlencode(self._query)}"
        headers = {"last-event-id": self._last} if self._last else {}
        try:
            connection.request("GET", target, headers=headers)
            line = connection.sock
            response = connection.getresponse()
            if response.headers.get_content_type() == "text/event-stream":
                line.settimeout(_SILENCE_SECONDS)
                yield from self._messages(response)
        finally:
            connection.close()

    def _messages(self, response: HTTPResponse) -> Iterator[GatewayEvent]:
        while line := response.readline(_MAX_LINE_BYTES):
            if line.startswith(b"id:"):
                self._last = line[len(b"id:") :].decode(errors="replace").strip()
            elif line.startswith(b"data:") and line.endswith(b"\n"):
                event = json.loads(line[len(b"data:") :])
                if isinstance(event, dict):
                    yield event


def _as_it_is(event: GatewayEvent) -> GatewayEvent:
    return event


def _guest_log(entry: GatewayEvent, registry_id: str) -> GatewayEvent:
    """An entry of the debug stream, as an event of the gateway would be."""
    return {
        "type": "guest-log",
        "extension": registry_id,
        "at": time.time() * 1000,
        "level": str(entry.get("level", "")),
        "message": str(entry.get("message", "")),
        "request_id": str(entry.get("requestId", "")),
        "stream": str(entry.get("stream", "")),
        "ts": str(entry.get("ts", "")),
        "truncated": entry.get("truncated") is True,
    }
