"""HTTP requests that no client would send, as bytes; and a look at how a service takes them.

`ALGAENV_FUZZ_SECONDS` makes the tests go on for so long (`make test-fuzz`); otherwise each sends
a fixed number of requests. `ALGAENV_FUZZ_SEED` repeats a run.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.runner.service import Service

REQUESTS = 300
SEED = int(os.environ.get("ALGAENV_FUZZ_SEED", "17"))

_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"get", b"X" * 40)
_NAMES = (
    b"host", b"origin", b"referer", b"cookie", b"accept", b"accept-language", b"accept-encoding",
    b"user-agent", b"range", b"if-none-match", b"if-modified-since", b"content-type",
    b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade", b"te",
    b"sec-fetch-site", b"sec-fetch-mode", b"x-request-id", b"x-tenant-id", b"x-alga-tenant",
    b"x-alga-extension", b"x-algaenv-user", b"x-idempotency-key", b"x-runner-auth", b"x-api-key",
    b"x-runner-service-token", b"last-event-id",
)  # fmt: skip
_VALUES = (
    b"", b" ", b"a", b"*", b"null", b"http://[", b"http://[::1", b"http://localhost:99999",
    b"localhost:-1", b"[::1]:80", b"http://\xe9", b"\xff\xfe", b"\xc3\xa9", b"a, b, c", b"bytes=0-",
    b"bytes=-1,5-2", b'W/"x"', b"text/html;q=nan", b"application/json", b"application/x-www-form-"
    b"urlencoded", b"multipart/form-data; boundary=x", b"chunked", b"0", b"-1", b"1e9", b"\xb2",
    b"99999999999999999999", b"100-continue", b"websocket", b"cross-site", b"a=b; c", b'"\x80"',
    b"gzip;q=\xff", b"x" * 3000, b"%00", b"../..", b"application/problem+json",
)  # fmt: skip
_SEGMENTS = (
    b"", b".", b"..", b"%2e%2e", b"%2F", b"%00", b"%0a", b"%ff", b"%C3%A9", b"%", b"%zz", b"a b",
    b"\xe9", b"*", b"~", b"'", b"x" * 5000, b"sha256:", b"sha256:" + b"0" * 64, b"index.html",
    b"\\", b"a;b", b"{x}", b"[", b"http:", b"//",
)  # fmt: skip
_QUERIES = (
    b"", b"?", b"?a=1&a=2", b"?%", b"?tenant=%ff", b"?__user=%ff", b"?__method=%E9",
    b"?tenant=&path",
    b"?" + b"a&" * 3000, b"?x=\xe9", b"?=;&&==", b"?since=-1&limit=1e99",
    b"?tail=99999999999999999",
)  # fmt: skip
_BODIES = (
    b"", b"{", b"{}", b"[]", b"null", b'"\\ud800"', b"\xff", b"[" * 5000, b'{"a":' * 3000,
    b'{"context":{}}', b'{"operation":"get"}', b'{"content_hash":"\\u0000"}', b"1e999", b"NaN",
    b'{"__method":"\\ud800"}', b'{"operation":"put","namespace":"\\u0000","key":1}',
    b'{"operation":"list","limit":-1,"cursor":"\\ud800"}', b"x" * 70_000,
    b'{"http":[],"context":[]}',
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Taken:
    """What came back for a request: the status, or None when the connection was closed."""

    request: bytes
    status: int | None


def fuzz(service: Service, paths: Sequence[bytes]) -> Iterator[Taken]:
    """Send requests at and below `paths`, over connections of their own."""
    dice = random.Random(SEED)
    seconds = float(os.environ.get("ALGAENV_FUZZ_SECONDS", "0"))
    until = time.monotonic() + seconds
    sent = 0
    while sent < REQUESTS or time.monotonic() < until:
        request = made(dice, paths)
        sent += 1
        yield Taken(request, ask(service.port, request))


def made(dice: random.Random, paths: Sequence[bytes]) -> bytes:
    """One request."""
    path = dice.choice(paths)
    for _ in range(dice.choice((0, 0, 1, 2))):
        path = path.rstrip(b"/") + b"/" + dice.choice(_SEGMENTS)
    path += dice.choice(_QUERIES) if dice.random() < 0.3 else b""
    method = dice.choice(_METHODS) if dice.random() < 0.5 else dice.choice((b"GET", b"POST"))
    lines = [method + b" " + path + dice.choice((b" HTTP/1.1",) * 9 + (b" HTTP/1.0",))]
    if dice.random() < 0.9:
        lines.append(b"host: 127.0.0.1")
    for _ in range(dice.choice((0, 1, 1, 2, 4))):
        name = dice.choice(_NAMES)
        header = name + b": " + dice.choice(_VALUES)
        lines += [header] * dice.choice((1, 1, 1, 2, 40))
    body = dice.choice(_BODIES) if method not in (b"GET", b"HEAD") else b""
    if body or dice.random() < 0.1:
        if dice.random() < 0.8:
            lines.append(b"content-type: application/json")
        lines.append(b"content-length: %d" % len(body))
    request = b"\r\n".join(lines) + b"\r\n\r\n" + body
    if dice.random() < 0.1:
        at = dice.randrange(len(request))
        request = request[:at] + bytes([dice.randrange(256)]) + request[at + 1 :]
    if dice.random() < 0.05:
        request = request[: dice.randrange(len(request))]
    return request


def ask(port: int, request: bytes, seconds: float = 20.0) -> int | None:
    """Send a request, say that no more will come, and read the status of the answer."""
    with socket.create_connection(("127.0.0.1", port), seconds) as link:
        try:
            link.sendall(request)
            link.shutdown(socket.SHUT_WR)
            head = b""
            while b"\r\n" not in head and (more := link.recv(4096)):
                head += more
        except ConnectionError:
            return None
    words = head.split(b" ", 2)
    return int(words[1]) if head.startswith(b"HTTP/1.") and len(words) > 1 else None


def ask_on_and_on(port: int, request: bytes, more: bytes, seconds: float = 20.0) -> int:
    """Send a request that is refused before its end; send on after the answer; then read it.

    Raises OSError where the connection is reset in between: the caller would miss the answer.
    """
    with socket.create_connection(("127.0.0.1", port), seconds) as link:
        link.sendall(request)
        assert link.recv(1, socket.MSG_PEEK), "closed without an answer"
        for _ in range(20):
            link.sendall(more)
        link.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 "), answer
    return int(answer.split(b" ", 2)[1])


def tracebacks(service: Service) -> list[object]:
    """Lines of the service's log that hold one."""
    return [line for line in service.lines if "traceback" in line]
