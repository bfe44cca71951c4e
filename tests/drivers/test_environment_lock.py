import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from algaenv.drivers.state import state_dir
from algaenv.drivers.state.environment_lock import exclusive_file_lock, hold
from algaenv.model.lock import Environment
from algaenv.model.problem import Failed, Locked
from algaenv.system.processes import kill_with_variable

HOLDER = """
import subprocess, sys
from pathlib import Path
from algaenv.drivers.state import state_dir
from algaenv.drivers.state.environment_lock import hold

with hold(state_dir.identify(Path(sys.argv[1]), "demo"), "algaenv up"):
    if sys.argv[2:] == ["with-child"]:
        child = subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE)
        print(child.pid, flush=True)
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return state_dir.identify(tmp_path / "algaenv.yaml", "demo")


@contextlib.contextmanager
def holder(environment: Environment, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(environment.spec), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_a_second_run_is_told_at_once_who_holds_it(environment: Environment) -> None:
    with holder(environment) as process:
        assert read_line(process) == "held"
        started = time.monotonic()
        with pytest.raises(Locked) as caught, hold(environment, "algaenv down"):
            pytest.fail("two at once")
        assert time.monotonic() - started < 1
    problem = caught.value.problem
    assert problem.code == "locked"
    assert "`algaenv up`" in problem.summary
    assert f"process {process.pid}" in problem.summary
    assert time.strftime("since %Y-%m-%d", time.gmtime()) in problem.summary
    assert f"kill {process.pid}" in problem.hint


def test_it_can_be_held_again_and_again(environment: Environment) -> None:
    for _ in range(2):
        with hold(environment, "algaenv up"):
            pass


def test_another_thread_of_the_same_run_is_told_too(environment: Environment) -> None:
    progress: list[str] = []

    def second() -> None:
        with contextlib.suppress(Locked), hold(environment, "again"):
            progress.append("held")

    with hold(environment, "algaenv up"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert progress == []


def test_an_exception_releases_it(environment: Environment) -> None:
    with pytest.raises(RuntimeError), hold(environment, "algaenv up"):
        raise RuntimeError
    with hold(environment, "algaenv up"):
        pass


def test_sigkill_releases_it_and_its_file_is_no_obstacle(environment: Environment) -> None:
    with holder(environment) as process:
        assert read_line(process) == "held"
        process.kill()
        process.wait()
        assert (environment.home / "lock").read_text() != ""
        with hold(environment, "algaenv up"):
            pass


def test_what_a_run_has_started_does_not_hold_on(environment: Environment) -> None:
    with holder(environment, "with-child") as process:
        child = int(read_line(process))
        assert read_line(process) == "held"
        process.kill()
        process.wait()
        try:
            os.kill(child, 0)
            with hold(environment, "algaenv up"):
                pass
        finally:
            os.kill(child, signal.SIGKILL)


def test_waiting_ends_with_the_holder(environment: Environment) -> None:
    with holder(environment) as process:
        assert read_line(process) == "held"
        release = threading.Timer(0.1, process.kill)
        release.start()
        with hold(environment, "algaenv up", wait=20):
            assert process.wait() == -signal.SIGKILL
        release.join()


def test_waiting_has_an_end(environment: Environment) -> None:
    with hold(environment, "algaenv up"):
        started = time.monotonic()
        with pytest.raises(Locked), hold(environment, "again", wait=0.2):
            pytest.fail("two at once")
        assert 0.2 <= time.monotonic() - started < 2


def opened(path: Path) -> int:
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += link.readlink() == path
    return count


def test_a_home_that_is_removed_meanwhile_is_made_again(environment: Environment) -> None:
    entered, leave = threading.Event(), threading.Event()

    def next_one() -> None:
        with hold(environment, "algaenv up", wait=20):
            entered.set()
            leave.wait(20)

    with hold(environment, "algaenv down"):
        thread = threading.Thread(target=next_one)
        thread.start()
        deadline = time.monotonic() + 20
        while opened(environment.home / "lock") < 2:
            assert time.monotonic() < deadline
        state_dir.delete(environment)
        assert not entered.is_set()
    assert entered.wait(20)
    # It holds a file that others meet, not the one that was removed under it.
    with pytest.raises(Locked), hold(environment, "algaenv status"):
        pytest.fail("two at once")
    leave.set()
    thread.join()


def test_what_a_dead_holder_left_does_not_spoil_the_next_ones_name(
    environment: Environment,
) -> None:
    (state_dir.open_state_dir(environment) / "lock").write_bytes(b"x" * 3000)
    with (
        hold(environment, "algaenv up"),
        pytest.raises(Locked) as caught,
        hold(environment, "again"),
    ):
        pytest.fail("two at once")
    assert f"process {os.getpid()}" in caught.value.problem.summary


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}", b'{"pid": "x"}'])
def test_an_illegible_holder_is_a_holder(environment: Environment, content: bytes) -> None:
    with hold(environment, "algaenv up"):
        (environment.home / "lock").write_bytes(content)
        with pytest.raises(Locked) as caught, hold(environment, "again"):
            pytest.fail("two at once")
    assert "another run" in caught.value.problem.summary


def test_a_dead_process_is_not_named(environment: Environment) -> None:
    with holder(environment) as process:
        assert read_line(process) == "held"
        content = (environment.home / "lock").read_bytes()
    with hold(environment, "algaenv up"):
        (environment.home / "lock").write_bytes(content)
        with pytest.raises(Locked) as caught, hold(environment, "again"):
            pytest.fail("two at once")
    assert str(process.pid) not in str(caught.value.problem)


def test_a_file_system_without_locks_is_a_problem(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(Failed) as caught, hold(environment, "algaenv up"):
        pytest.fail("held by nothing")
    assert caught.value.problem.code == "lock-unsupported"


def test_alone_waits_and_says_so_once(tmp_path: Path) -> None:
    messages: list[str] = []
    with exclusive_file_lock(tmp_path / "lock", messages.append, lambda: False) as held:
        assert held
        with exclusive_file_lock(
            tmp_path / "lock", messages.append, lambda: len(messages) > 0
        ) as second:
            assert not second
    assert len(messages) == 1


def test_reaping_ends_exactly_the_marked_ones(tmp_path: Path) -> None:
    mark = str(tmp_path)
    environ = {**os.environ, "CHECK_MARK": mark}
    sleep = ["sleep", "60"]
    with (
        subprocess.Popen(sleep, env=environ, start_new_session=True) as marked,
        subprocess.Popen(sleep, env=environ | {"CHECK_MARK": f"{mark}-other"}) as other,
        subprocess.Popen(sleep) as plain,
    ):
        try:
            assert kill_with_variable("CHECK_MARK", mark) == 1
            assert marked.wait(5) == -signal.SIGKILL
            assert other.poll() is None
            assert plain.poll() is None
            assert kill_with_variable("CHECK_MARK", mark) == 0
        finally:
            for process in (marked, other, plain):
                process.kill()
