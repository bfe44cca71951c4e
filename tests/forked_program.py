"""Programs in processes that are forked from one which has loaded their modules already.

Each run is a process of its own, as with `python -m algaenv`: its pid, signals, streams, directory
and variables are its own. What runs share is the start of the interpreter and the imports, which
are most of what a short run costs. Tests of the start itself do without this, and so do scenarios
with `Project.fresh_interpreter`.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, NoReturn, Self

STATUS = struct.Struct("i")
"""What travels back of a run: its pid first, its exit code at the end."""
MAX_ORDER = 1 << 20
CLIENTS = ("httpcore", "httpx", "redis.asyncio")
LOADED = {
    "algaenv": (
        ("cli", "drivers", "plan", "reconcile", "runtimes", "spec", "app", "wiring"),
        (
            *("boto3", "docker", "obstore.store", "psycopg", "psycopg2", "pydantic"),
            *("rich.console", "s3transfer.manager", "tenacity", "yaml", "zstandard"),
        ),
    ),
    "algaenv.gateway": (
        ("gateway", "serving"),
        (*CLIENTS, "cronsim", "jinja2", "jsonschema", "psycopg", "psycopg_pool", "uvloop"),
    ),
    # prometheus_client reads a variable when it is imported, so it is left out.
    "algaenv.runner": (
        ("runner", "serving"),
        (*CLIENTS, "anyio._backends._asyncio", "uvloop", "wasmtime.component", "zstandard"),
    ),
}
"""What is loaded before a program runs: packages of ours, and libraries they import when needed."""


class ForkedProgram:
    """A run under way; the methods are those of `subprocess.Popen`."""

    def __init__(
        self,
        program: str,
        arguments: Sequence[str] = (),
        *,
        environment: Mapping[str, str],
        directory: Path | None = None,
        stderr: int = subprocess.PIPE,
    ) -> None:
        self.args = [program, *arguments]
        self.returncode: int | None = None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._status = ours
        out, their_out = os.pipe()
        err, their_err = os.pipe() if stderr == subprocess.PIPE else (None, stderr)
        order = [list(arguments), dict(environment), str(directory or Path.cwd())]
        try:
            _server(program).order(order, [theirs.fileno(), their_out, their_err])
        finally:
            theirs.close()
            os.close(their_out)
            if stderr == subprocess.PIPE:
                os.close(their_err)
        self.stdout: IO[str] = os.fdopen(out, encoding="utf-8")
        self.stderr = None if err is None else os.fdopen(err, encoding="utf-8")
        (self.pid,) = STATUS.unpack(ours.recv(STATUS.size))

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """The exit code; raises `subprocess.TimeoutExpired`."""
        if self.returncode is None:
            with selectors.DefaultSelector() as ready:
                ready.register(self._status, selectors.EVENT_READ)
                if not ready.select(timeout):
                    raise subprocess.TimeoutExpired(self.args, timeout or 0)
            (self.returncode,) = STATUS.unpack(self._status.recv(STATUS.size))
            self._status.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All of its output; raises `subprocess.TimeoutExpired`."""
        end = None if timeout is None else time.monotonic() + timeout
        assert self.stderr is not None
        parts: dict[object, list[bytes]] = {self.stdout: [], self.stderr: []}
        with selectors.DefaultSelector() as ready:
            for stream in (self.stdout, self.stderr):
                ready.register(stream, selectors.EVENT_READ)
            while ready.get_map():
                left = None if end is None else max(0.0, end - time.monotonic())
                found = ready.select(left)
                if not found:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0)
                for key, _ in found:
                    part = os.read(key.fd, 1 << 16)
                    parts[key.fileobj].append(part)
                    if not part:
                        ready.unregister(key.fileobj)
        self.wait(None if end is None else max(0.0, end - time.monotonic()))
        out, err = (b"".join(parts[it]).decode() for it in (self.stdout, self.stderr))
        self._close()
        return out, err

    def send_signal(self, sign: int) -> None:
        """Signal it, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sign)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def _close(self) -> None:
        self.stdout.close()
        if self.stderr is not None:
            self.stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._close()
        self.wait()


class _Server:
    """The process that forks runs of one program; it ends with the one that started it."""

    def __init__(self, program: str) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._orders.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_ORDER)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forked_program", program, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )

    def order(self, order: object, descriptors: list[int]) -> None:
        socket.send_fds(self._orders, [json.dumps(order).encode()], descriptors)


_lock = threading.Lock()
_servers: dict[str, _Server] = {}


def _server(program: str) -> _Server:
    with _lock:
        if program not in _servers:
            _servers[program] = _Server(program)
        return _servers[program]


def _load(program: str) -> Callable[[], int]:
    packages, libraries = LOADED[program]
    for name in libraries:
        importlib.import_module(name)
    for name in packages:
        module = importlib.import_module(f"algaenv.{name}")
        for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"algaenv.{name}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    main: Callable[[], int] = importlib.import_module(f"{program}.__main__").main
    # What is collected in a run would be copied page by page.
    gc.collect()
    gc.freeze()
    return main


def _serve(program: str, orders: socket.socket) -> None:
    main = _load(program)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        order, descriptors, _, _ = socket.recv_fds(orders, MAX_ORDER, 3)
        if not order:
            return
        if os.fork() == 0:
            orders.close()
            _look_after(main, order, *descriptors)
        for each in descriptors:
            os.close(each)


def _look_after(main: Callable[[], int], order: bytes, status: int, *outputs: int) -> NoReturn:
    """Fork the run, tell its pid, wait for it, tell its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(status)
        _run(main, order, *outputs)
    for each in outputs:
        os.close(each)
    answers = socket.socket(fileno=status)
    answers.send(STATUS.pack(pid))
    _, ended = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):
        answers.send(STATUS.pack(os.waitstatus_to_exitcode(ended)))
    os._exit(0)


def _run(main: Callable[[], int], order: bytes, *outputs: int) -> NoReturn:
    arguments, environment, directory = json.loads(order)
    for number, each in enumerate(outputs, 1):
        os.dup2(each, number)
        os.close(each)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(
        2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
    )
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["algaenv", *arguments]
    from algaenv.__main__ import leave

    try:
        code = main()
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else int(asked.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    if main.__module__ != leave.__module__:
        # The services end as programs do: their log is written to its end.
        atexit._run_exitfuncs()
    leave(code)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[2])) as given:
        _serve(sys.argv[1], given)
