"""4.1, 4.5: pages and their files, header by header."""

from __future__ import annotations

import hashlib

import pytest

from tests.runner.archives import APP, INDEX

from .asking import Runner
from .kinds import Differs, Kind, differs, settle
from .pages import FALLBACK, IMMUTABLE, NO_STORE, POLICY, Page, etag
from .peers import Peers
from .profiles import ANCESTORS, CSP, MOST_STATIC_BYTES
from .stub import said

TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "json": "application/json",
    "map": "text/plain",
    "svg": "image/svg+xml",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "woff": "application/font-woff",
    "woff2": "font/woff2",
}
VALID = said({"valid": True})


@pytest.fixture
def page(runner: Runner, peers: Peers) -> Page:
    return Page.fresh(runner, peers)


def _headers(found: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in found.items() if name not in {"date", "connection"}}


def test_4_5_a_page(page: Page) -> None:
    answer = page.get()
    assert (answer.status, answer.body) == (200, INDEX)
    assert _headers(answer.headers) == {
        "content-type": "text/html",
        "content-length": str(len(INDEX)),
        "etag": etag(INDEX),
        "cache-control": IMMUTABLE,
        "x-content-type-options": "nosniff",
        "content-security-policy": POLICY,
    }


def test_4_5_a_file_that_is_no_page(page: Page) -> None:
    answer = page.get("assets/app.js")
    assert (answer.status, answer.body) == (200, APP)
    assert _headers(answer.headers) == {
        "content-type": "text/javascript",
        "content-length": str(len(APP)),
        "etag": etag(APP),
        "cache-control": IMMUTABLE,
        "x-content-type-options": "nosniff",
    }


def test_4_5_unchanged_pages_and_files(page: Page) -> None:
    answer = page.get(headers={"if-none-match": etag(INDEX)})
    assert (answer.status, answer.body) == (304, b"")
    assert _headers(answer.headers) == {
        "etag": etag(INDEX),
        "cache-control": IMMUTABLE,
        "content-security-policy": POLICY,
    }
    answer = page.get("assets/app.js", {"if-none-match": etag(APP)})
    assert answer.status == 304
    assert _headers(answer.headers) == {"etag": etag(APP), "cache-control": IMMUTABLE}


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        pytest.param("{etag}", 304, id="4.5-exact"),
        pytest.param("*", 304, id="4.5-star"),
        pytest.param('"a", {etag} ,"b"', 304, id="4.5-list"),
        pytest.param('"a",*', 304, id="4.5-star-in-a-list"),
        pytest.param("W/{etag}", 200, id="4.5-weak"),
        pytest.param("{bare}", 200, id="4.5-without-quotes"),
        pytest.param('"other"', 200, id="4.5-other"),
        pytest.param("", 200, id="4.5-empty"),
    ],
)
def test_4_5_if_none_match(page: Page, *, tags: str, status: int) -> None:
    spelled = tags.format(etag=etag(INDEX), bare=etag(INDEX).strip('"'))
    answer = page.get(headers={"if-none-match": spelled})
    assert (answer.status, answer.body) == (status, INDEX if status == 200 else b"")


def test_4_5_head(page: Page) -> None:
    whole, head = page.get(), page.get(method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert _headers(head.headers) == _headers(whole.headers)
    assert page.get(headers={"if-none-match": "*"}, method="HEAD").status == 304


@pytest.mark.parametrize(
    "headers",
    [
        {"range": "bytes=0-3"},
        {"if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT"},
        {"accept": "application/json"},
        {"accept-encoding": "gzip, br"},
        {"if-match": '"other"'},
    ],
    ids=lambda headers: f"4.5-{next(iter(headers))}",
)
def test_4_5_headers_that_mean_nothing(page: Page, headers: dict[str, str]) -> None:
    answer = page.get(headers=headers)
    assert (answer.status, answer.body) == (200, INDEX)
    for name in ("last-modified", "accept-ranges", "vary", "content-range", "content-encoding"):
        assert name not in answer.headers


def test_4_5_types(runner: Runner, peers: Peers) -> None:
    page = Page.fresh(
        runner,
        peers,
        {f"ui/file.{suffix}": suffix.encode() for suffix in TYPES}
        | {"ui/FILE.JS": b"upper", "ui/plain": b"none", "ui/a.b/plain": b"none"},
    )
    got = {suffix: page.get(f"file.{suffix}").headers["content-type"] for suffix in TYPES}
    assert got == TYPES
    assert page.get("FILE.JS").headers["content-type"] == "text/javascript"
    for tail in ("plain", "a.b/plain"):
        assert page.get(tail).headers["content-type"] == "application/octet-stream"


# SPA fallback


@pytest.mark.parametrize(
    "tail",
    [
        "some/client/route",
        "missing.js",
        "assets/missing.css",
        "assets",
        "assets/",
        "assets/app.js/deeper",
        "%2561",
        pytest.param("x" * 300, id="a-long-name"),
    ],
)
def test_4_1_the_index_answers_for_other_paths(page: Page, kind: Kind, tail: str) -> None:
    answer = page.get(tail)
    assert (answer.status, answer.body) == (200, INDEX)
    assert answer.headers["content-type"] == "text/html"
    assert answer.headers["etag"] == etag(INDEX)
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == settle(kind, FALLBACK)


def test_4_1_the_index_for_other_paths_may_be_unchanged(page: Page, kind: Kind) -> None:
    answer = page.get("route", {"if-none-match": etag(INDEX)})
    assert (answer.status, answer.headers["content-security-policy"]) == (304, POLICY)
    assert answer.headers["cache-control"] == settle(kind, FALLBACK)


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"ui/dist/index.html": INDEX}, id="4.1-index-in-dist"),
        pytest.param({"ui/app.js": APP}, id="4.1-no-index"),
        pytest.param({"dist/main.wasm": b"\0asm"}, id="4.1-no-pages"),
        pytest.param({}, id="4.1-nothing"),
    ],
)
def test_4_1_a_bundle_without_an_index(
    runner: Runner, peers: Peers, kind: Kind, files: dict[str, bytes]
) -> None:
    page = Page.fresh(runner, peers, files)
    for tail in ("index.html", "route", "missing.js"):
        answer = page.get(tail)
        assert (answer.status, answer.body) == (404, b"")
        assert answer.headers["cache-control"] == settle(kind, NO_STORE)
    for name, body in files.items():
        if name.startswith("ui/"):
            assert page.get(name.removeprefix("ui/")).body == body


# The policy


@pytest.mark.profile("strict")
def test_4_5_frame_ancestors_are_added(runner: Runner, peers: Peers) -> None:
    page = Page.fresh(runner, peers)
    peers.app.on(page.tenant, VALID)
    for headers in ({}, {"if-none-match": "*"}):
        policy = page.get(headers=headers).headers["content-security-policy"]
        assert policy == f"{POLICY}; frame-ancestors {ANCESTORS}"


@pytest.mark.profile("configured")
def test_4_5_the_policy_is_replaced(runner: Runner, peers: Peers) -> None:
    answer = Page.fresh(runner, peers).get()
    assert answer.headers["content-security-policy"] == CSP


@pytest.mark.profile("closed")
def test_4_5_blank_policies_count_as_unset(runner: Runner, peers: Peers) -> None:
    answer = Page.fresh(runner, peers).get()
    assert answer.headers["content-security-policy"] == POLICY


# Sizes


@pytest.mark.profile("strict")
@pytest.mark.parametrize(
    ("size", "status"),
    [
        pytest.param(MOST_STATIC_BYTES, 200, id="4.1-greatest"),
        pytest.param(MOST_STATIC_BYTES + 1, 413, id="4.1-one-more"),
    ],
)
def test_4_1_large_files(
    runner: Runner, peers: Peers, kind: Kind, *, size: int, status: int
) -> None:
    page = Page.fresh(runner, peers, {"ui/index.html": INDEX, "ui/big.png": bytes(size)})
    peers.app.on(page.tenant, VALID)
    for headers in ({}, {"if-none-match": "*"}):
        answer = page.get("big.png", headers)
        if status == 413:
            assert (answer.status, answer.body) == (413, b"asset too large")
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            assert answer.headers["cache-control"] == settle(kind, NO_STORE)
        else:
            assert answer.status == (304 if headers else 200)


@pytest.mark.parametrize("profile", ["plain", "closed"])
def test_4_1_files_of_any_size_without_a_limit(
    request: pytest.FixtureRequest, peers: Peers, profile: str
) -> None:
    runner = request.getfixturevalue("runners").at(profile)
    body = hashlib.shake_128(b"seed").digest(3 * 1024 * 1024)
    page = Page.fresh(runner, peers, {"ui/index.html": INDEX, "ui/big.png": body})
    for _ in range(2):
        answer = page.get("big.png")
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["content-length"] == str(len(body))
        assert answer.headers["etag"] == etag(body)
    assert page.get("big.png", {"if-none-match": etag(body)}).status == 304


# The hash in the URL


@pytest.mark.parametrize(
    ("spelled", "status"),
    [
        pytest.param("{hex}", 400, id="4.1-no-prefix"),
        pytest.param("SHA256:{hex}", 400, id="4.1-prefix-in-capitals"),
        pytest.param("sha256:", 400, id="4.1-no-digits"),
        pytest.param("sha256:{hex}g", 400, id="4.1-no-hex"),
        pytest.param("sha256:{hex}%0A", 400, id="4.1-line-end"),
        pytest.param("md5:1", 400, id="4.1-md5"),
        pytest.param("sha256:%20{hex}", 400, id="4.1-blank"),
        pytest.param("sha256%3A{hex}", 200, id="4.1-encoded-colon"),
        pytest.param("sha256:{upper}", 200, id="4.1-digits-in-capitals"),
        pytest.param(
            "sha256:{short}",
            differs("hashes-have-64-digits", ours=400, original=500),
            id="4.1-63-digits",
        ),
        pytest.param(
            "sha256:{hex}0",
            differs("hashes-have-64-digits", ours=400, original=500),
            id="4.1-65-digits",
        ),
    ],
)
def test_4_1_content_hashes(
    runner: Runner, peers: Peers, kind: Kind, *, spelled: str, status: int | Differs[int]
) -> None:
    page = Page.fresh(runner, peers)
    text = page.bundle.digest.hex
    path = spelled.format(hex=text, upper=text.upper(), short=text[:-1])
    answer = runner.ask(f"/ext-ui/{page.extension}/{path}/index.html", {"x-tenant-id": page.tenant})
    assert answer.status == settle(kind, status)
    if answer.status == 400:
        assert answer.body == b"invalid content hash"
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("extension", "tenant", "status"),
    [
        pytest.param("%2E%2E", "t", 400, id="4.1-extension-dots"),
        pytest.param("a%2Fb", "t", 400, id="4.1-extension-slash"),
        pytest.param("a%0Ab", "t", 400, id="4.1-extension-line-end"),
        pytest.param("e", "../other", 400, id="4.1-tenant-slash"),
        pytest.param("e", "..", 400, id="4.1-tenant-dots"),
    ],
)
def test_4_1_names_that_would_leave_their_place_in_a_key(
    runner: Runner, peers: Peers, kind: Kind, *, extension: str, tenant: str, status: int
) -> None:
    page = Page.fresh(runner, peers)
    answer = runner.ask(
        f"/ext-ui/{extension}/{page.bundle.digest.prefixed}/index.html", {"x-tenant-id": tenant}
    )
    expected = differs("names-are-one-segment", ours=status, original=200)
    assert answer.status == settle(kind, expected)
    if kind is Kind.OURS:
        assert page.downloads == []


@pytest.mark.parametrize("tail", ["", "/"], ids=["4-no-path", "4-empty-path"])
def test_4_no_page_without_a_path(page: Page, kind: Kind, tail: str) -> None:
    answer = page.runner.ask(f"{page.root}{tail}", {"x-tenant-id": page.tenant})
    assert (answer.status, answer.body) == (404, b"")
    assert answer.headers["cache-control"] == settle(kind, NO_STORE)


@pytest.mark.parametrize("name", ["tenant", "path"])
def test_4_a_query_with_a_key_twice(page: Page, name: str) -> None:
    answer = page.get(f"index.html?{name}=a&{name}=b")
    assert answer.status == 400
    assert answer.body.startswith(b"Failed to deserialize query string: ")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_4_other_keys_of_a_query_mean_nothing(page: Page) -> None:
    answer = page.get("index.html?path=../x&v=1&v=2&=&%")
    assert (answer.status, answer.body) == (200, INDEX)
