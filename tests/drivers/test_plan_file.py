"""The file of a saved plan: private, without a secret, and read only as it was written."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from algaenv.drivers.state.plan_file import is_plan, read_plan, write_plan
from algaenv.model.problem import SpecError
from tests.cli.schemas import check
from tests.reconcile.memory_dependencies import MemoryDependencies
from tests.reconcile.test_saved_plan import save


@pytest.fixture
def memory(tmp_path: Path) -> MemoryDependencies:
    return MemoryDependencies(tmp_path)


def test_the_file_is_private_and_holds_no_secret(
    memory: MemoryDependencies, tmp_path: Path
) -> None:
    plan = save(memory)
    path = tmp_path / "changes.plan"
    write_plan(path, plan)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_plan(path) == plan
    text = path.read_text(encoding="utf-8")
    check("saved-plan", json.loads(text))
    credentials = memory.lock.credentials
    secrets = [getattr(credentials, name) for name in credentials.__match_args__]
    assert not any(it.reveal() in text for it in secrets if it)


def test_a_file_that_is_no_plan_is_refused(memory: MemoryDependencies, tmp_path: Path) -> None:
    path = tmp_path / "changes.plan"
    write_plan(path, save(memory))
    good = path.read_text(encoding="utf-8")
    bad = {
        "": "no plan of",
        "[]": "no plan of",
        good[: len(good) // 2]: "no plan of",
        good.replace('"version": 1', '"version": 2', 1): "the format 2, not 1",
        good.replace('"create"', '"delete"', 1): "edited or cut short",
        good.replace('"absent"', '"kept"', 1): "edited or cut short",
        good.replace('"adopt": false', '"adopt": true', 1): "edited or cut short",
    }
    for text, why in bad.items():
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SpecError, match=why) as error:
            read_plan(path)
        assert error.value.problem.code == "plan-file"
        assert not is_plan(path)
    with pytest.raises(SpecError, match="No such file"):
        read_plan(tmp_path / "none.plan")
