"""`dev` and real tool chains: the samples with jco, with Vite and React, and as a workspace.

Builds run on this machine whatever the runtime is, so only the handler is tried on both.
"""

from __future__ import annotations

import hashlib
import json
import subprocess

import pytest

from tests.guests import tools
from tests.scenario.dev_process import DevProcess, dev
from tests.scenario.handler_project import ask
from tests.scenario.project import Project
from tests.scenario.sample_project import Loop, edit, served, states, use_sample

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
CALL = "/bill?minutes=95"
SECONDS = 600.0
"""For one step: npm installs, jco builds, and a component is compiled."""


def components(project: Project, name: str) -> list[str]:
    """The digests of the components in the builds of an extension."""
    files = (project.home / "build" / name / "tree").glob("**/dist/main.wasm")
    return [hashlib.sha256(it.read_bytes()).hexdigest() for it in files]


def ran(watching: DevProcess, command: str) -> list[str]:
    """The commands of builds with these words."""
    said = (str(it.get("note", "")) for it in watching.seen)
    return [it for it in said if it.startswith("$ ") and command in it]


@pytest.fixture(autouse=True)
def _node() -> None:
    tools.node()


def test_a_handler_that_jco_builds(running: Project) -> None:
    project = running
    # The machine may be busy, and compiling takes all of it.
    project.spec["ready_timeout"] = "300s"
    root = use_sample(project, "hours", {"hours": {"source": "./hours", "build": "auto"}})
    bill = root / "src/bill.ts"
    with dev(project, seconds=SECONDS) as watching:
        loop = Loop(watching, "hours")
        assert ask(project, CALL, "hours") == (
            200,
            '{"hours":1.75,"total":175}',
            False,
        )
        (built,) = components(project, "hours")

        loop.after("a module is saved", lambda: edit(bill, "STEP = 15", "STEP = 30"))
        assert ask(project, CALL, "hours") == (200, '{"hours":2,"total":200}', True)

        good = bill.read_text()
        turn = loop.after("a mistake", lambda: edit(bill, "return {", "return {{"))
        (hours,) = turn["extensions"]
        (problem,) = hours["problems"]
        assert (hours["state"], problem["file"]) == ("failed", "hours/src/bill.ts")
        assert (problem["line"], problem["column"] > 1) == (7, True)
        assert ask(project, CALL, "hours") == (200, '{"hours":2,"total":200}', True)

        # Without clocks the time is when the component was built, or algaenv's own for sources.
        bill.write_text(good.replace("return {", "return { at: Date.now() % 1e6,"))
        loop.turn_of("it is mended", "hours", "source")
        turn = loop.turn_of("its component", "hours", "component")
        ((differing,),) = [it["differing"] for it in turn["extensions"]]
        assert [it["at"] for it in differing["differences"]] == ["/at"]
        status, answer, from_source = ask(project, CALL, "hours")
        assert (status, json.loads(answer)["hours"], from_source) == (200, 2, False)
        (rebuilt,) = components(project, "hours")
        assert rebuilt != built

        before = ran(watching, "jco componentize")
        page = root / "ui/index.html"
        turn = loop.after("the page is saved", lambda: edit(page, "<h1>Hours", "<h1>Time"))
        assert states(turn) == {"hours": "applied"}
        assert "<h1>Time" in served(project, "hours")
        assert components(project, "hours") == [rebuilt]
        assert ran(watching, "jco componentize") == before != []
        assert ask(project, CALL, "hours")[2] is False
        assert watching.end() == 0
    assert project.up().ok().changed == 0


def test_a_page_of_vite_and_react(running_process: Project) -> None:
    project = running_process
    root = use_sample(project, "board", {"board": {"source": "./board", "build": "auto"}})
    board = root / "src/Board.tsx"
    with dev(project, seconds=SECONDS) as watching:
        loop = Loop(watching, "board")
        assert "Tickets" in served(project, "board")

        turn = loop.after("a component is saved", lambda: edit(board, "<h1>Tickets", "<h1>Cases"))
        assert states(turn) == {"board": "applied"}
        assert "Cases" in served(project, "board")
        assert "Tickets" not in served(project, "board")

        good = board.read_text()
        turn = loop.after("a mistake", lambda: edit(board, "</h1>", "</h2>"))
        (failed,) = turn["extensions"]
        (problem,) = failed["problems"]
        assert failed["state"] == "failed"
        assert (problem["file"], problem["line"]) == ("board/src/Board.tsx", 12)
        assert "src/Board.tsx:12" in "\n".join(problem["detail"])
        assert "Cases" in served(project, "board")
        turn = loop.after("it is mended", lambda: board.write_text(good))
        assert not turn["failed"]

        style = root / "src/style.css"
        turn = loop.after("a style is saved", lambda: edit(style, "gap: 1rem", "gap: 7rem"))
        assert states(turn) == {"board": "applied"}
        assert "gap:7rem" in served(project, "board")
        assert watching.end() == 0
    assert len(ran(watching, "npm ci")) == 1
    assert len(ran(watching, "vite build")) == 4


def test_each_pattern_of_editors_and_tools_is_one_build(running_process: Project) -> None:
    project = running_process
    root = use_sample(project, "board", {"board": {"source": "./board", "build": "auto"}})
    board = root / "src/Board.tsx"

    def git(*arguments: str) -> None:
        words = ("git", "-c", "user.name=a", "-c", "user.email=a@example.com", *arguments)
        subprocess.run(words, cwd=root, check=True, capture_output=True)

    def rename() -> None:
        written = board.with_name(".Board.tsx.swp")
        written.write_text(board.read_text().replace("Tickets", "Renamed"))
        written.replace(board)

    def truncate() -> None:
        text = board.read_text().replace("Renamed", "Truncated")
        with board.open("w") as file:
            file.flush()
            file.write(text)

    def install() -> None:
        words = ("npm", "install", "--no-audit", "--no-fund", "ms@2.1.3")
        subprocess.run(words, cwd=root, check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "sample")
    git("checkout", "-q", "-b", "other")
    for number in range(500):
        (root / f"src/part{number}.ts").write_text(f"export const part = {number};\n")
    edit(board, "Tickets", "Checked out")
    git("add", ".")
    git("commit", "-q", "-m", "other")
    git("checkout", "-q", "-")
    patterns = {
        "a file is written beside and renamed": (rename, "Renamed"),
        "a file is emptied and written": (truncate, "Truncated"),
        "500 files are checked out": (lambda: git("checkout", "-q", "-f", "other"), "Checked out"),
        "npm installs a package": (install, "Checked out"),
    }
    with dev(project, seconds=SECONDS) as watching:
        loop = Loop(watching, "patterns")
        for number, (what, (change, shown)) in enumerate(patterns.items(), 1):
            turn = loop.after(what, change)
            assert (turn["number"], turn["failed"]) == (number, False)
            assert shown in served(project, "board")
        watching.pass_time(3.0)
        assert watching.end() == 0
    started = [it["number"] for it in watching.seen if it["event"] == "turn_started"]
    assert started == [1, 2, 3, 4]
    assert (project.home / "build/board/tree/node_modules/ms").is_dir()


def test_a_workspace_of_npm(running_process: Project) -> None:
    project = running_process
    names = ("quotes", "totals", "welcome")
    build = {"command": "auto", "workspace": "./workspace"}
    root = use_sample(
        project,
        "workspace",
        {it: {"source": f"./workspace/extensions/{it}", "build": build} for it in names},
    )
    with dev(project, seconds=SECONDS) as watching:
        loop = Loop(watching, "workspace")
        assert "Good to see you" in served(project, "welcome")

        money = root / "packages/money/src/index.ts"
        turn = loop.after("a shared package is saved", lambda: edit(money, "EUR", "CHF"))
        assert states(turn) == {"quotes": "applied", "totals": "applied"}
        for name in ("quotes", "totals"):
            assert "CHF" in served(project, name)

        (root / "packages/glossary/index.ts").write_text("export const WORDS = {};\n")
        (root / "CHANGELOG.md").write_text("# Changes\n")
        welcome = root / "extensions/welcome/src/main.ts"
        turn = loop.after("one extension is saved", lambda: edit(welcome, "Good", "Nice"))
        assert (turn["number"], states(turn)) == (2, {"welcome": "applied"})
        assert "Nice to see you" in served(project, "welcome")
        assert watching.end() == 0
