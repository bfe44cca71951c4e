"""The documentation is built as a site without a warning, and is read without a network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, read

LOADED = re.compile(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make docs` makes."""
    if not (Path(sys.prefix) / "mermaid.min.js").exists():
        pytest.skip("needs mermaid: .ci/mermaid puts it into the virtual environment")
    made = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(made)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def test_every_page_is_there_and_listed_for_programs(site: Path) -> None:
    for page in sorted((ROOT / "docs").rglob("*.md")):
        name = page.relative_to(ROOT / "docs")
        folder = name.parent if name.stem == "README" else name.with_suffix("")
        assert (site / folder / "index.html").is_file(), name
        assert (site / name).is_file(), name
        assert f"/{name})" in (site / "llms.txt").read_text()
    assert "## How to" in (site / "llms.txt").read_text()
    whole = (site / "llms-full.txt").read_text()
    assert "# Exit codes" in whole
    assert "One checked-in file" in whole


def test_the_home_page_is_the_readme_with_links_that_work_here(site: Path) -> None:
    home = (site / "index.html").read_text()
    assert 'href="how-to/builds/"' in home
    assert 'href="samples/"' in home
    assert 'href="https://github.com/algaenv/algaenv/blob/main/algaenv.yaml.example"' in home
    assert "make demo" in read("README.md")
    assert "make demo" in home


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        # The canonical address is the one link that a browser does not follow by itself.
        loaded = [
            it for it in LOADED.findall(page.read_text()) if not it.startswith("https://algaenv.")
        ]
        assert loaded == [], page


def test_what_pages_have_from_the_code_is_current() -> None:
    command = [sys.executable, str(ROOT / "docs" / "site" / "reference.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), "run make reference"


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_a_browser_draws_and_searches_it_without_a_network(address: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the playwright wheel")
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    if binary is None:
        pytest.skip("needs chromium on PATH")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=binary, args=arguments)
        page = browser.new_page()
        page.set_default_timeout(30_000)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}/explanation/architecture/")
        # The theme draws into a closed shadow root; the text of the diagram leaves the page.
        page.locator("div.mermaid").nth(2).wait_for()
        assert page.locator("pre.mermaid").count() == 0
        page.goto(address)
        page.locator("input.md-search__input").click()
        page.keyboard.type("port-taken")
        page.locator(".md-search-result__item").first.wait_for()
        assert "Problem codes" in page.locator(".md-search-result__list").inner_text()
        browser.close()
    assert asked
    assert [it for it in asked if not it.startswith((address, "blob:", "data:"))] == []
