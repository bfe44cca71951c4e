"""A project on disk, the real program run on it, and what it said: the words of scenarios."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.forked_program import ForkedProgram

Started = subprocess.Popen[str] | ForkedProgram
WAIT_SECONDS = 60.0
UNCHANGING = ("await", "prewarm")
"""Verbs of steps that change no resource."""


def until(what: str, holds: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Poll with a deadline."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s for: {what}")
        time.sleep(0.02)


@dataclass(frozen=True)
class Run:
    """One run of the program with --json."""

    code: int
    events: tuple[dict[str, Any], ...]
    stderr: str

    @property
    def report(self) -> dict[str, Any]:
        assert self.events, self.stderr
        assert self.events[-1]["event"] == "report", self.events[-1]
        return self.events[-1]

    @property
    def changed(self) -> int:
        return int(self.report["changed"])

    def steps(self) -> dict[str, str]:
        """`verb address` → outcome, for the steps that write."""
        return {
            f"{step['verb']} {step['address']}": step["outcome"]
            for step in self.report["steps"]
            if step["verb"] not in UNCHANGING
        }

    def cause(self, address: str) -> str:
        step = next(s for s in self.report["steps"] if s["address"] == address)
        return str(step["cause"] if isinstance(step["cause"], str) else _cause(step["cause"]))

    def problems(self) -> list[dict[str, Any]]:
        found = list(self.report["problems"])
        found += [step["problem"] for step in self.report["steps"] if step.get("problem")]
        return found

    def codes(self) -> set[str]:
        return {problem["code"] for problem in self.problems()}

    def ok(self) -> Run:
        assert self.code == 0, json.dumps(self.report, indent=1) + self.stderr
        return self


def _cause(cause: dict[str, Any]) -> str:
    detail = "; ".join(cause.get("detail") or ())
    return f"{cause['kind']}: {detail}" if detail else str(cause["kind"])


@dataclass
class Project:
    """A directory with a spec; ports are its own."""

    root: Path
    runtime: str
    ports: dict[str, int]
    name: str = "demo"
    spec: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    identity: str = ""
    """The environment's id, kept where its home will be gone."""
    fresh_interpreter: bool = False
    """Whether each run is `python -m algaenv`, as a person starts it, and not forked."""

    @property
    def file(self) -> Path:
        return self.root / "algaenv.yaml"

    @property
    def home(self) -> Path:
        (home,) = [
            p for p in (self.root / ".algaenv").iterdir() if p.is_dir() and p.name != "isolated"
        ]
        return home

    @property
    def id(self) -> str:
        return self.home.name

    def write(self) -> None:
        """Write the spec; JSON is YAML."""
        ports = self.ports
        document: dict[str, Any] = {
            "version": 1,
            "name": self.name,
            "runtime": self.runtime,
            "images": "build",
            "ready_timeout": "60s",
            "store": {
                "engine": "minio",
                "port": ports["store"],
                "console_port": ports["console"],
            },
            "redis": {"port": ports["redis"]},
            "database": {"version": 18, "port": ports["database"]},
            "runner": {"port": ports["runner"]},
        }
        managed = "url" not in (self.spec.get("database") or {})
        if "gateway" in ports and managed:
            document["gateway"] = {"port": ports["gateway"]}
        for key, value in self.spec.items():
            if value is None:
                document.pop(key, None)
            else:
                document[key] = value
        self.file.write_text(json.dumps(document, indent=1))

    def extension(self, key: str = "hello", html: str = "<h1>hello</h1>", **manifest: Any) -> Path:
        """Add (or rewrite) a UI-only extension, and list it in the spec."""
        source = self.root / key
        (source / "ui").mkdir(parents=True, exist_ok=True)
        (source / "ui" / "index.html").write_text(page(html))
        described = {
            "name": f"com.example.{key}",
            "publisher": "Example",
            "version": "0.1.0",
            "runtime": "ui-only@1",
            "ui": {"type": "iframe", "entry": "ui/index.html"},
        } | manifest
        (source / "manifest.json").write_text(json.dumps(described, indent=1))
        listed = self.spec.setdefault("extensions", {})
        listed.setdefault(key, {"source": f"./{key}"})
        self.write()
        return source

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "algaenv", *arguments, "--file", str(self.file)]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **self.environ}

    def start(self, *arguments: str) -> Started:
        """Start it and let it run, output captured."""
        if not self.fresh_interpreter:
            words = [*arguments, "--file", str(self.file)]
            return ForkedProgram(
                "algaenv", words, environment=self.environment(), directory=self.root
            )
        return subprocess.Popen(
            self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(),
            cwd=self.root,
        )

    def run(self, *arguments: str) -> Run:
        """Run it with --json to its end."""
        with self.start(*arguments, "--json") as process:
            stdout, stderr = process.communicate(timeout=180)
        events = tuple(json.loads(line) for line in stdout.splitlines() if line.startswith("{"))
        return Run(process.wait(), events, stderr)

    def up(self, *arguments: str) -> Run:
        return self.run("up", *arguments)

    def down(self, *arguments: str) -> Run:
        return self.run("down", *arguments)

    def text(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it as a person would, output as text."""
        with self.start(*arguments) as process:
            stdout, stderr = process.communicate(timeout=180)
        return subprocess.CompletedProcess(process.args, process.wait(), stdout, stderr)

    def status(self) -> dict[str, Any]:
        done = self.text("status", "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def page(self, name: str = "hello") -> str:
        """What the runner serves at the address that `status` gives."""
        found = next(e for e in self.status()["extensions"] if e["name"] == name)
        return get(found["page_url"])

    def secrets(self) -> dict[str, str]:
        """The app server's variables, secrets included."""
        done = self.text("status", "-o", "env")
        assert done.returncode == 0, done.stderr
        pairs = (line.partition("=") for line in done.stdout.splitlines() if "=" in line)
        return {name: value.strip("'\"") for name, _, value in pairs}

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement in the managed database."""
        import psycopg

        found = self.secrets()
        with psycopg.connect(
            host="127.0.0.1",
            port=int(found["DB_PORT"]),
            user=found["DB_USER_ADMIN"],
            password=found["DB_PASSWORD_ADMIN"],
            dbname=found["DB_NAME_SERVER"],
            autocommit=True,
        ) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def keep_a_row(self) -> None:
        """Write a row that is none of the program's, for `kept` to find."""
        self.sql("DROP TABLE IF EXISTS kept")
        self.sql("CREATE TABLE kept (value text)")
        self.sql("INSERT INTO kept VALUES ('all of it')")

    def kept(self) -> bool:
        """Whether the row of `keep_a_row` is there."""
        return self.sql("SELECT value FROM kept") == [("all of it",)]

    def objects(self) -> list[str]:
        """The keys of the bundles; beside an external database our marks are there too."""
        return [key for key in self.keys() if not key.startswith("algaenv/")]

    def keys(self) -> list[str]:
        """Every key of the bundle bucket."""
        listed = self.s3().list_objects_v2(Bucket="extensions")
        return sorted(str(item["Key"]) for item in listed.get("Contents", []))

    def s3(self) -> Any:
        """A real client of the store."""
        import boto3

        found = self.secrets()
        return boto3.client(
            "s3",
            endpoint_url=found["STORAGE_S3_ENDPOINT"],
            aws_access_key_id=found["STORAGE_S3_ACCESS_KEY"],
            aws_secret_access_key=found["STORAGE_S3_SECRET_KEY"],
            region_name="us-east-1",
        )

    def clean(self) -> None:
        """Leave nothing, whatever state a test left it in."""
        if (self.root / ".algaenv").exists():
            self.text("down", "--volumes", "--yes")


def page(body: str) -> str:
    """A whole HTML document around `body`."""
    return textwrap.dedent(
        f"""\
        <!doctype html>
        <html lang="en"><head><meta charset="utf-8"><title>t</title></head>
        <body>{body}</body></html>
        """
    )


def get(url: str) -> str:
    """The body of a page that answers 200."""
    assert url.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.status == 200
        return str(answer.read().decode())


def drained(process: Started) -> list[dict[str, Any]]:
    """The events that are still to come; both pipes are closed and the exit code is there."""
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        events = [json.loads(line) for line in process.stdout if line.endswith("}\n")]
        process.stderr.read()
    process.wait(timeout=60)
    return events


def interrupt(process: Started) -> None:
    process.send_signal(signal.SIGINT)


@contextmanager
def killed_at(process: Started, sign: Callable[[str], bool]) -> Iterator[None]:
    """Read the JSON events of a run until one fits, then SIGKILL it."""
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if sign(line):
                break
        yield
    finally:
        process.kill()
        drained(process)
