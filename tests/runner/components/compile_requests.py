"""A process that needs components.

    python -m tests.runner.components.compile_requests ROOT AT_ONCE WASM…

It asks for all of them at the same time once it is told to go on, and says what happened.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from algaenv.bundle.digest import Digest
from algaenv.runner.components.compiled import CompiledComponents, CompileEnded, CompileEvent
from algaenv.runner.components.compiler import CompileLimits
from algaenv.runner.wasm.failure import GuestFailure


def say(what: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"what": what, **fields}) + "\n")
    sys.stdout.flush()


def tell(event: CompileEvent) -> None:
    if isinstance(event, CompileEnded):
        fields = dataclasses.asdict(event) | {"component": event.component.hex}
        say("compiled", **fields)


async def ask(root: Path, at_once: int, files: list[Path]) -> None:
    compiled = CompiledComponents(root, CompileLimits(at_once=at_once), on_event=tell)

    async def one(file: Path) -> None:
        try:
            path = await compiled.ensure(Digest.of(str(file).encode()), file)
            say("have", path=str(path))
        except GuestFailure as failure:
            say("failed", kind=failure.kind, message=failure.message)

    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    say("compile_process")
    await asyncio.gather(*map(one, files))


class CompileProcess:
    """Such a process, seen from outside."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def go(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def line(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "ended"
        output: dict[str, Any] = json.loads(line)
        return output

    def rest(self) -> list[dict[str, Any]]:
        assert self.process.stdout
        return [json.loads(line) for line in self.process.stdout]


@contextmanager
def compile_process(root: Path, *files: Path, at_once: int = 1) -> Iterator[CompileProcess]:
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(root), str(at_once), *map(str, files)],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            asker = CompileProcess(process)
            assert asker.line() == {"what": "ready"}
            yield asker
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(ask(Path(sys.argv[1]), int(sys.argv[2]), [Path(each) for each in sys.argv[3:]]))
