"""The `.envrc` of the page gives a shell the variables of the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.docs.pages import blocks, read
from tests.scenario.conftest import docker_slow
from tests.scenario.project import Project

PAGE = "docs/how-to/direnv.md"
SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


def enter(project: Project) -> tuple[dict[str, str], list[str], str]:
    """The environment of a program after the snippet, what is watched, and stderr."""
    (snippet,) = [it.text for it in blocks(read(PAGE)) if it.language == "bash"]
    beside = str(Path(sys.executable).parent)
    environ = {**project.environment(), "PYTHON_HERE": sys.executable}
    environ["PATH"] = os.pathsep.join((beside, environ["PATH"]))
    # As direnv defines it for an .envrc, which runs strictly.
    direnv = 'set -euo pipefail\nwatch_file() { printf "watch %s\\n" "$@"; }\n'
    done = subprocess.run(
        ["bash", "-c", f"{direnv}{snippet}\nexec \"$PYTHON_HERE\" -c '{SHOW}'"],
        cwd=project.root,
        env=environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *watched, shown = done.stdout.splitlines()
    return json.loads(shown), [it.removeprefix("watch ") for it in watched], done.stderr


@docker_slow("running")
def test_a_shell_gets_what_the_app_server_reads(running: Project) -> None:
    project = running
    wanted = project.secrets()
    found, watched, _ = enter(project)
    assert wanted
    assert {name: found.get(name) for name in wanted} == wanted
    state = f".algaenv/{project.id}/last.json"
    assert watched == ["algaenv.yaml", "algaenv.local.yaml", state]
    assert (project.root / state).is_file()


def test_a_shell_gets_nothing_where_nothing_is_up(make_project: Callable[..., Project]) -> None:
    project = make_project("process")
    found, _, stderr = enter(project)
    assert "error[no-variables]" in stderr
    assert "RUNNER_BASE_URL" not in found
