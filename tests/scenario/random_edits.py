"""A seeded person at work: edits, mistakes, deletions, and services that die, while `dev` runs."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import SubprocessError

import psutil

from tests.scenario.dev_process import SECONDS, DevProcess, dev
from tests.scenario.handler_project import add_handler, ask
from tests.scenario.project import Project, get, page, until
from tests.scenario.test_drift import stop

LONGEST_PAUSE = 1.5
_MORE = {"descriptors": 8}
"""How many may be open at one moment and not at another: connections, pipes of the bundler."""


class RandomEdits:
    """Works on the extension `hello` with a handler, and now and then on a second one."""

    def __init__(self, project: Project, seed: int) -> None:
        self.project = project
        self.actions: list[str] = []
        """What was done, for the message of a failure."""
        self._seed = seed
        self._random = random.Random(seed)
        self._source = project.root / "hello"
        self._page = self._answer = "first"
        self._number = 0
        add_handler(project, self._answer)
        self._manifest = (self._source / "manifest.json").read_text()

    def work(self, watching: DevProcess, seconds: float) -> None:
        """Go on for so long; how fast depends on the seed."""
        deadline = time.monotonic() + seconds
        choices: list[Callable[[], None]] = [
            *[self._edit_page] * 4,
            *[self._edit_handler] * 4,
            self._edit_style,
            self._break_handler,
            self._break_manifest,
            self._mend_manifest,
            self._delete_page,
            self._delete_everything,
            self._break_spec,
            self._edit_spec,
            self._second_extension,
            self._kill_service,
        ]
        while time.monotonic() < deadline:
            action = self._random.choice(choices)
            self.actions.append(action.__name__)
            action()
            watching.pass_time(self._random.choice((0.0, 0.05, LONGEST_PAUSE)))
            assert watching.process.poll() is None, f"{self}: {''.join(watching.errors)}"

    def run(self, seconds: float, rounds: int) -> None:
        """Work for `seconds`, and look at what is left; `dev` is killed between two rounds."""
        temporary = self.project.root / "tmp"
        temporary.mkdir()
        self.project.environ = {**self.project.environ, "TMPDIR": str(temporary)}
        self._write_source()
        for left in reversed(range(rounds)):
            with dev(self.project) as watching:
                if not left:
                    # Clients, feeds and the bundler are there once each has been used.
                    self._edit_page()
                    self._edit_handler()
                    self._until_it_converges(watching)
                    before = _used(watching)
                self.work(watching, seconds / rounds)
                if left:
                    watching.end(signal.SIGKILL)
                    self.mend()
                    continue
                self.mend()
                self._until_it_converges(watching)
                self._until_it_uses_no_more(watching, before)
                assert watching.end() == 0
        assert not _left_running(self.project)
        assert not list(temporary.iterdir())

    def __str__(self) -> str:
        return f"seed {self._seed}: {', '.join(self.actions)}"

    def mend(self) -> None:
        """Bring all files in order."""
        self._write_source()
        self.project.write()

    def _until_it_converges(self, watching: DevProcess) -> None:
        """Raises AssertionError with what was still to do and what `dev` said last."""
        try:
            until("it converges", lambda: self._still_to_do() is None, 2 * SECONDS)
        except AssertionError as error:
            last = "\n".join(map(json.dumps, watching.seen[-20:]))
            raise AssertionError(f"{self}\n{self._still_to_do()}\n{last}") from error

    def _until_it_uses_no_more(self, watching: DevProcess, before: Mapping[str, list[str]]) -> None:
        try:
            until("it uses no more", lambda: not _grown(watching, before))
        except AssertionError as error:
            raise AssertionError(f"{self}\n{_grown(watching, before)}\n{before}") from error

    def _still_to_do(self) -> str | None:
        """What keeps page and answer from being those of the files; None when nothing does."""
        planned = self.project.text("plan", "--detailed-exitcode")
        if planned.returncode != 0:
            return planned.stdout + planned.stderr
        try:
            served = get(self._page_url())
            *_, from_source = ask(self.project, "/x")
        except (AssertionError, OSError, StopIteration, KeyError) as error:
            return repr(error)
        if self._page not in served:
            return f"the page is {served!r}, not {self._page!r}"
        return "the handler runs from source" if from_source else None

    def _page_url(self) -> str:
        found = next(it for it in self.project.status()["extensions"] if it["name"] == "hello")
        return str(found["page_url"])

    def _write_source(self) -> None:
        self._source.mkdir(exist_ok=True)
        add_handler(self.project, self._answer)
        (self._source / "manifest.json").write_text(self._manifest)
        (self._source / "ui").mkdir(exist_ok=True)
        (self._source / "ui/index.html").write_text(page(self._page))

    def _next(self) -> str:
        self._number += 1
        return f"edit {self._number}"

    def _write(self, path: Path, text: str) -> None:
        """As one of the editors does."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._random.random() < 0.5:
            path.write_text(text)
        else:
            written = path.with_name(f".{path.name}.swp")
            written.write_text(text)
            written.replace(path)

    def _edit_page(self) -> None:
        self._page = self._next()
        self._write(self._source / "ui/index.html", page(self._page))

    def _edit_style(self) -> None:
        self._write(self._source / "ui/style.css", f"h1 {{ margin: {self._number}px }}")

    def _edit_handler(self) -> None:
        self._answer = self._next()
        self._write_source()

    def _break_handler(self) -> None:
        self._write(self._source / "src/body.ts", "export const body = (\n")

    def _break_manifest(self) -> None:
        self._write(self._source / "manifest.json", self._manifest.replace("{", "", 1))

    def _mend_manifest(self) -> None:
        self._write(self._source / "manifest.json", self._manifest)

    def _delete_page(self) -> None:
        (self._source / "ui/index.html").unlink(missing_ok=True)

    def _delete_everything(self) -> None:
        aside = self._source.with_name("aside")
        if self._source.exists():
            self._source.rename(aside)
            aside.rename(self._source)

    def _break_spec(self) -> None:
        self._write(self.project.file, "version: 1\nbogus: [")

    def _edit_spec(self) -> None:
        self.project.spec["keep_versions"] = self._random.randrange(3)
        self.project.write()

    def _second_extension(self) -> None:
        if "other" in self.project.spec["extensions"]:
            del self.project.spec["extensions"]["other"]
            self.project.write()
        else:
            self.project.extension("other", f"<h1>{self._next()}</h1>")

    def _kill_service(self) -> None:
        service = self._random.choice(("runner", "gateway", "store", "redis"))
        try:
            stop(self.project, service)
        except (AssertionError, LookupError, OSError, ValueError, StopIteration, SubprocessError):
            self.actions.append(f"{service} was not there")


def _grown(watching: DevProcess, before: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """What a `dev` has open or runs now, of each kind of which there is more than before."""
    now = _used(watching)
    return {
        kind: sorted(found)
        for kind, found in now.items()
        if len(found) > len(before[kind]) + _MORE.get(kind, 0)
    }


def _used(watching: DevProcess) -> dict[str, list[str]]:
    """Watches, descriptors and processes of a `dev`."""
    process = psutil.Process(watching.process.pid)
    links = [_link(it) for it in Path(f"/proc/{process.pid}/fd").iterdir()]
    children = [" ".join(it.cmdline()) for it in process.children()]
    return {
        "watches": [it for it in links if "inotify" in it],
        "descriptors": links,
        "processes": [it for it in children if "bundler.mjs" not in it],
    }


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def _left_running(project: Project) -> list[str]:
    """Processes at work in the project that are no service of it."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = " ".join(process.info["cmdline"] or ())
        builds = f"{project.root}/.algaenv" in (process.info["cwd"] or "") and "/build" in (
            process.info["cwd"] or ""
        )
        if builds or ("bundler.mjs" in words and str(project.root) in words):
            found.append(words)
    return found
