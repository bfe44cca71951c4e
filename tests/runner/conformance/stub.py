"""HTTP servers that play the runner's peers: they answer as a case says, and remember everything.

Cases of one run share the servers, so each case answers for a token of its own: a name that stands
in the target of the requests it causes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """What a peer was asked, as it was on the wire."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    def header(self, name: str) -> str | None:
        """The first value of a header, by its name in lower case."""
        return next(iter(self.all(name)), None)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a peer answers: after `wait` seconds, and only half of it when it is `cut`."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    wait: float = 0
    cut: bool = False


Answer = Reply | Callable[[Request], Reply]


def said(fields: object, status: int = 200, *, wait: float = 0) -> Reply:
    """A JSON document."""
    kind = (("content-type", "application/json"),)
    return Reply(status, json.dumps(fields).encode(), kind, wait)


class Stub:
    """One server. What nobody has answered for is a 404."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.closing = threading.Event()
        self._seen: list[Request] = []
        self._answers: list[tuple[str, list[Answer]]] = []

    @property
    def authority(self) -> str:
        return urlsplit(self.url).netloc

    def on(self, token: str, *answers: Answer) -> None:
        """Answer requests whose target holds the token; the last answer is given for ever."""
        self._answers.append((token, list(answers)))

    def seen(self, token: str) -> list[Request]:
        """The requests whose target holds the token."""
        return [request for request in self._seen if token in request.target]

    def forget(self) -> None:
        """Forget requests and answers of cases that are over."""
        self._seen.clear()
        self._answers.clear()

    def answer(self, request: Request) -> Reply:
        self._seen.append(request)
        for token, answers in reversed(self._answers):
            if token in request.target:
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                return answer if isinstance(answer, Reply) else answer(request)
        return Reply(404)


@contextmanager
def stub(host: str, port: int, shown: str) -> Iterator[Stub]:
    """Serve on `host:port` (0: any); `shown` is the host name that others know it by."""
    holder: list[Stub] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def respond(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(size)
            peer = holder[0]
            request = Request(self.command, self.path, tuple(self.headers.items()), body)
            reply = peer.answer(request)
            peer.closing.wait(reply.wait)
            self.send_response_only(reply.status)
            for name, value in reply.headers:
                self.send_header(name, value)
            if reply.status >= 200 and reply.status not in {204, 304}:
                self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body[: len(reply.body) // 2] if reply.cut else reply.body)
            self.close_connection = self.close_connection or reply.cut

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = respond

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self.respond
            raise AttributeError(name)

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that leaves early is no news."""

    server = Server((host, port), Handler)
    holder.append(Stub(f"http://{shown}:{server.server_port}"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield holder[0]
    finally:
        holder[0].closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
