"""A small HTTP client over http.client: bounded in time and in size, no redirects, no proxies.

A connection is the caller's: it may be kept for the next exchange, and is closed after an error.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TypeVar

from algaenv.system.deadline import shutdown_after
from algaenv.system.plain_http import PlainRequest, whole_body

__all__ = [
    "BodyTooLarge",
    "PlainRequest",
    "UnixConnection",
    "exchange",
    "exchange_within",
    "whole_body",
]

T = TypeVar("T")


class BodyTooLarge(HTTPException):
    """The body of a response has more bytes than its reader takes."""


class UnixConnection(HTTPConnection):
    """A connection to a unix socket."""

    def __init__(self, path: str, host: str) -> None:
        super().__init__(host)
        self._path = path

    def connect(self) -> None:
        """Connect within the timeout. Raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except BaseException:
            self.close()
            raise


def exchange(
    connection: HTTPConnection,
    request: PlainRequest,
    read: Callable[[Iterator[bytes]], T],
    *,
    seconds: float,
) -> tuple[HTTPResponse, T]:
    """Send a request; returns the response, and what `read` makes of the pieces of its body.

    `seconds` bounds each wait for the other side. Raises OSError and HTTPException, also for a body
    that is incomplete.
    """
    try:
        _connect(connection, seconds)
        return _exchange(connection, request, read)
    except BaseException:
        connection.close()
        raise


def exchange_within(
    connection: HTTPConnection,
    request: PlainRequest,
    read: Callable[[Iterator[bytes]], T],
    *,
    seconds: float,
) -> tuple[HTTPResponse, T]:
    """As `exchange`, where `seconds` bounds the whole exchange. Raises TimeoutError past them."""
    deadline = time.monotonic() + seconds
    try:
        _connect(connection, seconds)
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.sock.settimeout(left)
        # The timeout of a socket is for each read: a trickle, of headers too, would outlast it.
        with shutdown_after(connection.sock.fileno(), left) as expired:
            try:
                answer = _exchange(connection, request, read)
            except (OSError, HTTPException) as error:
                if expired.is_set():
                    raise TimeoutError from error
                raise
        if expired.is_set():  # A body without a length ends with the connection, however it ends.
            raise TimeoutError
    except BaseException:
        connection.close()
        raise
    return answer


def _connect(connection: HTTPConnection, seconds: float) -> None:
    connection.timeout = seconds
    if connection.sock is None:
        connection.connect()
    connection.sock.settimeout(seconds)


def _exchange(
    connection: HTTPConnection, request: PlainRequest, read: Callable[[Iterator[bytes]], T]
) -> tuple[HTTPResponse, T]:
    connection.request(request.method, request.target, request.body, dict(request.headers))
    response = connection.getresponse()
    return response, read(_pieces(response))


def _pieces(response: HTTPResponse) -> Iterator[bytes]:
    while response.length != 0 and (ahead := response.peek()):
        yield response.read(len(ahead))
    response.read()  # Raises when the body is incomplete.
