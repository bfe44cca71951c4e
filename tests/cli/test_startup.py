"""Starting is instant: what is not needed is not imported."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.program import command, environ, run

HEAVY = (
    "boto3",
    "botocore",
    "concurrent.futures",
    "docker",
    "obstore",
    "psycopg",
    "pydantic",
    "rich",
    "tenacity",
    "yaml",
    "zstandard",
)


def imported(directory: Path, *arguments: str, scenario: str | None = None) -> set[str]:
    """The modules that a command line loads."""
    watched = command(*arguments, scenario=scenario)
    watched[1:1] = ["-X", "importtime"]
    done = subprocess.run(
        watched, cwd=directory, env=environ(directory), capture_output=True, text=True, check=True
    )
    marks = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in marks}


def heavy(loaded: set[str]) -> set[str]:
    return {name for name in loaded if f"{name}.".startswith(tuple(f"{one}." for one in HEAVY))}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["up", "--help"]])
def test_help_and_version_load_nothing_but_the_grammar(
    tmp_path: Path, arguments: list[str]
) -> None:
    loaded = imported(tmp_path, *arguments)
    assert "argparse" in loaded
    assert heavy(loaded) == set()
    assert loaded.isdisjoint(
        {
            "algaenv.app",
            "algaenv.dependencies",
            "dataclasses",
            "json",
            "pathlib",
            "shutil",
            "typing",
        }
    )


def test_a_run_with_nothing_to_do_never_loads_the_drawing_library(tmp_path: Path) -> None:
    (tmp_path / "algaenv.yaml").write_text("name: demo\n")
    loaded = imported(tmp_path, "up", scenario="noop")
    assert heavy(loaded) == set()


def test_logging_an_event_loads_no_standard_dataclasses(tmp_path: Path) -> None:
    code = (
        "import sys; from algaenv.cli.output.json import event_to_json\n"
        "from algaenv.model.event import RuntimeChosen\n"
        "print(event_to_json(RuntimeChosen('docker', 'why')), 'dataclasses' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=environ(tmp_path), check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.endswith("} False\n")


def test_help_costs_less_than_five_empty_interpreters(tmp_path: Path) -> None:
    run(tmp_path, "--help")  # compiles what was never compiled

    def seconds(words: list[str]) -> float:
        begun = time.perf_counter()
        subprocess.run(words, env=environ(tmp_path), stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - begun

    # The quickest of many, taken in turns: whatever else the machine does only adds.
    empty, asked = [sys.executable, "-c", "pass"], command("--help", scenario=None)
    took = [(seconds(empty), seconds(asked)) for _ in range(15)]
    assert min(help_ for _, help_ in took) < 5 * min(bare for bare, _ in took)
