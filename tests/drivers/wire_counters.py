"""Counts what goes over the wire: HTTP requests through a proxy, SQL statements in a log."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.servers import Database

_REQUEST = re.compile(rb"^(GET|PUT|POST|HEAD|DELETE) (\S+) HTTP/1\.1\r$", re.MULTILINE)
_STATEMENT = re.compile(r"LOG:  (?:statement|execute \S+): ")


@dataclass
class RequestCounter:
    """What went through the proxy at `port` to the server behind it."""

    port: int
    lines: list[str] = field(default_factory=list)


@contextmanager
def counting_proxy(target: int) -> Iterator[RequestCounter]:
    """A TCP proxy on a port of its own that notes the first line of every request."""
    listener = socket.create_server(("127.0.0.1", 0))
    seen = RequestCounter(listener.getsockname()[1])
    open_sockets: list[socket.socket] = [listener]

    def pump(source: socket.socket, sink: socket.socket, *, counted: bool) -> None:
        try:
            while part := source.recv(65536):
                if counted:
                    seen.lines += [
                        f"{verb.decode()} {path.decode()}" for verb, path in _REQUEST.findall(part)
                    ]
                sink.sendall(part)
        except OSError:
            pass
        finally:
            for each in (source, sink):
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", target))
            open_sockets.extend((client, server))
            for pair, counted in (((client, server), True), ((server, client), False)):
                threading.Thread(
                    target=pump, args=pair, kwargs={"counted": counted}, daemon=True
                ).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield seen
    finally:
        for each in open_sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@dataclass
class StatementCounter:
    """How many statements and connections the server saw."""

    statements: int = 0
    connections: int = 0


@contextmanager
def counted_statements(database: Database) -> Iterator[StatementCounter]:
    """Let the server log every statement in this database, and count them."""
    server = database.server
    server.execute(f"ALTER DATABASE {database.name} SET log_statement = 'all'")
    start, seen = server.log.stat().st_size, StatementCounter()
    yield seen
    with server.log.open("rb") as log:
        log.seek(start)
        text = log.read().decode()
    seen.statements = len(_STATEMENT.findall(text))
    seen.connections = len(
        re.findall(rf"connection authorized: .* database={database.name} ", text)
    )
    server.execute(f"ALTER DATABASE {database.name} RESET log_statement")
