"""The sockets the service listens on: one for each worker, all on the same port.

The kernel spreads new connections over them. Were one socket shared instead, the worker that
woke up first would take all the connections that wait.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from contextlib import suppress

BACKLOG = 2048

_SO_ATTACH_FILTER = 26
_DROP_SYN = (
    (0x30, 0, 0, 13),  # load the flags of the TCP header
    (0x45, 0, 1, 0x02),  # is SYN among them?
    (0x06, 0, 0, 0),  # drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # keep all of it
)


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


def refuse_new(listening: socket.socket) -> None:
    """Begin no new connection; those begun are still established and can be accepted.

    Closing a listening socket resets the connections that wait in its queue. After this the
    queue can be emptied first. The filter belongs to the socket, whichever process asks for it.
    """
    program = b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN)
    kept = ctypes.create_string_buffer(program)
    described = struct.pack("HxxxxxxP", len(_DROP_SYN), ctypes.addressof(kept))
    with suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


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
