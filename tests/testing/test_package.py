"""What importing the package and the plugin costs and offers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import algaenv.testing


def test_every_name_is_there() -> None:
    for name in algaenv.testing.__all__:
        assert getattr(algaenv.testing, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        algaenv.testing.nothing  # noqa: B018


def test_the_plugin_imports_nothing_that_a_run_without_the_fixture_needs() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules)\n"
        "import algaenv.testing.plugin\n"
        "print(sorted(it for it in set(sys.modules) - before if it.startswith('algaenv')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['algaenv', 'algaenv.testing', 'algaenv.testing.plugin']"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            "--help",
            ("--algaenv-file", "--algaenv-ephemeral", "--algaenv-runtime", "algaenv_file"),
        ),
        ("--fixtures", ("A tenant of its own for this test", "one for all workers of the run")),
    ],
)
def test_options_and_fixtures_are_explained(
    asked: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:schemathesis", asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    for word in words:
        assert word in done.stdout
