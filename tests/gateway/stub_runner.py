"""A runner whose answers a test decides, over real HTTP."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class ReceivedCall:
    """A request that came in, header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class StubResponse:
    """What is answered after `seconds`; a hop-by-hop header may be among the headers.

    With `drop` the connection is closed instead.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(
        default_factory=lambda: {"content-type": "application/json", "etag": '"runner"'}
    )
    drop: bool = False
    seconds: float = 0.0


def envelope(
    status: int = 200,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    error: str | None = None,
    **more: object,
) -> StubResponse:
    """The response of a runner for a handler."""
    fields = {
        "status": status,
        "headers": dict(headers or {}),
        "body_b64": None if body is None else base64.b64encode(body).decode(),
        "error": error,
        **more,
    }
    return StubResponse(body=json.dumps(fields).encode())


class StubRunner:
    """A server on a free port."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.answer: Callable[[ReceivedCall], StubResponse] = lambda asked: envelope(200, b"{}")
        self.asked: list[ReceivedCall] = []

    def respond_with(self, response: StubResponse) -> None:
        self.answer = lambda asked: response

    @property
    def last(self) -> ReceivedCall:
        return self.asked[-1]


@contextmanager
def start_stub_runner() -> Iterator[StubRunner]:
    """Run one."""
    holder: list[StubRunner] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            named = {name.lower(): value for name, value in self.headers.items()}
            asked = ReceivedCall(self.command, self.path, named, body)
            holder[0].asked.append(asked)
            response = holder[0].answer(asked)
            if response.drop:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if response.seconds:
                time.sleep(response.seconds)
            self.send_response_only(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            if "content-length" not in response.headers:
                self.send_header("content-length", str(len(response.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.body)

        do_POST = do_HEAD = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that leaves early is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    holder.append(StubRunner(server.server_port))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield holder[0]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
