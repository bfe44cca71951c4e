"""One `dev` an environment: its lock, its record, and its end from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from algaenv.dev import session as session_module
from algaenv.dev.session import active_session, follow, open_session, stop_session
from algaenv.drivers.state.state_dir import identify
from algaenv.model.lock import Environment
from algaenv.model.problem import Locked

HOLDS = """
import signal, sys
from pathlib import Path
from algaenv.dev.session import open_session
from algaenv.drivers.state.state_dir import identify
if len(sys.argv) > 2:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
session = open_session(identify(Path(sys.argv[1]), "demo"))
print("held" if session else "busy", flush=True)
signal.pause()
"""


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return identify(tmp_path / "algaenv.yaml", "demo")


@pytest.fixture
def other(environment: Environment) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the session."""
    yield from _other(environment)


def _other(environment: Environment, *more: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDS, str(environment.spec), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_nobody_has_it_at_first(environment: Environment) -> None:
    assert active_session(environment) is None
    assert not environment.home.exists()


def test_another_process_has_it(environment: Environment, other: subprocess.Popen[str]) -> None:
    assert open_session(environment) is None
    holder = active_session(environment)
    assert holder is not None
    assert (holder.pid, holder.is_here) == (other.pid, True)
    assert str(holder).startswith(f"`algaenv dev` (process {other.pid}, since 2")


def test_a_killed_one_leaves_it_free(
    environment: Environment, other: subprocess.Popen[str]
) -> None:
    other.kill()
    other.wait()
    assert active_session(environment) is None
    session = open_session(environment)
    assert session is not None
    session.close()


def test_it_is_ended_from_outside(environment: Environment, other: subprocess.Popen[str]) -> None:
    holder = active_session(environment)
    assert holder is not None
    threading.Thread(target=other.wait, daemon=True).start()
    stop_session(holder, environment)
    assert other.wait(5) == -signal.SIGTERM
    assert active_session(environment) is None


def test_one_that_does_not_end_is_an_error(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_STOP_SECONDS", 0.2)
    for _ in _other(environment, "stubborn"):
        holder = active_session(environment)
        assert holder is not None
        with pytest.raises(Locked, match="is at work on it"):
            stop_session(holder, environment)


def test_a_process_of_the_same_number_is_not_ended(environment: Environment) -> None:
    """The record of a lock that a dead process's child still holds names nobody."""
    session = open_session(environment)
    assert session is not None
    lock = environment.home / "logs" / "dev.lock"
    lock.write_text(json.dumps({"pid": os.getpid(), "start": 1, "host": os.uname().nodename,
                                "since": ""}))  # fmt: skip
    holder = active_session(environment)
    assert holder is not None
    assert not holder.is_here
    session.close()


def test_its_record_is_followed_from_the_beginning_to_the_end(environment: Environment) -> None:
    session = open_session(environment)
    assert session is not None
    session.write(document='{"event": "watching"}\n', text="watching hello\n")
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.extend(follow(environment, "jsonl")))
    reader.start()
    _until(lambda: len(found) == 1)
    session.write(document='{"event": "one"}\n{"event": ')
    session.write(document='"two"}\n')
    _until(lambda: len(found) == 3)
    session.close()
    reader.join(5)
    assert not reader.is_alive()
    assert [json.loads(it)["event"] for it in found] == ["watching", "one", "two"]
    assert list(follow(environment, "log")) == ["watching hello\n"]


def test_a_long_record_begins_anew_and_loses_no_line(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "MAX_RECORD_BYTES", 200)
    session = open_session(environment)
    assert session is not None
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.extend(follow(environment, "log")))
    reader.start()
    for number in range(20):
        session.write(text=f"line {number:03} {'x' * 30}\n")
        _until(lambda number=number: len(found) == number + 1)
    session.close()
    reader.join(5)
    assert [it[:8] for it in found] == [f"line {number:03}" for number in range(20)]
    record = environment.home / "logs" / "dev.log"
    assert record.stat().st_size < 400
    assert record.stat().st_mode & 0o777 == 0o600


def _until(holds: object, seconds: float = 10) -> None:
    assert callable(holds)
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
