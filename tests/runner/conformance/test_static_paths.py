"""4.4: which paths below a bundle may be asked for."""

from __future__ import annotations

import pytest

from tests.runner.archives import INDEX

from .asking import Runner
from .kinds import Kind, settle
from .pages import NO_STORE, Page
from .peers import Peers

FILES = {
    "ui/index.html": INDEX,
    "ui/a b/é.JS": b"odd",
    "ui/plain": b"plain",
    "ui/v1.2/x.js": b"versioned",
    "ui/assets/img/logo.png": b"logo",
    "ui/assets/bad.exe": b"exe",
    "ui/favicon.ico": b"ico",
}


@pytest.fixture(scope="module")
def _page_of() -> dict[str, Page]:
    return {}


@pytest.fixture
def page(runner: Runner, peers: Peers, _page_of: dict[str, Page]) -> Page:
    """One bundle for all paths of a runner."""
    if runner.url not in _page_of:
        _page_of[runner.url] = Page.fresh(runner, peers, FILES)
        _page_of[runner.url].get()
    return _page_of[runner.url]


@pytest.mark.parametrize(
    "tail",
    [
        "../secret.txt",
        "..",
        "a/../b",
        "a/./b",
        "./x",
        "%2e%2e/x",
        "a/%2E%2E/b",
        ".env",
        "%2Eenv",
        "assets/.secret/file.js",
        ".well-known/x",
        "/etc/passwd",
        "%2Fetc/passwd",
        "/x",
        "dir%5Cfile.js",
        "dir\\file.js",
        "a%00b",
        "a%01b",
        "a%0Ab",
        "a%7Fb",
        "a%C2%85b",
        "assets/bad.exe",
        "bad.exe",
        "file.",
        "john.doe",
        "user/john.doe",
        "v1.2",
        "v1.2/",
        "favicon.ico",
        "a.gif",
        "a.ttf",
        "a.mjs",
        "a.txt",
        "main.wasm",
        "a.avif",
        "a.js.map.gz",
    ],
)
def test_4_4_refused(page: Page, kind: Kind, tail: str) -> None:
    answer = page.get(tail)
    assert (answer.status, answer.body) == (400, b"invalid path")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == settle(kind, NO_STORE)


@pytest.mark.parametrize(
    ("tail", "body"),
    [
        ("assets//img///logo.png", b"logo"),
        ("assets/img/logo.png/", b"logo"),
        ("assets%2Fimg%2Flogo.png", b"logo"),
        ("a%20b/%C3%A9.JS", b"odd"),
        ("a%20b//%C3%A9.JS/", b"odd"),
        ("plain", b"plain"),
        ("v1.2/x.js", b"versioned"),
        ("a..b.js", INDEX),
        ("a...js", INDEX),
        ("UPPER.HTML", INDEX),
        ("%2561", INDEX),
        ("route/with/no/dot", INDEX),
    ],
)
def test_4_4_brought_into_shape(page: Page, *, tail: str, body: bytes) -> None:
    answer = page.get(tail)
    assert (answer.status, answer.body) == (200, body)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/ext-ui/{ext}/{hash}/%FF.js", "path"),
        ("/ext-ui/{ext}/{hash}/a/%C3", "path"),
    ],
)
def test_4_paths_that_are_not_utf8(page: Page, *, path: str, part: str) -> None:
    target = path.format(ext=page.extension, hash=page.bundle.digest.prefixed)
    answer = page.runner.ask(target, {"x-tenant-id": page.tenant})
    assert answer.status == 400
    assert answer.body == f"Invalid URL: Invalid UTF-8 in `{part}`".encode()
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_4_1_the_path_comes_after_the_bundle(runner: Runner, peers: Peers) -> None:
    page = Page.fresh(runner, peers)
    peers.store.forget()
    answer = page.get("../secret.txt")
    assert (answer.status, answer.json) == (500, {"code": "extract_failed"})
