"""The end of an environment: its record, and a real process that watches it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from algaenv.drivers.state import lifetimes
from algaenv.model.lock import Environment, LifetimeChange
from algaenv.model.problem import Failed
from algaenv.system import lifetime_watcher, locks
from algaenv.system.lifetime import LOCK, RECORD, Lifetime, read_lifetime
from algaenv.system.processes import identify, process_name
from tests.scenario.project import until

ENVIRON = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    home = tmp_path / ".algaenv" / "0123456789"
    home.mkdir(parents=True, mode=0o700)
    yield Environment(home.name, "demo", tmp_path / "algaenv.yaml", home)
    (home / RECORD).unlink(missing_ok=True)
    until("nobody watches", lambda: not locks.is_locked(home / LOCK))


def test_without_an_end_nothing_is_written_and_nobody_watches(environment: Environment) -> None:
    lifetimes.renew(environment, None, ENVIRON)
    assert list(environment.home.iterdir()) == []


def test_each_renewal_counts_anew_and_keeps_what_it_does_not_name(
    environment: Environment,
) -> None:
    lifetimes.renew(environment, LifetimeChange(ttl=900.0, volumes=True), ENVIRON)
    assert stat.S_IMODE((environment.home / RECORD).stat().st_mode) == 0o600
    first = read_lifetime(environment.home)
    assert first is not None
    assert (first.ttl, first.volumes, first.is_over()) == (900.0, True, False)
    assert locks.is_locked(environment.home / LOCK)
    lifetimes.renew(environment, None, ENVIRON)
    second = read_lifetime(environment.home)
    assert second is not None
    assert second.expires is not None
    assert first.expires is not None
    assert second.expires > first.expires
    assert (second.ttl, second.volumes) == (900.0, True)
    lifetimes.renew(environment, LifetimeChange(ttl=0.0), ENVIRON)
    assert not (environment.home / RECORD).exists()


def test_an_owner_that_is_gone_is_told_from_another_with_its_number(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as owner:
        seen = identify(owner.pid)
        assert seen is not None
        held = Lifetime(owner=process_name(seen), owner_pid=owner.pid)
        other = Lifetime(owner=process_name(seen._replace(start=seen.start - 1)))
        assert not held.is_over()
        assert other.is_over()
        owner.kill()
    assert held.is_over()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"ttl": "soon"}', '{"version": 1}'])
def test_a_record_that_cannot_be_read_counts_as_none(text: str, tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text(text)
    assert read_lifetime(tmp_path) is None


def test_a_process_that_cannot_be_started_is_said(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/none/python")
    with pytest.raises(Failed, match="later") as caught:
        lifetimes.renew(environment, LifetimeChange(ttl=900.0), ENVIRON)
    assert caught.value.problem.code == "lifetime-unwatched"


def test_what_fails_is_tried_again_until_it_is_done(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for the program notes its arguments, and does it the second time."""
    program = environment.home / "program.py"
    program.write_text(
        "import sys, os\n"
        f"told = open({str(environment.home / 'told')!r}, 'a+')\n"
        "print(*sys.argv[1:], file=told)\n"
        "told.flush(); told.seek(0)\n"
        "if len(told.readlines()) < 2: sys.exit(5)\n"
        f"os.unlink({str(environment.home / RECORD)!r})\n"
    )
    record = Lifetime(expires=time.time() - 1, volumes=True)._asdict()
    (environment.home / RECORD).write_text(json.dumps(record))
    subprocess.run(
        [
            sys.executable,
            "-m",
            lifetime_watcher.__name__,
            str(environment.home),
            str(environment.spec),
            *(sys.executable, str(program)),
        ],
        check=True,
        timeout=60,
        env=ENVIRON,
    )
    until("it is gone", lambda: not (environment.home / RECORD).exists())
    line = f"down --expired --quiet --yes --file {environment.spec} --volumes\n"
    assert (environment.home / "told").read_text() == line * 2
