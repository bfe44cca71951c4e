"""The sockets the service listens on: one for each worker, all on the same port.

The kernel spreads new connections over them. Were one socket shared instead, the worker that
woke up first would take all the connections that wait.
"""

from __future__ import annotations

import os
import socket

BACKLOG = 2048


class CannotListen(Exception):
    """The address cannot be bound; the text is one line."""


def listen(host: str, port: int, count: int = 1) -> tuple[socket.socket, ...]:
    """Bind `count` listening sockets to one port; port 0 takes a free one. Raises CannotListen.

    A port that somebody listens on is taken, even by a runner whose own sockets share it.
    """
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        family, _, protocol, _, address = found[0]
        sockets.append(_listening(family, protocol, address))
        for _ in range(count - 1):
            # Only now, and so that nobody else can come between: a socket that is not yet
            # willing to share gets the port for itself, or not at all.
            sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sockets.append(_listening(family, protocol, sockets[0].getsockname(), shares=True))
    except OSError as error:
        for each in sockets:
            each.close()
        # gaierror has numbers of its own; for the others Python adds words to the system's.
        number = None if isinstance(error, socket.gaierror) else error.errno
        why = error.strerror if number is None else os.strerror(number)
        raise CannotListen(f"cannot listen on {host}:{port}: {why}") from None
    return tuple(sockets)


def _listening(
    family: int, protocol: int, address: tuple[object, ...], *, shares: bool = False
) -> socket.socket:
    # With its protocol named: asyncio sends without delay only over sockets that say TCP.
    made = socket.socket(family, socket.SOCK_STREAM, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shares:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made
