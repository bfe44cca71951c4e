"""What is known of processes, also on a kernel without /proc and pidfds."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable

import pytest

from algaenv.system import processes
from algaenv.system.files import memory_file

DEADLINE = 20.0


def by_pidfd(child: subprocess.Popen[bytes]) -> int:
    return os.pidfd_open(child.pid)


@pytest.mark.parametrize("told", [by_pidfd, processes.told_by_pipe])
def test_the_end_of_a_child_is_told_once_it_is_there(
    told: Callable[[subprocess.Popen[bytes]], int],
) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        descriptor = told(child)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        assert poll.poll(0) == []
        assert child.stdin is not None
        child.stdin.close()
        assert [found for found, _ in poll.poll(DEADLINE * 1000)] == [descriptor]
        os.close(descriptor)


def test_without_proc_and_pidfds_no_process_is_seen_and_none_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(*_: object) -> int:
        raise FileNotFoundError

    own = processes.Identity(os.getpid(), 1)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(processes, "_read", missing)
    monkeypatch.setattr(os, "listdir", missing)
    assert processes.pids() == []
    assert processes.identify(os.getpid()) is None
    assert processes.command(os.getpid()) == ""
    assert processes.kill_with_variable("NAME", "value") == 0
    with processes.open_pidfd(own) as descriptor:
        assert descriptor is None
    assert processes.usable_cores() == (os.cpu_count() or 1)


def test_a_file_without_a_place_can_be_written_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for platform in (sys.platform, "darwin"):
        monkeypatch.setattr(sys, "platform", platform)
        descriptor = memory_file("piece")
        os.write(descriptor, b"text")
        assert os.pread(descriptor, 10, 0) == b"text"
        os.close(descriptor)
