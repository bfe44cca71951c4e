"""The samples as a person has them: copied, and developed with `algaenv dev`."""

from __future__ import annotations

import os
import re
import shutil
import sys
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.guests.recipes import NOT_SOURCES, SAMPLES
from tests.scenario.dev_process import DevProcess
from tests.scenario.project import Project, get

RECORD = "ALGAENV_RECORD_LOOPS"
"""A file to which the lines of the turns are added."""
_REFERENCES = re.compile(r'(?:src|href)="([^":]+\.(?:js|css))"')


def use_sample(project: Project, sample: str, extensions: dict[str, Any]) -> Path:
    """Copy a sample beside the spec, and make these the extensions."""
    root = project.root / sample
    shutil.copytree(SAMPLES / sample, root, ignore=shutil.ignore_patterns(*NOT_SOURCES))
    project.spec["extensions"] = extensions
    project.write()
    return root


def served(project: Project, name: str) -> str:
    """The page of an extension with the scripts and styles that it refers to, as one text."""
    found = next(it for it in project.status()["extensions"] if it["name"] == name)
    address = found["page_url"]
    html = get(address)
    parts = [get(urllib.parse.urljoin(address, it)) for it in _REFERENCES.findall(html)]
    return "\n".join([html, *parts])


def edit(file: Path, old: str, new: str) -> None:
    """As an editor saves it, in place."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


class Loop:
    """Turns of a `dev` that runs, recorded as a person sees them."""

    def __init__(self, watching: DevProcess, title: str) -> None:
        self.watching = watching
        (first,) = [it for it in watching.seen if it["event"] == "report"]
        assert not first["problems"], first["problems"]
        assert not first["failed"], first
        self._note(f"# {title}")

    def after(self, what: str, change: Callable[[], object]) -> dict[str, Any]:
        """Make a change; returns the turn that it leads to."""
        change()
        return self.turn(what)

    def turn(self, what: str) -> dict[str, Any]:
        """The next turn."""
        turn = self.watching.turn()
        self._note(f"{what}:")
        for it in turn["extensions"]:
            self._note(f"  {_line(it)}")
            for call in it.get("differing", ()):
                self._note(f"    differs: {call['method']} {call['path']} {call['differences']}")
        return turn

    def turn_of(self, what: str, name: str, runs_from: str) -> dict[str, Any]:
        """The next turn that applied an extension so."""
        while True:
            turn = self.turn(what)
            for it in turn["extensions"]:
                assert it["state"] != "failed", turn
                if (it["name"], it["state"], it["runs_from"]) == (name, "applied", runs_from):
                    return turn

    def _note(self, line: str) -> None:
        sys.stdout.write(f"{line}\n")
        if file := os.environ.get(RECORD):
            with Path(file).open("a") as stream:
                stream.write(f"{line}\n")


def _line(turn: dict[str, Any]) -> str:
    stages = " · ".join(f"{name} {ms}" for name, ms in turn["stages"].items())
    origin = "  runs from source" if turn["runs_from"] == "source" else ""
    shown = f"{turn['name']}  {turn['state']}  {stages} = {turn['seconds'] * 1000:.0f} ms"
    return f"{shown}  {turn.get('answer', '')}{origin}"


def states(turn: dict[str, Any]) -> dict[str, str]:
    """Extension → what the turn did to it."""
    return {it["name"]: it["state"] for it in turn["extensions"]}
