"""The commands of the tutorial work in an empty directory."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks, read, typed
from tests.docs.shell import Reader

NPM_SECONDS = 280.0
"""npm fetches its tools, and a component is compiled: half a minute on an idle machine."""
PAGE = read("docs/tutorial/first-extension.md")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A shell in an empty directory."""
    (tmp_path / "reader").mkdir()
    reader = Reader(tmp_path / "reader")
    reader.tool("pipx", 'echo "$*" > "$(dirname "$0")/installed"')
    yield reader
    if (reader.here / ".algaenv").exists():
        reader.types("algaenv down --volumes --yes")


def steps() -> list[tuple[str, list[str]]]:
    """The chapters of the tutorial with their commands."""
    chapters = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    return [
        (chapter.partition("\n")[0], [c for b in blocks(chapter, "console") for c in typed(b)])
        for chapter in chapters
    ]


def page(reader: Reader) -> str:
    """The page of `hello`, opened at the address that `status` gives."""
    status = json.loads(reader.types("algaenv status --json"))
    (hello,) = status["extensions"]
    assert hello["ready"] is True
    assert hello["name"] == "hello"
    with urllib.request.urlopen(hello["page_url"], timeout=10) as answer:
        return str(answer.read().decode())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tutorial_leads_where_it_says(reader: Reader) -> None:
    (_, install), (_, extension), (_, spec), (_, up), (_, edit), *handler, (_, look) = steps()
    for command in (*install, *extension):
        reader.types(command)
    assert reader.here.name == "shop"
    for command in spec:
        reader.types(command)
    planned, done = [reader.types(command) for command in up]
    for shown in (planned, done):
        assert "process/runner" in shown
        assert "release/hello" in shown
    assert not (reader.here / "hello" / "dist").exists(), "nothing of the author's is touched"
    assert re.search(r"^  page  http://127\.0\.0\.1:\d+/", done, re.MULTILINE)
    assert "Hello from my extension" in page(reader)

    *changed, again = [reader.types(command) for command in edit]
    assert changed == [""]
    written = set(re.findall(r"(?:create|update|start|replace|delete) +(\w+)/", again))
    assert written == {"bundle", "release"}, "nothing restarts"
    assert "Greetings from my extension" in page(reader)

    the_handler_leads_where_it_says(reader, *(commands for _, commands in handler))

    status, variables, down, volumes = [reader.types(command) for command in look]
    assert "0.2.0" in status
    assert "RUNNER_BASE_URL=http://127.0.0.1:" in variables
    assert "kept" in down
    assert "Delete all data of shop" in volumes
    assert not (reader.here / ".algaenv").exists()


def the_handler_leads_where_it_says(
    reader: Reader, written: list[str], built: list[str], failing: list[str]
) -> None:
    if shutil.which("npm") is None:
        pytest.skip("needs npm: none is on PATH")
    for command in written:
        reader.types(command)
    package, line, up, call = built
    for command in (package, line):
        reader.types(command)
    assert "release/hello" in reader.types(up, seconds=NPM_SECONDS)
    assert "Hello, Ada!" in reader.types(call)
    wrong, logs, edit, again, right = failing
    shown = reader.types(wrong)
    assert "500" in shown
    assert "exit code 9" in shown
    for words in ('can\'t access property "trim", name is null', "handler@handler.js:9"):
        assert words in shown
        assert words in PAGE
    assert "greeting Ada" in reader.types(logs.replace("-n 3", "-n 30"))
    reader.types(edit)
    reader.types(again, seconds=NPM_SECONDS)
    assert "Hello, stranger!" in reader.types(right)


def test_a_package_that_is_not_published_is_linked_by_its_path(reader: Reader) -> None:
    if shutil.which("npm") is None:
        pytest.skip("needs npm: none is on PATH")
    (spec,) = blocks(read("docs/how-to/unpublished-packages.md"), "yaml")
    (reader.here / "algaenv.yaml").write_text(f"version: 1\nname: shop\nports: auto\n{spec.text}")
    tickets = reader.here / "extensions" / "tickets"
    shared = reader.here / "packages" / "shared"
    for directory in (tickets, shared):
        directory.mkdir(parents=True)
    (shared / "package.json").write_text('{"name": "@acme/shared", "version": "1.0.0"}')
    (shared / "page.html").write_text("<h1>shared</h1>")
    package = {
        "private": True,
        "scripts": {"build": "mkdir -p ui && cp node_modules/@acme/shared/page.html ui/index.html"},
        "dependencies": {"@acme/shared": "file:../../packages/shared"},
    }
    (tickets / "package.json").write_text(json.dumps(package))
    manifest = {
        "name": "com.acme.tickets",
        "publisher": "Acme",
        "version": "1.0.0",
        "runtime": "ui-only@1",
        "ui": {"type": "iframe", "entry": "ui/index.html"},
    }
    (tickets / "manifest.json").write_text(json.dumps(manifest))
    planned = reader.types("algaenv plan --runtime process", seconds=NPM_SECONDS)
    assert "create  release/tickets" in planned


def test_what_it_installs_is_what_this_project_offers(reader: Reader) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in ("docs/tutorial/first-extension.md", "README.md"):
        for command in (c for b in blocks(read(name), "console") for c in typed(b)):
            if command.startswith("pipx "):
                reader.types(command)
    arguments = (reader.home / ".tools" / "installed").read_text().split()
    assert arguments[0] == "install"
    wanted = re.fullmatch(r"(\w+)\[(\w+)\]", arguments[1])
    assert wanted is not None
    assert wanted[1] == project["name"]
    assert wanted[2] in project["optional-dependencies"]


def test_every_command_of_it_is_seen() -> None:
    assert [len(commands) for _, commands in steps()] == [1, 3, 2, 2, 2, 4, 4, 5, 4]
    assert PAGE.count("\n$ ") == sum(len(commands) for _, commands in steps())


@pytest.mark.slow
def test_the_example_spec_comes_up(reader: Reader) -> None:
    """As it is shipped: with everything optional left out."""
    example = (ROOT / "algaenv.yaml.example").read_text(encoding="utf-8")
    (reader.here / "algaenv.yaml").write_text(example)
    assert reader.types("algaenv validate")
    reader.types("algaenv up")
    status = json.loads(reader.types("algaenv status --json"))
    assert status["environment"]["name"] == "my-environment"
    assert {it["state"] for it in status["services"]} == {"ready"}
    assert status["extensions"] == []
    reader.types("algaenv down --volumes")
    assert not (reader.here / ".algaenv").exists()
