"""A worker process that counts what it is told to, for the tests beside it.

Reads one command a line from its input and answers each with one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from starlette.requests import Request

from algaenv.runner.execute.invocation import Timings
from algaenv.runner.observability.metrics import GaugeName, Metrics, OutcomeLabel
from algaenv.runner.wasm.failure import FailureKind


async def main(metrics_dir: str, worker: int) -> None:
    metrics = Metrics(Path(metrics_dir), worker=worker, contract="7")
    now = dict.fromkeys(GaugeName, 0.0)
    metrics.set_gauges({watched: lambda watched=watched: now[watched] for watched in GaugeName})  # type: ignore[misc]
    metrics.start()

    async def act(command: str, *given: Any) -> Any:
        match command:
            case "expose":
                headers = [(b"accept", given[0].encode())]
                answer = await metrics.handle(Request({"type": "http", "headers": headers}))
                content_type = answer.headers["content-type"]
                return [answer.status_code, content_type, bytes(answer.body).decode()]
            case "now":
                now[GaugeName(given[0])] = given[1]
            case "executed":
                outcome, spent, seconds = given
                kinds: list[FailureKind | OutcomeLabel] = [*FailureKind, *OutcomeLabel]
                (kind,) = (kind for kind in kinds if kind == outcome)
                metrics.executed(kind, Timings(**spent), seconds)
            case "modules":
                return [name for name in given if name in sys.modules]
            case _:
                getattr(metrics, command)(*given)
        return None

    while line := await asyncio.to_thread(sys.stdin.readline):
        sys.stdout.write(f"{json.dumps(await act(*json.loads(line)))}\n")
        sys.stdout.flush()
    await metrics.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
