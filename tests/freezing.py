"""A relay of TCP connections that can stop passing anything on, as a frozen server does, or a line
that was cut in silence: connections stay open, and new ones are accepted."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Freezing:
    """Passes on what comes, while `flowing` is set.

    `left` is how many bytes still pass, both ways together, before it freezes; None: no limit.
    """

    def __init__(self, host: str, port: int) -> None:
        self.flowing = threading.Event()
        self.flowing.set()
        self.left: int | None = None
        self._target = (host, port)
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._server.getsockname()[1]
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Cut every connection."""
        self._ended.set()
        for thread in self._threads:
            thread.join(20)
        self._server.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            if select.select([self._server], [], [], 0.05)[0]:
                caller, _ = self._server.accept()
                thread = threading.Thread(target=self._pass, args=(caller,))
                self._threads.append(thread)
                thread.start()

    def _pass(self, caller: socket.socket) -> None:
        with caller, socket.create_connection(self._target, 10) as callee:
            others = {caller: callee, callee: caller}
            while not self._ended.is_set():
                if not self.flowing.wait(0.05):
                    continue
                for source in select.select(list(others), [], [], 0.05)[0]:
                    if not self.flowing.is_set():
                        break
                    try:
                        data = source.recv(65536)
                        others[source].sendall(data)
                    except OSError:
                        return
                    if not data:
                        return
                    if self.left is not None:
                        self.left -= len(data)
                        if self.left <= 0:
                            self.flowing.clear()


@contextmanager
def freezing(host: str, port: int) -> Iterator[Freezing]:
    relay = Freezing(host, port)
    try:
        yield relay
    finally:
        relay.close()
