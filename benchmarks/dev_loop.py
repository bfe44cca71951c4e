"""`algaenv dev` at work: from a save until the new version answers, and what it costs at rest."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, median
from typing import Any, Final

from benchmarks import machine
from benchmarks.command import Unmeasured
from benchmarks.free_ports import Ports
from benchmarks.project import Project
from benchmarks.runner import components

_SECONDS: Final = 600.0
"""A busy machine compiles the shell for minutes before the first handler answers from source."""
_COMPONENT: Final = Path(__file__).parents[1] / "tests/guests/prebuilt/script.wasm"
_STEPS: Final = {
    "bundle": "upload, and the page asked of the runner",
    "handler": "the handler prepared by the runner",
    "release": "rows",
    "extension": "the page asked of the gateway",
}
HANDLER: Final = "handler"
COMPONENT: Final = "component"
COMPONENT_PATH: Final = "typical"
_IDLE: Final = 0.3
"""Processors at work when nothing compiles."""
_HANDLER: Final = """export function handler() {
  return { status: 200, headers: [], body: new TextEncoder().encode("TEXT") };
}
"""


class Watched:
    """A project with a page and a handler, and the `dev` that watches it."""

    def __init__(self, project: Project, process: subprocess.Popen[str]) -> None:
        self._project = project
        self._process = process
        self._events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._times: list[tuple[float, str]] = []
        """When each event of the turn under way came, and what it ends."""
        self.stretches: list[dict[str, float]] = []
        """Of each edit since `begin`, seconds by what they were spent on."""
        self.processor: list[float] = []
        """Of each edit since `begin`, seconds of processor time of the loop."""
        threading.Thread(target=self._read, daemon=True).start()
        self._wait_for("watching")
        extensions = project.status()["extensions"]
        assert isinstance(extensions, list)
        self._page = extensions[0]
        self._calls = {it["name"]: it["call_url"] for it in extensions}

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            now, event = time.perf_counter(), json.loads(line)
            if name := _end_of(event):
                self._times.append((now, name))
            self._events.put(event)

    def begin(self) -> None:
        """Count from here what edits cost."""
        self.stretches.clear()
        self.processor.clear()

    def _note(self, start: float, ticks: int) -> float:
        """The seconds of an edit that was saved at `start`, when its answer is there."""
        end = time.perf_counter()
        found: dict[str, float] = {}
        before = start
        for at, name in [*self._times, (end, "answer asked for")]:
            if before <= at <= end:
                found[name] = found.get(name, 0.0) + at - before
                before = at
        self.stretches.append(found)
        self.processor.append((self._ticks() - ticks) / os.sysconf("SC_CLK_TCK"))
        return end - start

    def _wait_for(self, name: str) -> dict[str, Any]:
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                event = self._events.get(timeout=deadline - time.monotonic())
            except (queue.Empty, ValueError):
                raise Unmeasured(f"`algaenv dev` printed no {name} in {_SECONDS:g} s") from None
            if event["event"] == name and not event.get("superseded"):
                return event

    def page(self, text: str) -> float:
        """Seconds from the save of a page until it is served."""
        start, ticks = self._start()
        self._project.edit(text)
        turn = self._wait_for("turn_ended")
        old = self._page["content_hash"].rpartition(":")[2]
        url = self._page["page_url"].replace(old, turn["extensions"][0]["digest"])
        if text.encode() not in _get(url):
            raise Unmeasured(f"the page does not show the edit {text!r}")
        return self._note(start, ticks)

    def handler(self, text: str) -> float:
        """Seconds from the save of a handler until it answers so, from source."""
        start, ticks = self._start()
        write_handler(self._project, text)
        while (answer := _get(self._calls[HANDLER] + "x")) != text.encode():
            if time.perf_counter() > start + _SECONDS:
                raise Unmeasured(f"the handler answers {answer[:80]!r} after the edit {text!r}")
            time.sleep(0.002)
        return self._note(start, ticks)

    def component(self, number: int) -> float:
        """Seconds from a component of 12 MB, just built, until it answers.

        What the turn before left to compile with optimisation is waited for.
        """
        self._quiet()
        _until_idle()
        start = time.perf_counter()
        write_component(self._project, number)
        self._wait_for_turn(COMPONENT)
        _get(self._calls[COMPONENT] + COMPONENT_PATH)
        return time.perf_counter() - start

    def _wait_for_turn(self, name: str) -> None:
        """Until a turn has ended in which this extension was replaced, and answers."""
        while True:
            for each in self._wait_for("turn_ended")["extensions"]:
                if each["name"] == name:
                    if each["state"] != "applied":
                        raise Unmeasured(f"{name} is {each['state']}: {each['problems']}")
                    return

    def _start(self) -> tuple[float, int]:
        self._quiet()
        self._times.clear()
        return time.perf_counter(), self._ticks()

    def settled(self) -> None:
        """Wait until the component has taken the place of the source."""
        while any(it["runs_from"] == "source" for it in self._wait_for("turn_ended")["extensions"]):
            pass

    def _quiet(self) -> None:
        """Until no event has come for a moment: what an edit before left to do is done."""
        while True:
            try:
                self._events.get(timeout=0.3)
            except queue.Empty:
                return

    def turns_after_a_save_without_a_change(self) -> int:
        """Turns that begin within two seconds after it."""
        self._quiet()
        spec = self._project.spec
        spec.write_bytes(spec.read_bytes())
        deadline = time.monotonic() + 2.0
        turns = 0
        while (left := deadline - time.monotonic()) > 0:
            try:
                turns += self._events.get(timeout=left)["event"] == "turn_started"
            except queue.Empty:
                break
        return turns

    def at_rest(self, seconds: float = 10.0) -> tuple[float, float]:
        """MiB that are resident, and the share of a processor in percent, without an edit."""
        self._quiet()
        before = self._ticks()
        time.sleep(seconds)
        used = (self._ticks() - before) / os.sysconf("SC_CLK_TCK")
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(it for it in status.splitlines() if it.startswith("VmRSS"))
        return int(line.split()[1]) / 1024, used / seconds * 100

    def _ticks(self) -> int:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])


def _end_of(event: Mapping[str, Any]) -> str:
    """What ended with an event of `dev --json`; empty for what is no end of a stretch."""
    match event["event"]:
        case "turn_started":
            return "file events, and the pause that ends a save"
        case "runtime_chosen":
            return "bundling and packing"
        case "planned":
            return "looking at what is there, and the plan"
        case "step_ended":
            kind = str(event.get("address", "")).partition("/")[0]
            return _STEPS.get(kind, "") if event.get("verb") != "delete" else ""
        case "turn_ended":
            return "removing the old bundle, the end of the turn"
        case _:
            return ""


def breakdown(title: str, watched: Watched) -> str:
    """Medians of where the time of the edits since `begin` went, in milliseconds."""
    names = dict.fromkeys(name for each in watched.stretches for name in each)
    parts = [
        f"{name} {median(each.get(name, 0.0) for each in watched.stretches) * 1000:.0f}"
        for name in names
    ]
    cpu = mean(watched.processor) * 1000
    return (
        f"{title}, where the time goes (medians, ms): {', '.join(parts)}. "
        f"Processor time of the loop: {cpu:.0f} ms an edit."
    )


@contextmanager
def watch(project: Project) -> Iterator[Watched]:
    """Let `dev` watch the project; the environment stays when it ends."""
    process = subprocess.Popen(
        [str(project.subject.algaenv), "dev", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=project.subject.environ,
        cwd=project.folder,
    )
    try:
        yield Watched(project, process)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_SECONDS)
        finally:
            process.kill()


def add_handler(project: Project) -> None:
    """A gateway, and a second extension with a handler; its build copies a component."""
    spec = json.loads(project.spec.read_text())
    folder = project.folder / HANDLER
    (folder / "src").mkdir(parents=True)
    (folder / "main.wasm").write_bytes(_COMPONENT.read_bytes())
    endpoint = {"method": "GET", "path": "/x", "handler": "dist/main"}
    manifest = {
        "name": "com.example.benchmark-handler",
        "publisher": "Example",
        "version": "0.1.0",
        "runtime": "wasm-js@1",
        "api": {"endpoints": [endpoint]},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    write_handler(project, "first")
    command = "mkdir -p dist && cp main.wasm dist/"
    spec["gateway"] = {"port": Ports().take(1)[0]}
    spec["extensions"][HANDLER] = {"source": f"./{HANDLER}", "build": command}
    project.spec.write_text(json.dumps(spec, indent=1))


def write_handler(project: Project, text: str) -> None:
    """Have the source of the handler answer so."""
    (project.folder / HANDLER / "src/handler.js").write_text(_HANDLER.replace("TEXT", text))


def add_component(project: Project) -> None:
    """A gateway, and a second extension: a handler of 12 MB, with no source to run in its place."""
    spec = json.loads(project.spec.read_text())
    spec["gateway"] = {"port": Ports().take(1)[0]}
    spec["ready_timeout"] = "10m"
    folder = project.folder / COMPONENT
    (folder / "dist").mkdir(parents=True)
    manifest = {
        "name": "com.example.benchmark-component",
        "publisher": "Example",
        "version": "0.1.0",
        "runtime": "wasm-js@1",
        "capabilities": list(components.GRANTED),
        "api": {
            "endpoints": [{"method": "GET", "path": f"/{COMPONENT_PATH}", "handler": "dist/main"}]
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    write_component(project, 0)
    spec["extensions"][COMPONENT] = {"source": f"./{COMPONENT}"}
    project.spec.write_text(json.dumps(spec, indent=1))


def write_component(project: Project, number: int) -> None:
    """Put another version in place, as a tool chain does that has just ended."""
    content = components.variant(components.everything(), number)
    target = project.folder / COMPONENT / "dist/main.wasm"
    written = project.folder / "main.wasm"
    written.write_bytes(content)
    written.replace(target)


def _until_idle() -> None:
    deadline = time.monotonic() + _SECONDS
    while machine.busy() > _IDLE:
        if time.monotonic() > deadline:
            raise Unmeasured(f"the machine is busy for {_SECONDS:g} s")


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        content: bytes = answer.read()
        return content
