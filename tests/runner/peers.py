"""Real HTTP servers that stand where a file server and the application server would stand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request that came in."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class PeerResponse:
    """What is answered; `cut` closes the connection before the body is complete."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


Answer = Callable[[ReceivedRequest], PeerResponse]


class Peer:
    """A server on a free port whose answers a test decides."""

    def __init__(self, server: ThreadingHTTPServer, answer: Answer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.answer = answer
        self.asked: list[ReceivedRequest] = []

    def reset(self, answer: Answer) -> None:
        """Forget what a test before this one asked, and answer like this."""
        self.asked = []
        self.answer = answer

    def respond_json(self, fields: object, status: int = 200) -> None:
        body = json.dumps(fields).encode()
        self.answer = lambda asked: PeerResponse(status, body)

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]


@contextmanager
def peer(answer: Answer) -> Iterator[Peer]:
    holder: list[Peer] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked = ReceivedRequest(
                parts.path,
                dict(parse_qsl(parts.query)),
                {name.lower(): value for name, value in self.headers.items()},
            )
            holder[0].asked.append(asked)
            text = holder[0].answer(asked)
            self.send_response(text.status)
            for name, value in text.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(text.body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(text.body[: len(text.body) // 2] if text.cut else text.body)
            self.close_connection = text.cut

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that leaves early is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    holder.append(Peer(server, answer))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield holder[0]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Files:
    """What a file server holds, and who asked for it."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.before: Callable[[], object] = lambda: None
        """Runs before each answer: a test may wait or fail here."""

    def answer(self, asked: ReceivedRequest) -> PeerResponse:
        self.before()
        body = self.objects.get(asked.path.lstrip("/"))
        return PeerResponse(404) if body is None else PeerResponse(body=body)
