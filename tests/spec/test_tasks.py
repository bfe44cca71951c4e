"""Tasks in a spec: their order, their directories, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from algaenv.model.problem import SpecError
from algaenv.model.secret import Secret
from algaenv.spec.load import load
from algaenv.spec.provenance import explain_field, extension_names


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_each_comes_after_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    write(tmp_path / "part/algaenv.fragment.yaml", "tasks: {clean: {run: [rm, -f, x]}}\n")
    write(tmp_path / "key", "hidden-value\n")
    spec = write(
        tmp_path / "algaenv.yaml",
        "name: demo\ninclude: ./part\ntasks:\n"
        "  seed: {run: psql -f seed.sql, needs: [migrate, database, migrate], dir: ./db,"
        " inputs: ['*.sql'], timeout: 5s}\n"
        "  migrate: {run: make migrate, needs: [clean], environment: {A: b, KEY: {file: key}}}\n"
        "  x-note: {run: no}\n",
    )
    clean, migrate, seed = load(spec, {}).intent.tasks
    assert [it.name for it in (clean, migrate, seed)] == ["clean", "migrate", "seed"]
    assert (clean.command, clean.shell, clean.directory) == (
        ("rm", "-f", "x"),
        False,
        str(tmp_path / "part"),
    )
    assert migrate.environment == {"A": "b", "KEY": Secret("hidden-value")}
    assert (migrate.inputs, migrate.directory) == (None, str(tmp_path))
    assert seed.needs == ("migrate", "database")
    assert (seed.inputs, seed.timeout, seed.shell) == (("*.sql",), 5.0, True)
    assert (seed.directory, seed.where.line) == (str(tmp_path / "db"), 4)


def test_profiles_of_tasks(tmp_path: Path) -> None:
    text = "name: demo\ntasks:\n  a: {run: x, profiles: [full]}\n  b: {run: x, needs: [a]}\n"
    spec = write(tmp_path / "algaenv.yaml", text)
    with pytest.raises(SpecError) as caught:
        load(spec, {})
    (problem,) = caught.value.problems
    assert (problem.code, problem.where.line if problem.where else 0) == ("spec-task-need", 4)
    assert "`--profile`" in problem.hint
    assert [it.active for it in load(spec, {"ALGAENV_PROFILES": "full"}).intent.tasks] == [True] * 2
    write(spec, text.replace("needs: [a]", "profiles: [more]"))
    assert [it.active for it in load(spec, {}).intent.tasks] == [False, False]


def test_the_local_file_changes_a_task_and_explain_says_so(tmp_path: Path) -> None:
    write(tmp_path / "part/algaenv.fragment.yaml", "tasks: {seed: {run: make, timeout: 5s}}\n")
    spec = write(tmp_path / "algaenv.yaml", "name: demo\ninclude: ./part\n")
    local = write(tmp_path / "algaenv.local.yaml", "tasks: {seed: {timeout: 9s, dir: ./part}}\n")
    (seed,) = load(spec, {}).intent.tasks
    assert (seed.timeout, seed.directory, seed.command) == (9.0, str(tmp_path / "part"), ("make",))
    settings = explain_field(spec, {}, "tasks.seed.timeout").settings
    assert [Path(it.where.file).name for it in settings] == [local.name, "algaenv.fragment.yaml"]
    assert explain_field(spec, {}, "tasks.seed.needs").description.startswith("Services and ext")
    assert extension_names(spec, {}, "tasks") == {"seed"}
    write(local, "tasks: {seed: null}\n")
    assert load(spec, {}).intent.tasks == ()
