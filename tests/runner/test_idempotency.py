"""Calls with a key run once, in whichever process they arrive."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import stat
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from algaenv.runner.execute import idempotency
from algaenv.runner.execute.idempotency import DEFAULT_SECONDS, Idempotency, IdempotencySettings
from algaenv.runner.shared_values import Bounds, SharedValues

from .tinies import Line, children, lines, tiny, until

Run = Callable[..., Coroutine[Any, Any, bytes]]


async def call(
    keys: Idempotency, key: str, answer: bytes | None, *, whose: str = "t", gate: Any = None
) -> bytes | None:
    """A call whose guest answers `answer`; None is a failure. What came out of it."""
    async with keys.once(whose, "extension", key) as turn:
        if turn.response is not None:
            return turn.response
        if gate is not None:
            await gate.wait()
        if answer is not None:
            turn.save(answer)
        return answer


def keys_in(root: Path, seconds: int = 600) -> Idempotency:
    return Idempotency(root, IdempotencySettings(seconds))


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("", DEFAULT_SECONDS),
        ("soon", DEFAULT_SECONDS),
        ("-5", DEFAULT_SECONDS),
        ("0", 0),
        (" 30 ", 30),
        ("9" * 30, 7 * 86_400),
    ],
)
def test_for_how_long(said: str, seconds: int) -> None:
    assert IdempotencySettings.read({"RUNNER_IDEMPOTENCY_SECONDS": said}) == IdempotencySettings(
        seconds
    )
    assert IdempotencySettings.read({}) == IdempotencySettings(DEFAULT_SECONDS)


def test_the_first_answer_is_replayed(tmp_path: Path) -> None:
    async def story() -> None:
        keys = keys_in(tmp_path)
        assert await call(keys, "k", b"first") == b"first"
        assert await call(keys, "k", b"second") == b"first"
        # Another process, or the same service after a restart.
        assert await call(keys_in(tmp_path), "k", b"third") == b"first"

    asyncio.run(story())


def test_a_key_belongs_to_a_tenant_and_an_extension(tmp_path: Path) -> None:
    async def story() -> None:
        keys = keys_in(tmp_path)
        whose = [("a", "bc", "k"), ("ab", "c", "k"), ("a", "b", "ck"), ("a", "bc", "k2")]
        for number, (tenant, extension, key) in enumerate(whose):
            async with keys.once(tenant, extension, key) as turn:
                assert turn.response is None
                turn.save(b"%d" % number)
        for number, (tenant, extension, key) in enumerate(whose):
            async with keys.once(tenant, extension, key) as turn:
                assert turn.response == b"%d" % number

    asyncio.run(story())


@pytest.mark.parametrize("key", ["x" * 8000, "../../etc/passwd", "a/b\x00c", "\udc80", "ключ"])
def test_any_key_will_do(tmp_path: Path, key: str) -> None:
    async def story() -> None:
        keys = keys_in(tmp_path)
        assert await call(keys, key, b"one") == b"one"
        assert await call(keys, key, b"two") == b"one"

    asyncio.run(story())


def test_failures_are_not_kept(tmp_path: Path) -> None:
    async def story() -> None:
        keys = keys_in(tmp_path)
        assert await call(keys, "k", None) is None

        async def broken() -> None:
            async with keys.once("t", "extension", "k"):
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await broken()
        assert await call(keys, "k", b"good") == b"good"

    asyncio.run(story())


@pytest.mark.parametrize("processes", [1, 2])
def test_twins_run_once(tmp_path: Path, processes: int) -> None:
    async def story() -> None:
        several = [keys_in(tmp_path) for _ in range(processes)]
        gate = asyncio.Event()
        running = [
            asyncio.create_task(call(several[n % processes], "k", b"%d" % n, gate=gate))
            for n in range(12)
        ]
        await asyncio.sleep(0.05)
        gate.set()
        assert len(set(await asyncio.gather(*running))) == 1

    asyncio.run(story())


@pytest.mark.parametrize("processes", [1, 2])
def test_the_next_runs_when_the_first_fails(tmp_path: Path, processes: int) -> None:
    async def story() -> None:
        several = [keys_in(tmp_path) for _ in range(processes)]
        gate = asyncio.Event()
        answers = [None, None, b"good", b"never"]
        running = []
        for number, answer in enumerate(answers):
            at = several[number % processes]
            running.append(asyncio.create_task(call(at, "k", answer, gate=gate)))
            await asyncio.sleep(0.01)
        gate.set()
        ended = await asyncio.gather(*running)
        assert [answer for answer in ended if answer is not None][-1] in {b"good", b"never"}
        assert len({answer for answer in ended if answer is not None}) == 1
        assert ended[0] is None

    asyncio.run(story())


@pytest.mark.parametrize("processes", [1, 2])
def test_the_next_runs_when_the_first_leaves(tmp_path: Path, processes: int) -> None:
    async def story() -> None:
        several = [keys_in(tmp_path) for _ in range(processes)]
        never, gate = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(call(several[0], "k", b"first", gate=never))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(call(several[-1], "k", b"second", gate=gate))
        third = asyncio.create_task(call(several[0], "k", b"third", gate=gate))
        await asyncio.sleep(0.01)
        first.cancel()
        gate.set()
        answers = {await asyncio.wait_for(second, 5), await asyncio.wait_for(third, 5)}
        assert len(answers) == 1
        assert answers <= {b"second", b"third"}

    asyncio.run(story())


def test_a_waiting_twin_may_leave_at_any_moment(tmp_path: Path) -> None:
    async def story() -> None:
        keys = keys_in(tmp_path)
        for moment in range(6):
            never, gate = asyncio.Event(), asyncio.Event()
            key = f"k{moment}"
            first = asyncio.create_task(call(keys, key, b"first", gate=never))
            await asyncio.sleep(0)
            twins = [asyncio.create_task(call(keys, key, b"twin", gate=gate)) for _ in range(3)]
            for _ in range(3):
                await asyncio.sleep(0)
            first.cancel()
            for _ in range(moment):
                await asyncio.sleep(0)
            # It may just have been told that it is to run.
            twins[0].cancel()
            gate.set()
            assert await asyncio.wait_for(asyncio.gather(*twins[1:]), 5) == [b"twin"] * 2
            assert keys._under_way == {}

    asyncio.run(story())


def test_what_was_kept_is_kept_when_the_client_leaves_then(tmp_path: Path) -> None:
    async def story() -> None:
        keys = keys_in(tmp_path)

        async def late() -> None:
            async with keys.once("t", "extension", "k") as turn:
                turn.save(b"done")
                await asyncio.sleep(30)

        task = asyncio.create_task(late())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await call(keys, "k", b"again") == b"done"

    asyncio.run(story())


def test_answers_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        keys = keys_in(tmp_path, seconds=600)
        await call(keys, "k", b"old")
        now = time.time()
        with monkeypatch.context() as patch:
            patch.setattr("algaenv.runner.shared_values.time.time", lambda: now + 601)
            assert await call(keys, "k", b"new") == b"new"
            assert await call(keys_in(tmp_path), "k", b"newer") == b"new"

    asyncio.run(story())


def test_without_memory_twins_still_run_once(tmp_path: Path) -> None:
    async def story() -> None:
        keys = keys_in(tmp_path, seconds=0)
        gate = asyncio.Event()
        first = asyncio.create_task(call(keys, "k", b"first", gate=gate))
        second = asyncio.create_task(call(keys, "k", b"second", gate=gate))
        await asyncio.sleep(0)
        gate.set()
        assert set(await asyncio.gather(first, second)) == {b"first"}
        assert await call(keys, "k", b"third") == b"third"

    asyncio.run(story())


def test_large_answers(tmp_path: Path) -> None:
    async def story() -> None:
        large = os.urandom(3_000_000)
        assert await call(keys_in(tmp_path), "k", large) == large
        assert await call(keys_in(tmp_path), "k", b"") == large

    asyncio.run(story())


def test_nobody_else_can_read_them(tmp_path: Path) -> None:
    asyncio.run(call(keys_in(tmp_path), "k", b"private"))
    own = tmp_path / ".algaenv"
    for path in (own, *own.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.fixture
def loose(tmp_path: Path) -> Path:
    """A cache whose part of ours is open to others."""
    folder = tmp_path / ".algaenv"
    folder.mkdir()
    folder.chmod(0o755)
    return tmp_path


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    (tmp_path / ".algaenv").write_text("in the way")
    return tmp_path


@pytest.mark.parametrize("kind", ["loose", "blocked"])
def test_an_unusable_cache(
    kind: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    root: Path = request.getfixturevalue(kind)

    async def story() -> None:
        keys = keys_in(root)
        gate = asyncio.Event()
        twins = [asyncio.create_task(call(keys, "k", b"one", gate=gate)) for _ in range(3)]
        await asyncio.sleep(0)
        gate.set()
        assert set(await asyncio.gather(*twins)) == {b"one"}
        assert await call(keys, "k", b"two") == b"one"
        assert await call(keys, "k2", b"three") == b"three"
        assert await call(keys, "k", b"x", whose="other") == b"x"

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert [record.message for record in caplog.records] == ["idempotency keys only in memory"]


def test_memory_is_bounded_where_the_cache_is_not_usable(
    blocked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "MEMORY_BOUNDS", Bounds(3, 100, 0.0))

    async def story() -> None:
        keys = keys_in(blocked)
        for number in range(5):
            await call(keys, f"k{number}", b"x" * 30)
        assert await call(keys, "k4", b"new") == b"x" * 30
        assert await call(keys, "k0", b"new") == b"new"

    asyncio.run(story())


def name(number: int) -> bytes:
    return b"%020d" % number


def test_the_values_are_bounded(tmp_path: Path) -> None:
    folder = tmp_path / "own" / "things"
    details = SharedValues(folder, Bounds(100, 1_000_000, 600))
    for number in range(1000):
        details.put(name(number), b"x")
    kept = [number for number in range(1000) if details.get(name(number))]
    assert kept == list(range(1000 - len(kept), 1000))
    assert 75 <= len(kept) <= 100
    folder = tmp_path / "own" / "large"
    big = SharedValues(folder, Bounds(1_000_000, 100_000, 600))
    for number in range(100):
        big.put(name(number), b"y" * 5000)
    big.put(name(5000), b"z" * 50_000)
    assert big.get(name(5000)) is None
    kept = [number for number in range(100) if big.get(name(number)) == b"y" * 5000]
    assert kept == list(range(100 - len(kept), 100))
    assert 15 <= len(kept) <= 20
    (database,) = (file for file in folder.iterdir() if file.suffix == ".sqlite3")
    big.sweep()
    assert database.stat().st_size < 250_000


def test_what_is_left_of_others_is_swept_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "own" / "things"
    bounds = Bounds(2000, 100_000_000, 600)
    gone = SharedValues(folder, bounds)
    for number in range(1200):
        gone.put(name(number), b"old" * 400)
    details = SharedValues(folder, bounds)
    assert details.get(name(1)) == b"old" * 400
    details.sweep()
    assert details.get(name(1)) == b"old" * 400
    now = time.time()
    monkeypatch.setattr("algaenv.runner.shared_values.time.time", lambda: now + 601)
    details.sweep()
    monkeypatch.undo()
    assert details.get(name(1)) is None
    with closing(sqlite3.connect(folder / "values.sqlite3")) as connection:
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (0,)
        assert connection.execute("PRAGMA page_count").fetchone()[0] < 20


def test_the_cache_may_be_cleared_away(tmp_path: Path) -> None:
    import shutil

    async def story() -> None:
        first, second = keys_in(tmp_path), keys_in(tmp_path)
        await call(first, "k", b"one")
        shutil.rmtree(tmp_path / ".algaenv")
        assert await call(first, "k2", b"two") == b"two"
        assert await call(first, "k2", b"three") == b"two"
        assert await call(second, "k2", b"three") == b"two"

    asyncio.run(story())


def test_many_processes_tell_and_hear(tmp_path: Path) -> None:
    folder = tmp_path / "own" / "things"
    several = [SharedValues(folder, Bounds(1000, 1_000_000, 600)) for _ in range(4)]
    for number in range(400):
        several[number % 4].put(name(number % 50), b"%d" % number)
        assert several[(number + 1) % 4].get(name(number % 50)) == b"%d" % number


def runs(folder: Path) -> list[int]:
    return [int(pid) for pid in (folder / "runs").read_text().split()]


def pool_of(stack: ExitStack, count: int) -> ThreadPoolExecutor:
    return stack.enter_context(ThreadPoolExecutor(count))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def test_twins_across_workers_run_once(tmp_path: Path, stack: ExitStack) -> None:
    service = stack.enter_context(tiny(2, tmp_path))
    both = lines(service, 2) + lines(service, 2)
    for number in range(10):
        with ThreadPoolExecutor(4) as pool:
            path = f"/once/k{number}/keep/20"
            answers = {each.result() for each in [pool.submit(line.ask, path) for line in both]}
            assert len(answers) == 1
    assert len(runs(tmp_path)) == 10
    assert {line.ask("/once/k0/keep/20") for line in both} == {both[0].ask("/once/k0/keep/20")}


def test_twins_wait_for_one_that_dies(tmp_path: Path, stack: ExitStack) -> None:
    service = stack.enter_context(tiny(2, tmp_path))
    doomed, other = lines(service, 2)
    pool = pool_of(stack, 1)
    doomed.send("/once/k/keep/60000")
    until((tmp_path / "runs").exists)
    waiting = pool.submit(other.ask, "/once/k/keep/0")
    assert runs(tmp_path) == [doomed.pid]
    os.kill(doomed.pid, signal.SIGKILL)
    assert waiting.result().startswith(f"run by {other.pid}")
    assert runs(tmp_path) == [doomed.pid, other.pid]
    until(lambda: len(children(service.process.pid)) == 2)
    fresh = next(line for line in lines(service, 2) if line.pid != other.pid)
    assert fresh.ask("/once/k/keep/0") == waiting.result()


def test_a_client_that_leaves_stores_nothing(tmp_path: Path, stack: ExitStack) -> None:
    service = stack.enter_context(tiny(2, tmp_path))
    first, second = lines(service, 2)
    third = Line(service)
    pool = pool_of(stack, 2)
    first.send("/once/k/keep/60000")
    until((tmp_path / "runs").exists)
    waiting = [pool.submit(line.ask, "/once/k/keep/10") for line in (second, third)]
    first.close()
    assert len({each.result(20) for each in waiting}) == 1
    assert len(runs(tmp_path)) == 2
