"""The names of processes that have to remove something, and whether they still can."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from algaenv.system.processes import boot_id, is_abandoned, owner_name

OTHER_BOOT = "00000000-0000-0000-0000-000000000000"


def test_a_process_that_runs_is_an_owner() -> None:
    name = owner_name()
    assert name.startswith(f"{boot_id()}.")
    assert f".{os.getpid()}." in name
    assert not is_abandoned(name)


def test_a_process_that_has_ended_is_none() -> None:
    code = "from algaenv.system.processes import owner_name; print(owner_name())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert is_abandoned(done.stdout.strip())


def test_another_process_with_the_pid_is_not_the_owner() -> None:
    *rest, start = owner_name().split(".")
    assert is_abandoned(".".join([*rest, str(int(start) + 1)]))


def test_after_a_boot_nothing_has_an_owner() -> None:
    _, *rest = owner_name().split(".")
    assert is_abandoned(".".join([OTHER_BOOT, *rest]))


def test_an_owner_that_cannot_be_seen_counts_as_alive() -> None:
    boot, _, _, start = owner_name().split(".")
    assert not is_abandoned(f"{boot}.1.4194305.{start}")


@pytest.mark.parametrize("name", ["", "a", "a.1.2", f"{OTHER_BOOT}.1.2.x", f"{OTHER_BOOT}.1.2.³"])
def test_what_is_no_name_counts_as_alive(name: str) -> None:
    assert not is_abandoned(name)
