"""`doctor` as a program: each fault of a spec and its state directory is made and diagnosed."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from algaenv.drivers.state.state_dir import identify
from algaenv.scaffold.spec_text import SCHEMA_LINE
from tests.cli.program import run
from tests.cli.schemas import REFERENCE, check

SPEC = f"""\
{SCHEMA_LINE}
version: 1
name: demo
runtime: process
extensions:
  hello: ./hello
"""
MANIFEST = {
    "name": "com.example.hello",
    "publisher": "Example",
    "version": "0.1.0",
    "runtime": "ui-only@1",
    "ui": {
        "type": "iframe",
        "entry": "ui/index.html",
        "hooks": {"appMenu": {"label": "Hello"}},
    },
}


@dataclass(frozen=True)
class Examined:
    """What one run of `doctor --json` found."""

    code: int
    document: dict[str, Any]

    def of(self, name: str) -> list[dict[str, Any]]:
        return [it for it in self.document["checks"] if it["id"] == name]

    def wrong(self, name: str) -> dict[str, Any]:
        """The one finding of a check that is no success; it says what, why and how to mend it."""
        (found,) = [it for it in self.of(name) if it["state"] in {"warning", "failed"}]
        assert found["summary"]
        assert found["why"]
        assert len(found["hint"].split()) > 1, found
        return found


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A spec without a fault, never brought up."""
    root = tmp_path / "demo"
    (root / "hello" / "ui").mkdir(parents=True)
    (root / "algaenv.yaml").write_text(SPEC)
    (root / "hello" / "ui" / "index.html").write_text("<!doctype html><title>t</title><p>hello")
    (root / "hello" / "manifest.json").write_text(json.dumps(MANIFEST))
    return root


def home(demo: Path) -> Path:
    """Its state directory, made as `up` makes it."""
    made = identify(demo / "algaenv.yaml", "demo").home
    made.mkdir(parents=True, exist_ok=True)
    made.chmod(0o700)
    made.parent.chmod(0o700)
    (made.parent / ".gitignore").write_text("*\n")
    return made


def examined(directory: Path, *arguments: str, extra: Mapping[str, str] | None = None) -> Examined:
    done = run(directory, "doctor", "--json", *arguments, extra=extra)
    assert done.stderr == ""
    document = json.loads(done.stdout)
    check("doctor", document)
    assert done.returncode == (10 if document["totals"]["failed"] else 0)
    return Examined(done.returncode, document)


def test_without_a_spec_the_machine_is_checked(tmp_path: Path) -> None:
    found = examined(tmp_path)
    assert found.code == 0
    assert found.document["spec"] is None
    assert [it["state"] for it in found.of("spec")] == ["skipped"]
    for name in ("python", "kernel", "proxy", "disk"):
        assert {it["state"] for it in found.of(name)} <= {"ok", "warning"}, name
    text = run(tmp_path, "doctor").stdout
    assert re.search(r"^skipped .*spec.*: there is no spec$", text, re.MULTILINE)
    assert re.search(r"^\d+ checks: ", text, re.MULTILINE)


def test_a_fine_spec_has_no_failure_and_changes_nothing(demo: Path) -> None:
    found = examined(demo)
    assert found.code == 0, found.document
    for name in ("spec", "schema-line", "manifests", "menu", "tools", "runtime", "ports"):
        assert {it["state"] for it in found.of(name)} == {"ok"}, found.of(name)
    assert {it.name for it in demo.iterdir()} == {"algaenv.yaml", "hello"}
    quiet = run(demo, "doctor", "-q").stdout
    assert not re.search(r"^(ok|skipped)", quiet, re.MULTILINE)


def test_a_broken_spec_is_told_and_the_rest_goes_on(demo: Path) -> None:
    (demo / "algaenv.yaml").write_text(SPEC + "storre: {}\nredis: {port: many}\n")
    found = examined(demo)
    assert found.code == 10
    failed = [it for it in found.of("spec") if it["state"] == "failed"]
    assert len(failed) == 2
    assert "algaenv.yaml:7:1: " in failed[0]["summary"]
    assert {it["state"] for it in found.of("kernel")} <= {"ok", "warning"}
    assert [it["state"] for it in found.of("ports")] == ["skipped"]
    missing = run(demo, "doctor", "-f", "nowhere.yaml")
    assert missing.returncode == 10
    assert "spec-missing" in missing.stdout


def test_a_port_that_a_process_holds_is_told_with_its_pid(demo: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (demo / "algaenv.yaml").write_text(SPEC + f"redis: {{port: {port}}}\n")
        found = examined(demo).wrong("ports")
    assert found["state"] == "failed"
    assert f"port {port}, for redis, is held by process {os.getpid()}" in found["summary"]
    assert f"`kill {os.getpid()}`" in found["hint"]


def test_a_tool_that_is_missing_is_named_with_how_to_install_it(demo: Path) -> None:
    spec = SPEC.replace("hello: ./hello", "hello: {source: ./hello, build: cargo component build}")
    (demo / "algaenv.yaml").write_text(spec)
    found = examined(demo, extra={"PATH": "/nowhere"}).of("tools")
    assert {it["state"] for it in found} == {"failed"}
    text = "".join(it["summary"] for it in found)
    assert "no program cargo-component on PATH, which builds hello" in text
    assert any("rustup.rs" in it["hint"] for it in found)


def test_a_program_of_the_runtime_that_is_missing(demo: Path) -> None:
    (demo / "algaenv.yaml").write_text(SPEC + "store: {engine: minio}\n")
    found = examined(demo, extra={"PATH": "/nowhere", "GOBIN": "/nowhere"}).wrong("runtime")
    assert found["state"] == "failed"
    assert "[binary-missing]" in found["summary"]


def test_an_engine_that_the_spec_needs_and_that_does_not_answer(demo: Path) -> None:
    (demo / "algaenv.yaml").write_text(SPEC.replace("process", "docker"))
    silent = {"DOCKER_HOST": f"unix://{demo}/nothing.sock"}
    assert examined(demo, extra=silent).wrong("engine")["state"] == "failed"
    assert [it["state"] for it in examined(demo).of("tenant")] == ["skipped"]


def test_a_database_of_others_that_does_not_answer(demo: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    url = f"postgresql://me:planted-secret@127.0.0.1:{port}/alga"
    (demo / "algaenv.yaml").write_text(SPEC + f"database: {{url: '{url}'}}\n")
    found = examined(demo)
    assert "[database-unreachable]" in found.wrong("tenant")["summary"]
    assert "planted-secret" not in json.dumps(found.document)


def test_an_unpublishable_manifest_is_told_with_its_place(demo: Path) -> None:
    (demo / "hello" / "manifest.json").write_text('{\n  "name": "x",\n}\n')
    found = examined(demo).wrong("manifests")
    assert found["state"] == "failed"
    assert "manifest.json:2:14" in found["summary"]


@pytest.mark.parametrize(
    ("change", "spec", "words"),
    [
        ({"ui": {"type": "iframe", "entry": "ui/index.html"}}, "", "names no menu entry"),
        ({}, "{source: ./hello, enabled: false}", "it is switched off"),
    ],
)
def test_an_extension_that_is_missing_in_the_sidebar(
    demo: Path, change: dict[str, Any], spec: str, words: str
) -> None:
    (demo / "hello" / "manifest.json").write_text(json.dumps(MANIFEST | change))
    (demo / "algaenv.yaml").write_text(SPEC.replace("./hello", spec or "./hello"))
    found = examined(demo).wrong("menu")
    assert (
        f"hello is missing in the sidebar: {words}" in found["summary"] or words in found["summary"]
    )


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (SPEC.removeprefix(f"{SCHEMA_LINE}\n"), "no line of the spec names its schema"),
        (
            SPEC.replace(SCHEMA_LINE, "# yaml-language-server: $schema=./gone.json"),
            "cannot be read: ./gone.json",
        ),
    ],
)
def test_the_line_of_the_schema_is_written(demo: Path, before: str, words: str) -> None:
    spec = demo / "algaenv.yaml"
    spec.write_bytes(before.replace("\n", "\r\n").encode())
    spec.chmod(0o640)
    assert words in examined(demo).wrong("schema-line")["summary"]
    (fixed,) = examined(demo, "--fix").of("schema-line")
    assert "wrote the line of the schema into" in fixed["repaired"]
    assert spec.read_bytes() == SPEC.replace("\n", "\r\n").encode()
    assert spec.stat().st_mode & 0o777 == 0o640
    assert [it["state"] for it in examined(demo).of("schema-line")] == ["ok"]


def test_the_schema_of_another_version_is_told(demo: Path) -> None:
    (demo / "old.json").write_text('{"title": "algaenv"}')
    line = "# yaml-language-server: $schema=old.json"
    (demo / "algaenv.yaml").write_text(SPEC.replace(SCHEMA_LINE, line))
    found = examined(demo, "--fix").wrong("schema-line")
    assert "another version" in found["summary"]
    assert found["hint"] == "write it anew with `algaenv schema > old.json`"
    (demo / "old.json").write_bytes((REFERENCE / "algaenv.schema.json").read_bytes())
    assert [it["state"] for it in examined(demo).of("schema-line")] == ["ok"]


def test_modes_are_repaired_and_what_is_not_ours_is_left_alone(demo: Path) -> None:
    state = home(demo)
    content = {"format": 1, "secrets": {}}
    (state / "secrets.json").write_text(json.dumps(content))
    (state / "secrets.json").chmod(0o644)
    state.chmod(0o755)
    (demo / ".env").write_text("TOKEN=planted-secret\n")
    (demo / ".env").chmod(0o644)
    found = examined(demo, "--fix")
    (directory,) = found.of("state-directory")
    assert directory["state"] == "failed"
    assert "mode 0755" in directory["summary"]
    assert "to 0700" in directory["repaired"]
    repaired, dotenv = found.of("secrets")
    assert "to 0600" in repaired["repaired"]
    assert (dotenv["state"], dotenv["repaired"]) == ("warning", "")
    assert "chmod 600" in dotenv["hint"]
    assert found.code == 0
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert (demo / ".env").stat().st_mode & 0o777 == 0o644
    (demo / ".env").unlink()
    assert [it["state"] for it in examined(demo).of("secrets")] == ["ok"]


def test_without_fix_open_secrets_are_a_failure(demo: Path) -> None:
    state = home(demo)
    (state / "secrets.json").write_text('{"format": 1, "secrets": {}}')
    (state / "secrets.json").chmod(0o604)
    found = examined(demo)
    assert "mode 0604" in found.wrong("secrets")["summary"]
    assert found.wrong("secrets")["can_repair"]


def test_damaged_secrets_are_told_and_kept(demo: Path) -> None:
    state = home(demo)
    (state / "secrets.json").write_text("planted-secret")
    (state / "secrets.json").chmod(0o600)
    found = examined(demo, "--fix")
    assert "[secrets-damaged]" in found.wrong("secrets")["summary"]
    assert "planted-secret" not in json.dumps(found.document)
    assert (state / "secrets.json").read_text() == "planted-secret"


def test_a_state_directory_that_is_a_link_is_not_followed(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (demo / ".algaenv").symlink_to(tmp_path / "elsewhere")
    found = examined(demo, "--fix")
    assert "is a link" in found.wrong("state-directory")["summary"]
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o755


def test_the_line_for_git_is_written(demo: Path) -> None:
    state = home(demo)
    (state.parent / ".gitignore").unlink()
    assert examined(demo).wrong("gitignore")["state"] == "failed"
    (fixed,) = examined(demo, "--fix").of("gitignore")
    assert fixed["repaired"].startswith("wrote ")
    assert (state.parent / ".gitignore").read_text() == "*\n"


def test_what_a_killed_run_has_left_is_removed(demo: Path) -> None:
    state = home(demo)
    half = state / ".secrets.json.4711.0123abcd"
    half.write_text("planted-secret")
    dead = {
        "pid": 4_000_000,
        "start": 1,
        "host": os.uname().nodename,
        "command": "up",
        "since": "x",
    }
    (state / "lock").write_text(json.dumps(dead))
    foreign = state / "notes.txt"
    foreign.write_text("mine")
    found = examined(demo)
    assert str(half) in found.wrong("leftovers")["detail"]
    assert "`up` (process 4000000) since x was killed" in found.wrong("lock")["summary"]
    fixed = examined(demo, "--fix")
    assert all(it["repaired"] for name in ("lock", "leftovers") for it in fixed.of(name))
    assert not half.exists()
    assert foreign.read_text() == "mine"
    again = examined(demo)
    assert [it["state"] for it in (*again.of("lock"), *again.of("leftovers"))] == ["ok", "ok"]


def test_a_run_at_work_is_not_disturbed(demo: Path) -> None:
    state = home(demo)
    script = (
        "import fcntl, sys, os\n"
        f"it = open({str(state / 'lock')!r}, 'w'); fcntl.flock(it, fcntl.LOCK_EX)\n"
        "print('held', flush=True); sys.stdin.read()\n"
    )
    (state / ".secrets.json.4711.0123abcd").write_text("half")
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        found = examined(demo, "--fix")
        holder.communicate(timeout=30)
    assert "at work on it" in found.of("lock")[0]["summary"]
    (left,) = found.of("leftovers")
    assert left["state"] == "failed"
    assert "cannot work on" in left["detail"][-1]
    assert (state / ".secrets.json.4711.0123abcd").exists()


def test_text_escapes_what_others_wrote_and_says_why_and_how(demo: Path) -> None:
    (demo / "hello" / "manifest.json").write_text('{"name": "x\x1b[31m"}')
    done = run(demo, "doctor")
    assert done.returncode == 10
    assert "\x1b" not in done.stdout
    assert re.search(r"^failed +manifests ", done.stdout, re.MULTILINE)
    assert re.search(r"^ +why: what breaks the rules", done.stdout, re.MULTILINE)
    assert re.search(r"^ +hint: ", done.stdout, re.MULTILINE)
