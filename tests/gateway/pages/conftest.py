"""A site for all tests here, and a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from algaenv.runtimes.binaries import find
from tests.gateway.pages.stub_site import Site, start_site
from tests.runner.observability.fake_redis import Server, running
from tests.servers import Postgres, new_database, postgres

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["postgres"]

DEADLINE_MS = 30_000
"""What a page may need on a machine that is busy with other tests."""


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server | None]:
    if find(("valkey-server", "redis-server"), os.environ) is None:
        yield None
        return
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def site(
    postgres: Postgres, redis: Server | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    settings = tmp_path_factory.mktemp("gateway") / "settings"
    with (
        new_database(postgres, shared=True) as database,
        start_site(database, settings, redis) as made,
    ):
        yield made


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One for this directory; beyond it, its event loop would be in the way of other tests."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the playwright wheel")
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    if binary is None:
        pytest.skip("needs chromium on PATH")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    playwright.expect.set_options(timeout=DEADLINE_MS)
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=binary, args=arguments)
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a browser that has been nowhere; errors of the page's own scripts are failures."""
    from playwright.sync_api import ViewportSize

    context = browser.new_context(viewport=ViewportSize(width=1360, height=900))
    context.set_default_timeout(DEADLINE_MS)
    made = context.new_page()
    broken: list[str] = []
    made.on("pageerror", lambda error: broken.append(str(error)))
    yield made
    context.close()
    unexpected = [it for it in broken if "nobody caught this" not in it]
    assert not unexpected


@pytest.fixture(scope="module")
def shot() -> Callable[[Page, str], None]:
    """Takes a screenshot of a page, if somebody named a folder: `ALGAENV_TEST_ARTEFACTS`."""
    folder = os.environ.get("ALGAENV_TEST_ARTEFACTS")

    def take(page: Page, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder, f"{name}.png"), full_page=True)

    return take
