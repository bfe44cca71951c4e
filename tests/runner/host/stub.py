"""A real HTTP/1.1 server that keeps each request as it came over the wire."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedIOBase

Pairs = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request: its line, its headers in order, its body without framing."""

    method: str
    target: str
    headers: Pairs
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value.decode() for key, value in self.headers if key.lower() == name.encode()]

    def one(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    def names(self) -> set[str]:
        return {key.lower().decode() for key, _ in self.headers}

    def json(self) -> object:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class StubResponse:
    """An answer. `cut`: the connection ends in the middle of the body. `hang`: at `head`, or in
    the middle of the `body`, nothing comes any more until the client has left."""

    status: int = 200
    body: bytes = b""
    headers: Pairs = field(default_factory=list)
    cut: bool = False
    hang: str = ""
    chunks: int = 0
    """Send the body so often, chunked."""


class Stub:
    """`answer` decides; `asked` and `left` (who hung up while it hung) tell what happened."""

    def __init__(self) -> None:
        self.answer: Callable[[ReceivedRequest], StubResponse] = lambda asked: StubResponse()
        self.asked: list[ReceivedRequest] = []
        self.left = threading.Event()
        self.url = ""

    def respond_json(self, value: object = None, status: int = 200) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        self.answer = lambda asked: StubResponse(status, body)

    def respond(self, said: StubResponse) -> None:
        self.answer = lambda asked: said

    @property
    def last(self) -> ReceivedRequest:
        return self.asked[-1]


@contextmanager
def stub() -> Iterator[Stub]:
    peer = Stub()

    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            try:
                while (asked := _read(self.rfile)) is not None:
                    peer.asked.append(asked)
                    if not self._answer(asked, peer.answer(asked)):
                        return
            except OSError:
                return

        def _answer(self, asked: ReceivedRequest, said: StubResponse) -> bool:
            if said.hang == "head":
                self._hang()
                return False
            headers = list(said.headers)
            length = len(said.body) + (said.hang == "body")
            if said.chunks:
                headers.append((b"transfer-encoding", b"chunked"))
            elif said.status != 304:
                headers.append((b"content-length", b"%d" % length))
            head = b"HTTP/1.1 %d Reason\r\n" % said.status
            head += b"".join(name + b": " + value + b"\r\n" for name, value in headers)
            self.wfile.write(head + b"\r\n")
            if asked.method == "HEAD":
                return True
            if said.cut:
                self.wfile.write(said.body[: len(said.body) // 2])
                return False
            for _ in range(said.chunks):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(said.body), said.body))
            self.wfile.write(b"0\r\n\r\n" if said.chunks else said.body)
            if said.hang == "body":
                self._hang()
                return False
            return True

        def _hang(self) -> None:
            while self.rfile.read(1):
                pass
            peer.left.set()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that leaves early is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    peer.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _read(stream: BufferedIOBase) -> ReceivedRequest | None:
    line = stream.readline()
    if not line:
        return None
    method, target, _ = line.decode("latin-1").split(" ")
    headers: Pairs = []
    while (field_line := stream.readline().rstrip(b"\r\n")) != b"":
        name, _, value = field_line.partition(b":")
        headers.append((name, value.strip()))
    known = {name.lower(): value for name, value in headers}
    if known.get(b"transfer-encoding") == b"chunked":
        body = b""
        while size := int(stream.readline(), 16):
            body += stream.read(size)
            stream.readline()
        stream.readline()
    else:
        body = stream.read(int(known.get(b"content-length", 0)))
    return ReceivedRequest(method, target, headers, body)
