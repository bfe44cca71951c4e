"""Directories with a spec and extensions that have a user interface only, and algaenv run there."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.command import Ran, Unmeasured, run
from benchmarks.subject import Subject

SERVICE_PORTS = ("store", "console", "redis", "database", "runner")


@dataclass(frozen=True, slots=True)
class Project:
    """An environment of its own, with fixed ports."""

    folder: Path
    runtime: str
    subject: Subject

    @property
    def spec(self) -> Path:
        """Its `algaenv.yaml`."""
        return self.folder / "algaenv.yaml"

    def do(self, *words: str) -> Ran:
        """Run an algaenv command here. Raises Unmeasured when it fails."""
        argv = [str(self.subject.algaenv), *words]
        return run(argv, environ=self.subject.environ, cwd=self.folder)

    def status(self) -> dict[str, object]:
        """What `status --json` prints."""
        shown: dict[str, object] = json.loads(self.do("status", "--json").output)
        return shown

    def id(self) -> str:
        """The id of the environment."""
        environment = self.status()["environment"]
        assert isinstance(environment, dict)
        return str(environment["id"])

    def edit(self, text: str) -> None:
        """Change the page of the first extension."""
        (self.folder / _folder(0) / "ui" / "index.html").write_text(_page(text))

    def edit_to_answer(self, text: str) -> float:
        """Seconds from an edit until its page came back; asking for the address is left out."""
        self.edit(text)
        took = self.do("up").seconds
        extensions = self.status()["extensions"]
        assert isinstance(extensions, list)
        start = time.perf_counter()
        with urllib.request.urlopen(extensions[0]["page_url"], timeout=30) as answer:
            page = answer.read()
        took += time.perf_counter() - start
        if text.encode() not in page:
            raise Unmeasured(f"the page does not show the edit {text!r} after `algaenv up`")
        return took

    def noop(self) -> float:
        """Seconds of an `up`. Raises Unmeasured when it found something to do."""
        ran = self.do("up")
        if b"nothing to change" not in ran.errors:
            told = ran.errors.decode(errors="replace")
            raise Unmeasured(f"somebody disturbed the environment; `up` had to act:\n{told}")
        return ran.seconds

    def unchanged(self) -> None:
        """Raise Unmeasured when an `up` here would be more than a no-op."""
        self.do("plan", "--detailed-exitcode")

    def remove(self) -> None:
        """Take down what runs without an engine, and forget the directory."""
        if self.runtime == "process" and self.folder.exists():
            self.do("down", "--volumes", "--yes")
        shutil.rmtree(self.folder, ignore_errors=True)


def write(
    project: Project, name: str, ports: Sequence[int], store: str, extensions: int = 1
) -> None:
    """Lay the files out: `ports` in the order of SERVICE_PORTS, `store` the engine."""
    numbers = dict(zip(SERVICE_PORTS, ports, strict=True))
    project.folder.mkdir(parents=True)
    sources = {_folder(number): {"source": f"./{_folder(number)}"} for number in range(extensions)}
    for number in range(extensions):
        _write_extension(project.folder / _folder(number), number)
    # The console's port belongs to MinIO; other engines have none.
    console = {"console_port": numbers["console"]} if store == "minio" else {}
    spec: Mapping[str, object] = {
        "version": 1,
        "name": name,
        "runtime": project.runtime,
        "images": "build",
        "store": {"engine": store, "port": numbers["store"], **console},
        "redis": {"port": numbers["redis"]},
        "database": {"version": 18, "port": numbers["database"]},
        "runner": {"port": numbers["runner"]},
        # The peer has four services, too.
        "gateway": "none",
        "extensions": sources,
    }
    # JSON is YAML.
    project.spec.write_text(json.dumps(spec, indent=1))


def _write_extension(folder: Path, number: int) -> None:
    (folder / "ui").mkdir(parents=True)
    manifest = {
        "name": f"com.example.benchmark-{number}",
        "publisher": "Example",
        "version": "0.1.0",
        "runtime": "ui-only@1",
        "ui": {
            "type": "iframe",
            "entry": "ui/index.html",
            "hooks": {"appMenu": {"label": f"Benchmark {number}"}},
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    (folder / "ui" / "index.html").write_text(_page(f"extension {number}"))


def _page(text: str) -> str:
    return f"<!doctype html><title>Benchmark</title><h1>{text}</h1>\n"


def _folder(number: int) -> str:
    return f"extension-{number}"
