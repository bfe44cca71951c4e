"""The process that compiles: what it may do, and every way in which it can end."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from algaenv.runner.components.compile import (
    CompileDone,
    CompileFailed,
    CompileResult,
    Unreadable,
    decode_result,
)
from algaenv.runner.components.compiler import CompileLimits, Compiler
from algaenv.runner.wasm.failure import FailureKind

from .compile_requests import compile_process
from .components import large, small

MIB = 1 << 20


def compilers(parent: int | None = None) -> list[psutil.Process]:
    """The processes that compile for `parent`, as far as they have taken up their limits."""
    found = []
    for child in psutil.Process(parent).children():
        try:
            if "algaenv.runner.components.compile" in child.cmdline() and child.nice() == 10:
                found.append(child)
        except psutil.Error:
            continue
    return found


def compiled(
    tmp_path: Path,
    content: bytes,
    limits: CompileLimits | None = None,
    meanwhile: Callable[[psutil.Process], object] | None = None,
) -> CompileResult:
    source = tmp_path / "main.wasm"
    source.write_bytes(content)

    async def work() -> CompileResult:
        task = asyncio.create_task(
            Compiler(limits or CompileLimits()).compile(source, tmp_path / "out")
        )
        while meanwhile and not task.done():
            if running := compilers():
                meanwhile(running[0])
                break
            await asyncio.sleep(0.005)
        return await task

    return asyncio.run(work())


def failed(verdict: CompileResult) -> CompileFailed:
    assert isinstance(verdict, CompileFailed)
    assert verdict.causes[0] == verdict.message
    return verdict


def test_it_compiles(tmp_path: Path) -> None:
    verdict = compiled(tmp_path, small())
    assert isinstance(verdict, CompileDone)
    assert verdict.size == (tmp_path / "out").stat().st_size


@pytest.mark.slow
def test_it_knows_no_secrets_and_yields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALGA_AUTH_KEY", "the-secret")
    seen: dict[str, object] = {}

    def look(child: psutil.Process) -> None:
        folder = Path(f"/proc/{child.pid}")
        until = time.monotonic() + 20
        while (folder / "oom_score_adj").read_text() != "1000\n":
            assert time.monotonic() < until
            time.sleep(0.005)
        seen["environment"] = (folder / "environ").read_bytes()
        seen["directory"] = (folder / "cwd").readlink()
        limits = (folder / "limits").read_text().splitlines()
        seen["limits"] = {line[:26].strip(): line[26:].split()[0] for line in limits}
        seen["status"] = (folder / "status").read_text()

    limits = CompileLimits(memory_bytes=4096 * MIB, cpu_seconds=77)
    assert isinstance(compiled(tmp_path, large(functions=1), limits, look), CompileDone)
    assert isinstance(seen["environment"], bytes)
    names = {line.partition(b"=")[0] for line in seen["environment"].split(b"\0") if line}
    assert {b"PYTHONPATH", b"PYTHONUTF8"} <= names
    assert names <= {b"PYTHONPATH", b"PYTHONUTF8", b"LD_LIBRARY_PATH", b"PYTHONHOME"}
    assert b"the-secret" not in seen["environment"]
    assert seen["directory"] == Path("/")
    assert isinstance(seen["limits"], dict)
    assert seen["limits"]["Max cpu time"] == "77"
    assert seen["limits"]["Max address space"] == str(4096 * MIB)
    assert seen["limits"]["Max core file size"] == "0"
    assert "NoNewPrivs:\t1" in str(seen["status"])


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGSEGV, "the compiler crashed (SIGSEGV)"),
        (signal.SIGABRT, "the compiler crashed (SIGABRT)"),
        (signal.SIGKILL, "the compiler was killed, as happens when memory runs out"),
    ],
)
def test_it_is_killed(tmp_path: Path, number: signal.Signals, words: str) -> None:
    verdict = compiled(tmp_path, large(), meanwhile=lambda child: child.send_signal(number))
    assert (failed(verdict).kind, failed(verdict).message) == (FailureKind.COMPILE, words)
    assert not failed(verdict).settled


def test_it_takes_too_long(tmp_path: Path) -> None:
    verdict = compiled(tmp_path, large(steps=20_000), CompileLimits(seconds=0.5))
    assert (failed(verdict).kind, failed(verdict).message) == (
        FailureKind.LIMIT,
        "compiling was ended after 0.5 s (RUNNER_COMPILE_SECONDS)",
    )
    assert failed(verdict).settled
    assert compilers() == []


@pytest.mark.slow
def test_it_takes_too_much_of_the_processor(tmp_path: Path) -> None:
    verdict = compiled(tmp_path, large(steps=20_000), CompileLimits(cpu_seconds=1))
    assert (failed(verdict).kind, failed(verdict).message) == (
        FailureKind.LIMIT,
        "compiling was ended after 1 s of processor time (RUNNER_COMPILE_CPU_SECONDS)",
    )


@pytest.mark.slow
def test_it_takes_too_much_memory(tmp_path: Path) -> None:
    verdict = compiled(tmp_path, large(steps=20_000), CompileLimits(memory_bytes=320 * MIB))
    assert failed(verdict).kind is FailureKind.LIMIT
    assert failed(verdict).message == (
        "the compiler ran out of memory at 320 MiB (RUNNER_COMPILE_MEMORY_BYTES)"
    )


def test_a_busy_machine_is_no_reason_to_end_it() -> None:
    """Only processor time counts unless somebody says otherwise."""
    assert CompileLimits().seconds >= 10 * CompileLimits().cpu_seconds
    assert CompileLimits.read({}).seconds >= 10 * CompileLimits.read({}).cpu_seconds


def test_it_cannot_even_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = compiled(tmp_path, small(), CompileLimits(memory_bytes=24 * MIB))
    assert failed(verdict).kind is FailureKind.COMPILE
    assert failed(verdict).message.startswith("the compiler ")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert failed(compiled(tmp_path, small())).causes == (
        "cannot start the compiler",
        "No such file or directory",
    )
    assert failed(compiled(tmp_path, small())).kind is FailureKind.HOST


def test_an_answer_that_means_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "python"
    output.write_text("#!/bin/sh\necho '{}'\n")
    output.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(output))
    verdict = compiled(tmp_path, small())
    assert failed(verdict).message == "the compiler gave no answer (exit status 0)"


def test_what_it_cannot_read_or_write(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    verdict = compiled(tmp_path, small())
    assert (failed(verdict).kind, failed(verdict).causes[1]) == (FailureKind.HOST, "File exists")

    async def missing() -> CompileResult:
        return await Compiler(CompileLimits()).compile(tmp_path / "missing", tmp_path / "none")

    assert asyncio.run(missing()) == Unreadable(2)


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    wasm = tmp_path / "main.wasm"
    wasm.write_bytes(large(steps=20_000))
    with compile_process(tmp_path, wasm) as asker:
        asker.go()
        until = time.monotonic() + 30
        while not (running := compilers(asker.process.pid)):
            assert time.monotonic() < until
            time.sleep(0.01)
        asker.process.kill()
        asker.process.wait()
        psutil.wait_procs(running, timeout=20)
        assert not any(
            child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in running
        )


def test_by_hand(tmp_path: Path) -> None:
    source = tmp_path / "main.wasm"
    source.write_bytes(small())
    command = [sys.executable, "-m", "algaenv.runner.components.compile", str(source)]
    command.append(str(tmp_path / "out"))
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert isinstance(decode_result(ended.stdout), CompileDone)
    assert ended.stdout.count("\n") == 1
