"""The runner as a process of its own, asked over HTTP."""

from __future__ import annotations

import http.client
import json
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.forked_program import ForkedProgram


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def immutable(self) -> bool:
        return "immutable" in self.headers.get("cache-control", "")


class Service:
    """A running runner."""

    def __init__(
        self,
        process: subprocess.Popen[str] | ForkedProgram,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.process = process
        self.env: Mapping[str, str] = env or {}
        self.lines: list[dict[str, Any]] = []
        self._news: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        self.port: int = self.line("listening")["port"]

    @property
    def cache_root(self) -> Path:
        """Its cache directory."""
        return Path(self.env["EXT_CACHE_ROOT"])

    def ask(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
        timeout: float = 30,
    ) -> Answer:
        """Send the path as it is: nothing is normalised or encoded."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as link:
            given = {name.lower(): value for name, value in (headers or {}).items()}
            link.putrequest(method, path, skip_host="host" in given, skip_accept_encoding=True)
            for name, value in given.items():
                link.putheader(name, value)
            if body is not None:
                link.putheader("content-length", str(len(body)))
            link.endheaders(body)
            answer = link.getresponse()
            content = answer.read()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, named, content)

    def post(
        self,
        path: str,
        fields: object,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float = 30,
    ) -> Answer:
        kind = {"content-type": "application/json", **(headers or {})}
        body = json.dumps(fields).encode()
        return self.ask(path, kind, method="POST", body=body, timeout=timeout)

    def line(self, event: str, **wanted: object) -> dict[str, Any]:
        """Wait for a line of the log that was not looked at yet."""
        until = time.monotonic() + 20
        while True:
            line = self._news.get(timeout=max(0.01, until - time.monotonic()))
            assert line is not None, f"ended before {event!r}; said {self.lines}"
            if line["event"] == event and all(line.get(k) == v for k, v in wanted.items()):
                return line

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self._thread.join()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as out:
            for text in out:
                line = json.loads(text)
                self.lines.append(line)
                self._news.put(line)
        self._news.put(None)


def clean_env(extra: Mapping[str, str]) -> dict[str, str]:
    """One worker unless told otherwise, so that what a process remembers can be counted on."""
    plain = {"PATH": "/usr/bin:/bin", "HOST": "127.0.0.1", "PORT": "0", "RUNNER_WORKERS": "1"}
    return plain | dict(extra)


@contextmanager
def started(env: Mapping[str, str]) -> Iterator[Service]:
    process = ForkedProgram("algaenv.runner", environment=clean_env(env), stderr=2)
    service: Service | None = None
    try:
        service = Service(process, env)
        yield service
    finally:
        if service is None:
            process.kill()
            process.wait()
        else:
            service.stop()
