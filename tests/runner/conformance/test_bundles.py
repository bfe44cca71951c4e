"""3: how bundles are asked for, checked, unpacked and kept.

Seen through pages; what handlers see of it is in test_execute_rows.
"""

from __future__ import annotations

import gzip
import tarfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.runner.archives import APP, INDEX, Bundle

from .asking import Runner
from .conftest import Runners
from .kinds import Differs, Kind, differs, settle
from .packing import Entry, compressed, packed, tar
from .pages import NO_STORE, Page
from .peers import Peers
from .stub import Reply, Request

PAGES = {"ui/index.html": INDEX, "ui/assets/app.js": APP}


def page_of(runner: Runner, peers: Peers, archive: bytes) -> Page:
    return Page.fresh(runner, peers, Bundle(archive))


def kept(runner: Runner, page: Page) -> Path:
    """The bundle's place in the cache directory."""
    folder = runner.cache / page.bundle.digest.hex
    if not folder.exists():
        pytest.skip("not applicable: the cache of the runner cannot be read from here")
    return folder


def names(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


# 3.1, 3.2


def test_3_1_the_key(runner: Runner, peers: Peers) -> None:
    page = Page.fresh(runner, peers)
    page.get()
    (asked,) = peers.store.seen(page.bundle.digest.hex)
    assert asked.method == "GET"
    assert asked.target == (
        f"/bundles/tenants/{page.tenant}/extensions/{page.extension}"
        f"/sha256/{page.bundle.digest.hex}/bundle.tar.zst"
    )
    assert asked.header("authorization") is None
    assert asked.header("accept") == "*/*"


@pytest.mark.profile("configured")
def test_3_2_requests_are_signed(runner: Runner, peers: Peers, kind: Kind) -> None:
    page = Page.fresh(runner, peers)
    assert page.get().status == 200
    (asked,) = peers.store.seen(page.bundle.digest.hex)
    assert asked.path.startswith(f"/bundles/tenants/{page.tenant}/")
    scope = "/eu-test-1/s3/aws4_request"
    if kind is Kind.OURS:
        signed = asked.header("authorization") or ""
        assert signed.startswith("AWS4-HMAC-SHA256 Credential=minio-access/")
        assert scope in signed
        assert "?" not in asked.target
    else:
        assert set(asked.query) == {
            "x-id",
            *(f"X-Amz-{name}" for name in ("Algorithm", "Credential", "Date", "Expires")),
            *(f"X-Amz-{name}" for name in ("SignedHeaders", "Signature")),
        }
        assert asked.query["X-Amz-Credential"][0].startswith("minio-access/")
        assert asked.query["X-Amz-Credential"][0].endswith(scope)
        assert asked.query["X-Amz-Expires"] == ["60"]
        assert asked.query["X-Amz-SignedHeaders"] == ["host"]
    assert differs("signatures-are-in-headers", ours=True, original=False).on(kind) == (
        asked.header("authorization") is not None
    )


@pytest.mark.profile("configured")
@pytest.mark.parametrize(
    ("status", "tries"),
    [
        pytest.param(403, 1, id="3.2-403"),
        pytest.param(404, 1, id="3.2-404"),
        pytest.param(
            503, differs("signed-downloads-are-tried-again", ours=2, original=1), id="3.2-503"
        ),
    ],
)
def test_3_2_what_a_signed_request_may_meet(
    runner: Runner, peers: Peers, kind: Kind, *, status: int, tries: int | Differs[int]
) -> None:
    page = Page.fresh(runner, peers)
    peers.store.on(page.bundle.digest.hex, Reply(status), Reply(body=page.bundle.archive))
    expected = settle(kind, tries)
    assert page.get().status == (200 if expected == 2 else 500)
    assert len(page.downloads) == expected


def test_3_2_redirects_are_followed(runner: Runner, peers: Peers) -> None:
    page = Page.fresh(runner, peers)
    moved = f"/moved/{uuid.uuid4().hex}"
    peers.store.on(moved, Reply(body=page.bundle.archive))
    peers.store.on(page.bundle.digest.hex, Reply(302, headers=(("location", moved),)))
    assert page.get().status == 200


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(404), id="3.2-404"),
        pytest.param(Reply(403, b"<Error/>"), id="3.2-403"),
        pytest.param(Reply(500), id="3.2-500"),
        pytest.param(Reply(body=bytes(200_000), cut=True), id="3.2-cut"),
        pytest.param(Reply(304), id="3.2-304"),
    ],
)
def test_3_2_other_answers_fail_and_are_not_remembered(
    runner: Runner, peers: Peers, kind: Kind, reply: Reply
) -> None:
    page = Page.fresh(runner, peers)
    peers.store.on(page.bundle.digest.hex, reply, Reply(body=page.bundle.archive))
    answer = page.get()
    assert (answer.status, answer.json) == (500, {"code": "extract_failed"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == settle(kind, NO_STORE)
    assert page.get().status == 200
    assert len(page.downloads) == 2


@pytest.mark.profile("dead")
def test_3_2_a_store_that_is_not_there(runner: Runner, peers: Peers, kind: Kind) -> None:
    answer = runner.post(
        "/v1/execute",
        {
            "context": {"tenant_id": "t", "extension_id": "e", "content_hash": "0" * 64},
            "http": {"method": "GET", "path": "/"},
            "limits": {"timeout_ms": 1000},
        },
        {"x-alga-tenant": "t", "x-alga-extension": "e"},
    )
    assert (answer.status, answer.json["status"]) == (200, 502)
    assert answer.json["error"].startswith("bundle_fetch_failed: ")
    shown = "error sending request for url" in answer.json["error"]
    assert shown == settle(kind, differs("errors-name-no-address", ours=False, original=True))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda whole: bytes([whole[0] ^ 0xFF]) + whole[1:], id="3.2-first-byte"),
        pytest.param(lambda whole: whole + b"\0", id="3.2-a-byte-more"),
        pytest.param(lambda whole: b"", id="3.2-nothing"),
    ],
)
def test_3_2_another_content_is_a_mismatch(
    runner: Runner, peers: Peers, kind: Kind, damage: object
) -> None:
    page = Page.fresh(runner, peers)
    assert callable(damage)
    damaged: bytes = damage(page.bundle.archive)
    peers.store.on(page.bundle.digest.hex, Reply(body=damaged), Reply(body=page.bundle.archive))
    answer = page.get()
    assert (answer.status, answer.json) == (502, {"code": "archive_hash_mismatch"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == settle(kind, NO_STORE)
    assert page.get().status == 200


# 3.3


@pytest.mark.parametrize(
    "archive",
    [
        pytest.param(b"\x1f" * 1024, id="3.3-no-zstd"),
        pytest.param(b"", id="3.3-empty"),
        pytest.param(gzip.compress(tar([Entry("ui/index.html", INDEX)])), id="3.3-gzip"),
        pytest.param(tar([Entry("ui/index.html", INDEX)]), id="3.3-plain-tar"),
        pytest.param(compressed(b"no tar at all" * 100), id="3.3-no-tar"),
        pytest.param(
            compressed(tar([Entry("ui/index.html", bytes(3000))])[:1024]), id="3.3-cut-tar"
        ),
        pytest.param(
            compressed(tar([Entry("ui/index.html", bytes(range(256)) * 40)]))[:-9],
            id="3.3-cut-zstd",
        ),
    ],
)
def test_3_3_archives_that_cannot_be_read(runner: Runner, peers: Peers, archive: bytes) -> None:
    page = page_of(runner, peers, archive)
    answer = page.get()
    assert (answer.status, answer.json) == (500, {"code": "extract_failed"})
    folder = runner.cache / page.bundle.digest.hex
    assert not (folder / "ui").exists()
    assert not (folder / "bundle").exists()
    if (runner.cache / "tmp").exists():
        assert not list((runner.cache / "tmp").glob(f"{page.bundle.digest.hex}*"))


def test_3_3_what_is_taken_out(runner: Runner, peers: Peers) -> None:
    page = page_of(
        runner,
        peers,
        compressed(
            tar(
                [
                    Entry("ui/", type=tarfile.DIRTYPE),
                    Entry("././ui/index.html", INDEX, mode=0o600),
                    Entry("ui/assets/app.js", APP, mode=0o777),
                    Entry("ui/.hidden.js", b"no"),
                    Entry("ui/.folder/x.js", b"no"),
                    Entry("ui/../../escape.js", b"no"),
                    Entry("ui/a..b.js", b"no"),
                    Entry("ui//double.js", b"no"),
                    Entry("/absolute.js", b"no"),
                    Entry("../up.js", b"no"),
                    Entry("./", type=tarfile.DIRTYPE),
                    Entry("empty/", type=tarfile.DIRTYPE),
                    Entry("uix/file.js", b"beside"),
                    Entry("manifest.json", b"{}"),
                    Entry("dist/main.wasm", b"\0asm"),
                    Entry("artifacts/component/x.bin", b"x"),
                ],
                unique=False,
            )
        ),
    )
    assert page.get().body == INDEX
    assert page.get("assets/app.js").body == APP
    for tail in ("a..b.js", "double.js", "escape.js", "absolute.js"):
        assert page.get(tail).body == INDEX
    folder = kept(runner, page)
    assert names(folder) == {
        "ui/index.html",
        "ui/assets/app.js",
        "bundle/uix/file.js",
        "bundle/manifest.json",
        "bundle/dist/main.wasm",
        "bundle/artifacts/component/x.bin",
        "bundle/.ready",
    }
    assert (folder / "bundle" / ".ready").read_text() == "ok"
    modes = {file.stat().st_mode & 0o777 for file in folder.rglob("*") if file.is_file()}
    assert modes == {0o444}
    assert not (folder / "bundle" / "empty").exists()
    assert not list((runner.cache / "tmp").glob(f"{page.bundle.digest.hex}*"))


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(
            Entry("ui/link.js", type=tarfile.SYMTYPE, link="/etc/passwd"), id="3.3-symbolic-link"
        ),
        pytest.param(
            Entry("ui/link.js", type=tarfile.LNKTYPE, link="ui/index.html"), id="3.3-hard-link"
        ),
        pytest.param(
            Entry("ui/link.js", type=tarfile.SYMTYPE, link="../../../../tmp"), id="3.3-climbs"
        ),
        pytest.param(
            Entry("ui/index.html", type=tarfile.SYMTYPE, link="/etc/passwd"),
            id="3.3-link-over-a-file",
        ),
        pytest.param(Entry("ui/pipe.js", type=tarfile.FIFOTYPE), id="3.3-pipe"),
        pytest.param(Entry("ui/device.js", type=tarfile.CHRTYPE), id="3.3-device"),
    ],
)
def test_3_3_links_and_devices(runner: Runner, peers: Peers, entry: Entry) -> None:
    entries = [Entry("ui/index.html", INDEX), entry, Entry("ui/app.js", APP)]
    page = page_of(runner, peers, compressed(tar(entries)))
    assert page.get().status == 200
    assert page.get("app.js").body == APP
    assert page.get(entry.name.removeprefix("ui/")).body == INDEX


def test_3_3_a_file_that_is_too_large(runner: Runner, peers: Peers, kind: Kind) -> None:
    entries = [Entry("ui/index.html", INDEX), Entry("dist/large", bytes(65 * 1024 * 1024))]
    page = page_of(runner, peers, compressed(tar(entries)))
    expected = differs("archives-have-limits", ours=500, original=200)
    assert page.get().status == settle(kind, expected)


@pytest.mark.parametrize(
    ("format", "name"),
    [
        pytest.param(tarfile.GNU_FORMAT, f"ui/{'long/' * 30}{'n' * 120}.js", id="3.3-gnu-names"),
        pytest.param(tarfile.PAX_FORMAT, f"ui/{'long/' * 30}{'n' * 120}.js", id="3.3-pax-names"),
        pytest.param(tarfile.PAX_FORMAT, "ui/é/ü.js", id="3.3-pax-unicode"),
        pytest.param(tarfile.USTAR_FORMAT, f"ui/{'d' * 90}/{'n' * 90}.js", id="3.3-ustar-prefix"),
    ],
)
def test_3_3_long_and_odd_names(runner: Runner, peers: Peers, *, format: int, name: str) -> None:
    from urllib.parse import quote

    entries = [Entry("ui/index.html", INDEX), Entry(name, APP)]
    page = page_of(runner, peers, compressed(tar(entries, format=format)))
    assert page.get(quote(name.removeprefix("ui/"))).body == APP


def test_3_3_frames_in_a_row(runner: Runner, peers: Peers) -> None:
    whole = tar([Entry("ui/index.html", INDEX), Entry("ui/assets/app.js", APP)])
    page = page_of(runner, peers, compressed(whole[:700]) + compressed(whole[700:]))
    assert page.get("assets/app.js").body == APP


def test_3_3_the_last_of_equal_names_counts(runner: Runner, peers: Peers) -> None:
    entries = [
        Entry("ui/index.html", INDEX),
        Entry("ui/assets/app.js", b"first"),
        Entry("ui/assets/app.js", APP),
    ]
    page = page_of(runner, peers, compressed(tar(entries)))
    assert page.get("assets/app.js").body == APP


def test_3_3_a_name_ending_in_tmp(runner: Runner, peers: Peers, kind: Kind) -> None:
    files = {"ui/index.html": INDEX, "dist/main.tmp": b"kept", "dist/main.wasm": b"\0asm"}
    page = page_of(runner, peers, compressed(tar(Entry(*item) for item in files.items())))
    assert page.get().status == 200
    found = "bundle/dist/main.tmp" in names(kept(runner, page))
    assert found == settle(kind, differs("no-file-is-lost", ours=True, original=False))


# 3.4, 3.5


def test_3_4_a_bundle_is_fetched_once(runner: Runner, peers: Peers) -> None:
    page = Page.fresh(runner, peers)
    for _ in range(6):
        assert page.get("assets/app.js").status == 200
    assert len(page.downloads) == 1


def test_3_4_at_once_too(runner: Runner, peers: Peers) -> None:
    page = Page.fresh(runner, peers)
    peers.store.on(page.bundle.digest.hex, Reply(body=page.bundle.archive, wait=0.2))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: page.get("assets/app.js"), range(8)))
    assert {(answer.status, answer.body) for answer in answers} == {(200, APP)}
    assert len(page.downloads) == 1


def test_3_4_whose_bundle_it_is_does_not_matter_once_it_is_there(
    runner: Runner, peers: Peers
) -> None:
    page = Page.fresh(runner, peers)
    assert page.get().status == 200
    peers.store.forget()
    other = f"/ext-ui/another-ext/{page.bundle.digest.prefixed}/index.html"
    assert runner.ask(other, {"x-tenant-id": "another"}).status == 200
    assert page.downloads == []


def test_3_4_downloads_of_two_bundles(runner: Runner, peers: Peers, kind: Kind) -> None:
    pages = [Page.fresh(runner, peers) for _ in range(2)]
    spans: list[tuple[float, float]] = []

    def slowly(page: Page) -> None:
        def reply(request: Request) -> Reply:
            began = time.monotonic()
            peers.store.closing.wait(0.5)
            spans.append((began, time.monotonic()))
            return Reply(body=page.bundle.archive)

        peers.store.on(page.bundle.digest.hex, reply)

    for page in pages:
        slowly(page)
    with ThreadPoolExecutor(2) as pool:
        assert [answer.status for answer in pool.map(Page.get, pages)] == [200, 200]
    (_, first_end), (second_start, _) = sorted(spans)
    together = second_start < first_end
    expected = differs("bundles-do-not-wait-for-each-other", ours=True, original=False)
    assert together == settle(kind, expected)


def test_3_4_a_bundle_that_is_there_is_used_as_it_is(runner: Runner, peers: Peers) -> None:
    page = Page.fresh(runner, peers, packed(PAGES))
    if not runner.cache.exists():
        pytest.skip("not applicable: the cache of the runner cannot be written from here")
    folder = runner.cache / page.bundle.digest.hex
    for name, body in {
        "ui/index.html": b"<p>handed over</p>",
        "bundle/.ready": b"ok",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    assert page.get().body == b"<p>handed over</p>"
    assert page.downloads == []


def test_3_4_files_without_the_marker(runner: Runner, peers: Peers, kind: Kind) -> None:
    page = Page.fresh(runner, peers, packed(PAGES))
    if not runner.cache.exists():
        pytest.skip("not applicable: the cache of the runner cannot be written from here")
    folder = runner.cache / page.bundle.digest.hex / "ui"
    folder.mkdir(parents=True)
    (folder / "index.html").write_bytes(b"left over")
    expected = differs("a-bundle-appears-as-a-whole", ours=INDEX, original=b"left over")
    assert page.get().body == settle(kind, expected)


def test_3_4_a_bundle_is_seen_as_a_whole(runner: Runner, peers: Peers, kind: Kind) -> None:
    if kind is Kind.ORIGINAL:
        pytest.skip("not applicable: what is seen meanwhile is a matter of luck there")
    many = {"ui/index.html": INDEX} | {f"ui/assets/{n}.js": APP for n in range(800)}
    page = Page.fresh(runner, peers, packed(many))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: page.get(f"assets/{799 - n}.js"), range(48)))
    assert {answer.body for answer in answers} == {APP}


def test_3_5_what_does_not_fit_is_let_go(runners: Runners, peers: Peers, kind: Kind) -> None:
    cache = peers.folder / "small-cache"
    service = runners.start(EXT_CACHE_MAX_BYTES="400000", EXT_CACHE_ROOT=str(cache))
    runner = Runner("127.0.0.1", service.port, cache)
    body = bytes(range(256)) * 600
    pages = [Page.fresh(runner, peers, packed({**PAGES, "ui/big.png": body})) for _ in range(4)]
    for page in pages:
        assert page.get("big.png").body == body

    def held() -> list[Page]:
        return [page for page in pages if (cache / page.bundle.digest.hex).exists()]

    bounded = settle(kind, differs("the-cache-is-bounded", ours=True, original=False))
    until = time.monotonic() + (10 if bounded else 1)
    while len(held()) > 2 and time.monotonic() < until:
        time.sleep(0.02)
    assert (len(held()) <= 2) == bounded
    assert pages[-1] in held()
    assert pages[0].get("big.png").body == body
