"""A very small application under the service's own supervisor, for tests to disturb.

It says which process answered, and does as it is told by the path of a request.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from algaenv.bundle.digest import Digest
from algaenv.runner import workers
from algaenv.runner.execute.idempotency import Idempotency, IdempotencySettings
from algaenv.runner.http_server import http_work
from algaenv.runner.pages.tenancy import TenantHints
from algaenv.runner.serve import listen
from algaenv.runner.workers import Worker, WorkersFailed, WorkerSupervisor
from algaenv.serving.access_log import configure_logging

DIGEST = Digest("ab" * 32)


class Tiny:
    def __init__(self, worker: Worker, root: Path) -> None:
        self.worker = worker
        self.root = root
        self.idempotency = Idempotency(root, IdempotencySettings())
        self.hints = TenantHints(root)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        _, verb, *rest = scope["path"].split("/")
        action: Callable[..., Awaitable[object]] = getattr(self, f"do_{verb}")
        running = asyncio.ensure_future(action(*rest))
        gone = asyncio.ensure_future(_left(receive))
        await asyncio.wait((running, gone), return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not running.done():
            running.cancel()
            return
        body = json.dumps({"pid": os.getpid(), "said": await running}).encode()
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})

    async def do_hello(self) -> int:
        return self.worker.number

    async def do_wait(self, milliseconds: str) -> str:
        await asyncio.sleep(int(milliseconds) / 1000)
        return "waited"

    async def do_recycle(self) -> None:
        self.worker.recycle()

    async def do_die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    async def do_once(self, key: str, verb: str, milliseconds: str) -> object:
        async with self.idempotency.once("tenant", "extension", key) as turn:
            if turn.response is not None:
                return turn.response.decode()
            with (self.root / "runs").open("a") as runs:
                runs.write(f"{os.getpid()}\n")
            await asyncio.sleep(int(milliseconds) / 1000)
            answer = f"run by {os.getpid()} at {time.time_ns()}"
            if verb == "keep":
                turn.save(answer.encode())
            return answer

    async def do_served(self, tenant: str) -> None:
        self.hints.record("extension", DIGEST, tenant)

    async def do_hint(self) -> str:
        return self.hints.get("extension", DIGEST)


async def _left(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _say(line: dict[str, object]) -> None:
    sys.stdout.write(f"{json.dumps(line)}\n")
    sys.stdout.flush()


def main(count: int, root: Path, trouble: str) -> None:
    configure_logging("debug")
    sockets = listen("127.0.0.1", 0, count)

    def build(worker: Worker) -> Tiny:
        if trouble == "stillborn":
            raise RuntimeError("this worker is not to live")
        return Tiny(worker, root)

    def died(number: int, pid: int) -> None:
        _say({"event": "hook", "number": number, "pid": pid})

    if trouble == "stillborn":
        workers.RESTART_DELAYS = (0.0, 0.01, 0.03, 0.1, 0.2, 0.4, 0.4, 0.4)
    port = sockets[0].getsockname()[1]
    _say({"event": "listening", "port": port, "pid": os.getpid()})
    work = http_work(build, drain_seconds=5)
    try:
        WorkerSupervisor(sockets, work, drain_seconds=5, worker_exited=died).run()
    except WorkersFailed as failure:
        raise SystemExit(f"Error: {failure}") from None
    _say({"event": "stopped"})


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
