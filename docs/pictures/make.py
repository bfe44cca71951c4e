"""Makes the pictures of the README from a real run: a terminal as SVG, and the workbench as PNG.

    python docs/pictures/make.py        # `make pictures` does the same

It makes an extension from the template `full` in a directory of its own, brings it up without
containers, calls it, and takes everything down again. It needs npm and a Chromium on PATH.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
COLUMNS = 100
LINES = (
    "algaenv new notes",
    "algaenv up",
    "algaenv call notes POST /visits",
    "algaenv call notes /nothing",
)
CALLS = ("GET /greeting", "POST /visits", "GET /visits", "GET /nothing")
FONT = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)
WAITING = re.compile(r"^\S*  waiting for .*\n", re.MULTILINE)
"""What a terminal shows in place, and a pipe again and again."""


def main() -> None:
    """Write both pictures beside this file."""
    with tempfile.TemporaryDirectory(prefix="algaenv-pictures-") as name:
        home = Path(name) / "shop"
        home.mkdir()
        shown = []
        try:
            for line in LINES:
                printed = _run(home, line, failing=line == LINES[-1])
                shown.append(f"\x1b[32m$\x1b[0m \x1b[1m{line}\x1b[0m\n{printed}\n")
                if line == LINES[0]:
                    spec = home / "algaenv.yaml"
                    spec.write_text(f"{spec.read_text()}ports: auto\nruntime: process\n")
            text = WAITING.sub("", "".join(shown)).replace(str(home), "/home/me/shop")
            _draw(text, HERE / "terminal.svg")
            for call in CALLS:
                method, path = call.split()
                _run(home, f"algaenv call notes {method} {path}", failing=True)
            _photograph(json.loads(_run(home, "algaenv status --json")), HERE / "workbench.png")
        finally:
            _run(home, "algaenv down --volumes --yes", failing=True)


def _run(home: Path, line: str, *, failing: bool = False) -> str:
    """What a command line prints, colours included. Raises CalledProcessError."""
    environ = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("algaenv")), *line.split()[1:]],
        cwd=home,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=None if "--json" in line else subprocess.STDOUT,
        text=True,
        check=not failing,
        timeout=600,
    )
    return done.stdout


def _draw(text: str, target: Path) -> None:
    """Draw it as a terminal. The fonts are those of the reader: nothing is fetched."""
    from rich._export_format import CONSOLE_SVG_FORMAT
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(text.rstrip("\n")))
    code = FONT.sub("", CONSOLE_SVG_FORMAT).replace("Fira Code", "ui-monospace, Menlo, Consolas")
    target.write_text(
        console.export_svg(title="algaenv", code_format=code, unique_id="algaenv"),
        encoding="utf-8",
    )


def _photograph(status: dict[str, Any], target: Path) -> None:
    """Take the first page of the workbench in a browser."""
    from playwright.sync_api import sync_playwright

    (gateway,) = (it for it in status["services"] if it["name"] == "gateway")
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox"] if os.geteuid() == 0 else [],
        )
        page = browser.new_page(viewport={"width": 1200, "height": 760})
        page.goto(str(gateway["endpoints"]["url"]))
        page.wait_for_load_state("networkidle")
        page.screenshot(path=target)
        browser.close()


if __name__ == "__main__":
    main()
