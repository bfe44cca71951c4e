"""`/ext-ui/…` end to end, against a plain file server."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from .archives import APP, EXTENSION, INDEX, TENANT, Bundle, bundle
from .conftest import Start
from .peers import Files, Peer

WHO = {"x-tenant-id": TENANT}
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'"
)


def etag(body: bytes) -> str:
    return f'"sha256-{hashlib.sha256(body).hexdigest()}"'


def test_a_page_and_its_304(reuse: Start, demo: Bundle) -> None:
    service = reuse()
    assert service.post("/warmup", {"content_hash": demo.digest.prefixed}).status == 400
    page = service.ask(demo.path(), WHO)
    assert (page.status, page.body) == (200, INDEX)
    headers = {name: value for name, value in page.headers.items() if name != "date"}
    assert headers == {
        "content-type": "text/html",
        "content-length": str(len(INDEX)),
        "etag": etag(INDEX),
        "cache-control": "public, max-age=31536000, immutable",
        "x-content-type-options": "nosniff",
        "content-security-policy": POLICY,
    }
    again = service.ask(demo.path(), WHO | {"if-none-match": etag(INDEX)})
    headers = {name: value for name, value in again.headers.items() if name != "date"}
    assert (again.status, again.body) == (304, b"")
    assert headers == {
        "etag": etag(INDEX),
        "cache-control": "public, max-age=31536000, immutable",
        "content-security-policy": POLICY,
    }


def test_a_script_has_no_policy(reuse: Start, demo: Bundle) -> None:
    script = reuse().ask(demo.path("assets/app.js"), WHO)
    assert (script.status, script.body) == (200, APP)
    assert script.headers["content-type"] == "text/javascript"
    assert script.headers["x-content-type-options"] == "nosniff"
    assert "content-security-policy" not in script.headers
    assert script.immutable


def test_the_index_answers_for_other_paths_and_is_not_kept(reuse: Start, demo: Bundle) -> None:
    service = reuse()
    for tail in ("some/client/route", "missing.js", "assets", "assets/app.js/deeper", "x" * 300):
        answer = service.ask(demo.path(tail), WHO)
        assert (answer.status, answer.body) == (200, INDEX), tail
        assert answer.headers["content-type"] == "text/html"
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["cache-control"] == "no-store"
        known = service.ask(demo.path(tail), WHO | {"if-none-match": etag(INDEX)})
        assert (known.status, known.headers["cache-control"]) == (304, "no-store")


@pytest.mark.parametrize(
    ("env", "policy"),
    [
        (
            {"EXT_UI_FRAME_ANCESTORS": " https://app.example.com "},
            f"{POLICY}; frame-ancestors https://app.example.com",
        ),
        (
            {
                "EXT_UI_CONTENT_SECURITY_POLICY": "default-src 'self'; connect-src 'self' https:",
                "EXT_UI_FRAME_ANCESTORS": "https://ignored",
            },
            "default-src 'self'; connect-src 'self' https:",
        ),
        ({"EXT_UI_CONTENT_SECURITY_POLICY": " ", "EXT_UI_FRAME_ANCESTORS": ""}, POLICY),
        ({"EXT_UI_FRAME_ANCESTORS": "https://x\nset-cookie: a"}, POLICY),
    ],
)
def test_the_policy_can_be_set(
    start: Start, demo: Bundle, env: dict[str, str], policy: str
) -> None:
    service = start(**env)
    assert service.ask(demo.path(), WHO).headers["content-security-policy"] == policy


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        ("*", 304),
        ('"a", {etag} ,"b"', 304),
        ("W/{etag}", 200),
        ('"other"', 200),
        ("", 200),
    ],
)
def test_if_none_match(reuse: Start, demo: Bundle, tags: str, status: int) -> None:
    service = reuse()
    answer = service.ask(demo.path(), WHO | {"if-none-match": tags.format(etag=etag(INDEX))})
    assert answer.status == status


def test_head_and_ranges(reuse: Start, demo: Bundle) -> None:
    service = reuse()
    head = service.ask(demo.path(), WHO, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(INDEX))
    assert head.headers["etag"] == etag(INDEX)
    ranged = service.ask(demo.path(), WHO | {"range": "bytes=0-3"})
    assert (ranged.status, ranged.body) == (200, INDEX)


@pytest.mark.parametrize(
    "tail",
    [
        "../secret.txt",
        "a/../b",
        "./x",
        ".env",
        "assets/.secret/file.js",
        "/etc/passwd",
        "%2Fetc/passwd",
        "a%5Cb.js",
        "a%00b",
        "a%0Ab",
        "a%7Fb",
        "a%C2%85b",
        "bad.exe",
        "file.",
        "john.doe",
        "v1.2/",
        "favicon.ico",
        "%2e%2e/x",
    ],
)
def test_paths_that_are_refused(reuse: Start, demo: Bundle, tail: str) -> None:
    answer = reuse().ask(demo.path(tail), WHO)
    assert (answer.status, answer.body) == (400, b"invalid path")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"


def test_paths_that_are_brought_into_shape(reuse: Start, files: Files) -> None:
    odd = bundle(
        {"ui/index.html": INDEX, "ui/a b/é.JS": b"1", "ui/plain": b"2", "ui/v1.2/x.js": b"3"}
    )
    files.objects[odd.key] = odd.archive
    service = reuse()
    for tail, body in {
        "a%20b//%C3%A9.JS": b"1",
        "a%20b%2F%C3%A9.JS/": b"1",
        "plain": b"2",
        "v1.2/x.js": b"3",
        "%2561": INDEX,
    }.items():
        answer = service.ask(odd.path(tail), WHO)
        assert (answer.status, answer.body) == (200, body), tail
    assert service.ask(odd.path("plain"), WHO).headers["content-type"] == "application/octet-stream"
    types = service.ask(odd.path("a%20b/%C3%A9.JS"), WHO).headers["content-type"]
    assert types == "text/javascript"


def test_every_type(reuse: Start, files: Files) -> None:
    types = {
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
    made = bundle({f"ui/file.{suffix}": suffix.encode() for suffix in types})
    files.objects[made.key] = made.archive
    service = reuse()
    got = {
        suffix: service.ask(made.path(f"file.{suffix}"), WHO).headers["content-type"]
        for suffix in types
    }
    assert got == types


@pytest.mark.parametrize(
    "content_hash",
    [
        "{hex}",
        "SHA256:{hex}",
        "sha256:{short}",
        "sha256:",
        "sha256:{hex}0",
        "sha256:{hex}%0A",
        "md5:1",
    ],
)
def test_hashes_that_are_refused(reuse: Start, demo: Bundle, content_hash: str) -> None:
    spelled = content_hash.format(hex=demo.digest.hex, short=demo.digest.hex[:-1])
    answer = reuse().ask(f"/ext-ui/{EXTENSION}/{spelled}/index.html", WHO)
    assert (answer.status, answer.body) == (400, b"invalid content hash")


def test_hashes_that_are_taken(reuse: Start, demo: Bundle) -> None:
    service = reuse()
    for spelled in (f"sha256:{demo.digest.hex.upper()}", f"sha256%3A{demo.digest.hex}"):
        answer = service.ask(f"/ext-ui/{EXTENSION}/{spelled}/index.html", WHO)
        assert answer.status == 200


def test_urls_without_a_page(reuse: Start, demo: Bundle) -> None:
    service = reuse()
    root = f"/ext-ui/{EXTENSION}/{demo.digest.prefixed}"
    for path in (root, f"{root}/", "/ext-ui/", "/ext-ui//x/y", "/nowhere", "/health"):
        answer = service.ask(path, WHO)
        assert (answer.status, answer.body) == (404, b""), path
        assert answer.headers["cache-control"] == "no-store"
    broken = service.ask(f"{root}/%FF.js", WHO)
    assert (broken.status, broken.body) == (400, b"Invalid URL: Invalid UTF-8 in `path`")
    twice = service.ask(f"{root}/index.html?tenant=a&tenant=b")
    assert twice.status == 400
    assert twice.body.startswith(b"Failed to deserialize query string: ")


def test_other_methods(reuse: Start, demo: Bundle) -> None:
    service = reuse()
    for path, allow in {
        demo.path(): "GET,HEAD",
        "/healthz": "GET,HEAD",
        "/v1/execute": "POST",
    }.items():
        answer = service.ask(path, method="DELETE")
        assert (answer.status, answer.body) == (405, b"")
        assert answer.headers["allow"] == allow


def test_a_bundle_without_an_index(reuse: Start, files: Files) -> None:
    for content in ({"ui/dist/index.html": INDEX}, {"dist/main.wasm": b"\0asm"}):
        made = bundle(content)
        files.objects[made.key] = made.archive
    service = reuse()
    first = bundle({"ui/dist/index.html": INDEX})
    assert service.ask(first.path("dist/index.html"), WHO).body == INDEX
    nothing = bundle({"dist/main.wasm": b"\0asm"})
    for made in (first, nothing):
        answer = service.ask(made.path(), WHO)
        assert (answer.status, answer.body) == (404, b"")


def test_large_files_are_refused_on_request(start: Start, files: Files) -> None:
    made = bundle({"ui/index.html": INDEX, "ui/assets/big.png": bytes(128 * 1024)})
    files.objects[made.key] = made.archive
    service = start(EXT_STATIC_MAX_FILE_BYTES="1024")
    answer = service.ask(made.path("assets/big.png"), WHO)
    assert (answer.status, answer.body) == (413, b"asset too large")
    assert service.ask(made.path(), WHO).status == 200


def test_large_files_are_streamed(start: Start, files: Files) -> None:
    body = hashlib.shake_128(b"seed").digest(5 * 1024 * 1024)
    made = bundle({"ui/index.html": INDEX, "ui/big.png": body})
    files.objects[made.key] = made.archive
    service = start(EXT_STATIC_MAX_FILE_BYTES="no number")
    for _ in range(2):
        answer = service.ask(made.path("big.png"), WHO)
        assert answer.body == body
        assert answer.headers["content-length"] == str(len(body))
        assert answer.headers["etag"] == etag(body)
        assert answer.immutable
    head = service.ask(made.path("big.png"), WHO, method="HEAD")
    assert head.headers["content-length"] == str(len(body))
    known = service.ask(made.path("big.png"), WHO | {"if-none-match": etag(body)})
    assert known.status == 304


def test_what_is_taken_out_of_the_archive(start: Start, files: Files, tmp_path: Path) -> None:
    made = bundle(
        {
            "./ui/index.html": INDEX,
            "ui/.hidden.js": b"no",
            "ui/../../escape.js": b"no",
            "/absolute.js": b"no",
            "dist/main.wasm": b"\0asm",
        }
    )
    files.objects[made.key] = made.archive
    assert start().ask(made.path(), WHO).status == 200
    folder = tmp_path / "cache" / made.digest.hex
    found = {
        str(file.relative_to(folder)): oct(file.stat().st_mode & 0o777)
        for file in folder.rglob("*")
        if file.is_file()
    }
    assert found == {
        "ui/index.html": "0o444",
        "bundle/dist/main.wasm": "0o444",
        "bundle/.ready": "0o444",
    }
    assert (folder / "bundle" / ".ready").read_text() == "ok"
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("path", "headers", "message"),
    [
        ("/ext-ui/%2E%2E/{hash}/index.html", WHO, b"invalid extension id"),
        ("/ext-ui/a%2Fb/{hash}/index.html", WHO, b"invalid extension id"),
        ("/ext-ui/a%0Ab/{hash}/index.html", WHO, b"invalid extension id"),
        ("/ext-ui/demo-ext/{hash}/index.html?tenant=../other", {}, b"invalid tenant"),
        ("/ext-ui/demo-ext/{hash}/index.html?tenant=a%0Ab", {}, b"invalid tenant"),
        ("/ext-ui/demo-ext/{hash}/index.html", {"x-tenant-id": ".."}, b"invalid tenant"),
    ],
)
def test_names_that_would_leave_their_place_in_a_key(
    reuse: Start,
    demo: Bundle,
    file_server: Peer,
    *,
    path: str,
    headers: dict[str, str],
    message: bytes,
) -> None:
    answer = reuse().ask(path.format(hash=demo.digest.prefixed), headers)
    assert (answer.status, answer.body) == (400, message)
    assert not [asked for asked in file_server.paths() if "sha256" in asked]
