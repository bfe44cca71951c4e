"""A unix socket that passes everything on and writes down the HTTP requests that went through."""

from __future__ import annotations

import re
import socket
import threading
from pathlib import Path
from types import TracebackType

REQUEST = re.compile(rb"^(GET|HEAD|POST|PUT|DELETE) (\S+) HTTP/1\.1\r$", re.MULTILINE)


class Switchboard:
    """Listens on `path` and passes each connection on to `target`, both unix sockets."""

    def __init__(self, path: Path, target: str) -> None:
        self.path = path
        self.target = target
        self.requests: list[tuple[str, str]] = []
        self._server = socket.socket(socket.AF_UNIX)

    @property
    def host(self) -> str:
        return f"unix://{self.path}"

    def __enter__(self) -> Switchboard:
        self._server.bind(str(self.path))
        self._server.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(caller,), daemon=True).start()

    def _connect(self, caller: socket.socket) -> None:
        with caller, socket.socket(socket.AF_UNIX) as callee:
            callee.connect(self.target)
            back = threading.Thread(target=self._pass, args=(callee, caller, False), daemon=True)
            back.start()
            self._pass(caller, callee, True)
            back.join()

    def _pass(self, source: socket.socket, sink: socket.socket, heard: bool) -> None:
        while True:
            try:
                chunk = source.recv(65536)
                if heard:
                    self.requests += [
                        (method.decode(), path.decode()) for method, path in REQUEST.findall(chunk)
                    ]
                if not chunk:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(chunk)
            except OSError:
                return
