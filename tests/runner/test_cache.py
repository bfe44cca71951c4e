"""Fetched once, seen whole or not at all, bounded, and shared between processes."""

from __future__ import annotations

import os
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.guests import built
from tests.guests.native import put_native_code

from .archives import APP, EXTENSION, INDEX, TENANT, Bundle, bundle
from .conformance.packing import Entry, compressed, tar
from .conftest import Start
from .peers import Files, Peer, PeerResponse

WHO = {"x-tenant-id": TENANT}


def fetches(file_server: Peer, made: Bundle) -> int:
    return sum(made.digest.hex in path for path in file_server.paths())


def test_concurrent_first_requests_fetch_once(
    start: Start, demo: Bundle, files: Files, file_server: Peer
) -> None:
    service = start()
    held = threading.Event()
    files.before = lambda: held.wait(10)
    with ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(service.ask, demo.path(), WHO) for _ in range(16)]
        while not fetches(file_server, demo):
            time.sleep(0.01)
        held.set()
        assert {(a.result().status, a.result().body) for a in answers} == {(200, INDEX)}
    assert fetches(file_server, demo) == 1


def test_one_slow_bundle_holds_up_no_other(start: Start, demo: Bundle, files: Files) -> None:
    quick = bundle(note="quick")
    files.objects[quick.key] = quick.archive
    service = start()
    held = threading.Event()
    first = threading.Lock()

    def only_the_first() -> None:
        if first.acquire(blocking=False):
            held.wait(20)

    files.before = only_the_first
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(service.ask, demo.path(), WHO)
        while not first.locked():
            time.sleep(0.01)
        assert service.ask(quick.path(), WHO).status == 200
        assert not slow.done()
        held.set()
        assert slow.result().status == 200


def test_two_processes_share_one_cache(
    start: Start, demo: Bundle, files: Files, file_server: Peer
) -> None:
    one, two = start(), start()
    held = threading.Event()
    files.before = lambda: held.wait(10)
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(service.ask, demo.path(), WHO) for service in (one, two)]
        while not fetches(file_server, demo):
            time.sleep(0.01)
        held.set()
        assert [a.result().status for a in answers] == [200, 200]
    assert fetches(file_server, demo) == 1


def test_a_cache_is_taken_over(start: Start, demo: Bundle, file_server: Peer) -> None:
    first = start()
    first.ask(demo.path(), WHO)
    assert first.stop() == 0
    second = start()
    assert second.ask(demo.path("assets/app.js"), WHO).body == APP
    assert second.line("request")["cache"] == "hit"
    assert fetches(file_server, demo) == 1


def test_a_half_extracted_directory_is_replaced(start: Start, demo: Bundle, tmp_path: Path) -> None:
    left = tmp_path / "cache" / demo.digest.hex / "ui"
    left.mkdir(parents=True)
    (left / "index.html").write_text("half")
    (left / "stale.js").write_text("stale")
    service = start()
    assert service.ask(demo.path(), WHO).body == INDEX
    assert sorted(file.name for file in left.iterdir()) == ["assets", "index.html"]


def test_a_bundle_is_seen_whole_or_not_at_all(start: Start, files: Files, tmp_path: Path) -> None:
    content = {f"ui/{n:03}.js": b"x" * 10_000 for n in range(300)}
    made = bundle(content)
    files.objects[made.key] = made.archive
    service = start()
    folder = tmp_path / "cache" / made.digest.hex
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(service.ask, made.path("299.js"), WHO)
        while not folder.exists():
            assert not answer.done()
        seen = [file for file in folder.rglob("*") if file.is_file()]
        assert len(seen) == len(content) + 1
        assert answer.result().status == 200


def test_a_cache_removed_under_the_service(start: Start, files: Files, tmp_path: Path) -> None:
    import shutil

    made = bundle({"ui/index.html": INDEX, "ui/big.png": bytes(2 * 1024 * 1024)})
    files.objects[made.key] = made.archive
    service = start()
    assert service.ask(made.path("big.png"), WHO).status == 200
    shutil.rmtree(tmp_path / "cache")
    assert service.ask(made.path("big.png"), WHO).status == 200
    assert service.ask(made.path("a/route"), WHO).body == INDEX


def test_last_used_stays_least_used_goes(
    start: Start, files: Files, file_server: Peer, tmp_path: Path
) -> None:
    made = [bundle({"ui/index.html": os.urandom(40_000)}) for _ in range(4)]
    for each in made:
        files.objects[each.key] = each.archive
    service = start(EXT_CACHE_MAX_BYTES="100000")
    a, b, c, d = made
    for each in (a, b, a, c):
        assert service.ask(each.path(), WHO).status == 200
    assert service.line("bundle evicted")["hash"] == b.digest.hex
    assert service.ask(d.path(), WHO).status == 200
    assert service.line("bundle evicted")["hash"] == a.digest.hex
    there = {p.name for p in (tmp_path / "cache").iterdir() if len(p.name) == 64}
    assert there == {c.digest.hex, d.digest.hex}
    assert service.ask(b.path("route"), WHO).status == 200
    assert fetches(file_server, b) == 2
    assert service.ask("/healthz").json["ext_cache_max_bytes"] == "100000"


def test_a_bundle_larger_than_the_cache_is_served(start: Start, demo: Bundle) -> None:
    service = start(EXT_CACHE_MAX_BYTES="1")
    for tail in ("index.html", "assets/app.js"):
        assert service.ask(demo.path(tail), WHO).status == 200


def test_a_cache_far_too_small_still_serves(start: Start, files: Files) -> None:
    made = [bundle(note=str(n)) for n in range(6)]
    for each in made:
        files.objects[each.key] = each.archive
    service = start(EXT_CACHE_MAX_BYTES="1")
    with ThreadPoolExecutor(12) as pool:
        tails = [f"route/{n}" for n in range(8)]
        answers = list(
            pool.map(lambda at: service.ask(at, WHO), [m.path(t) for t in tails for m in made])
        )
    assert {(answer.status, answer.body) for answer in answers} == {(200, INDEX)}


def test_a_smaller_bound_holds_from_the_start(start: Start, files: Files, tmp_path: Path) -> None:
    made = [bundle(note=str(n)) for n in range(3)]
    for each in made:
        files.objects[each.key] = each.archive
    first = start()
    for each in made:
        first.ask(each.path(), WHO)
    first.stop()
    service = start(EXT_CACHE_MAX_BYTES="1")
    gone = {service.line("bundle evicted")["hash"] for _ in made}
    assert gone == {each.digest.hex for each in made}


@pytest.mark.parametrize(
    "archive",
    [b"\x1f" * 1024, bundle().archive[:-20], b"", b"\x28\xb5\x2f\xfd"],
    ids=["not zstd", "truncated", "empty", "a magic number"],
)
def test_archives_that_cannot_be_unpacked(
    start: Start, files: Files, tmp_path: Path, archive: bytes
) -> None:
    made = Bundle(archive)
    files.objects[made.key] = archive
    service = start()
    answer = service.ask(made.path(), WHO)
    assert (answer.status, answer.json) == (500, {"code": "extract_failed"})
    assert answer.headers["cache-control"] == "no-store"
    assert not (tmp_path / "cache" / made.digest.hex).exists()
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []
    assert service.line("request")["why"] == "archive: archive-damaged"


def test_links_in_an_archive_are_passed_over_with_one_warning(
    start: Start, files: Files, tmp_path: Path
) -> None:
    component = built("minimal")
    put_native_code(tmp_path / "cache", component)
    entries = [
        Entry("manifest.json", type=tarfile.SYMTYPE, link="../../etc/passwd"),
        Entry("ui/index.html", INDEX),
        Entry("ui/logo.svg", type=tarfile.LNKTYPE, link="ui/index.html"),
        Entry("ui/.git/HEAD", type=tarfile.SYMTYPE, link="x"),
        Entry("dist/main.wasm", component.read_bytes()),
    ]
    made = Bundle(compressed(tar(entries)))
    files.objects[made.key] = made.archive
    service = start()
    assert service.ask(made.path(), WHO).body == INDEX
    call = {
        "context": {
            "tenant_id": TENANT,
            "extension_id": EXTENSION,
            "content_hash": made.digest.prefixed,
        },
        "http": {"method": "GET", "path": "/"},
    }
    routing = {"x-alga-tenant": TENANT, "x-alga-extension": EXTENSION}
    assert service.post("/v1/execute", call, routing).json["status"] == 200
    (warning,) = [line for line in service.lines if line["event"] == "bundle entries passed over"]
    assert warning["level"] == "warning"
    assert (warning["hash"], warning["count"]) == (made.digest.hex, 2)
    assert warning["entries"] == ["manifest.json: a symbolic link", "ui/logo.svg: a hard link"]


def test_a_handler_that_is_a_link_is_no_handler(start: Start, files: Files) -> None:
    entries = [
        Entry("ui/index.html", INDEX),
        Entry("dist/main.wasm", type=tarfile.SYMTYPE, link="/bin/true"),
    ]
    made = Bundle(compressed(tar(entries)))
    files.objects[made.key] = made.archive
    service = start()
    assert service.ask(made.path(), WHO).body == INDEX
    fields = {"tenant": TENANT, "extension": EXTENSION, "content_hash": made.digest.prefixed}
    assert service.post("/warmup", fields).json["handler"] is False


def test_a_download_that_is_cut(
    start: Start, demo: Bundle, files: Files, file_server: Peer, tmp_path: Path
) -> None:
    file_server.answer = lambda asked: PeerResponse(body=demo.archive, cut=True)
    service = start()
    assert service.ask(demo.path(), WHO).json == {"code": "extract_failed"}
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []
    file_server.answer = files.answer
    assert service.ask(demo.path(), WHO).status == 200


def test_a_cache_that_cannot_be_written(start: Start, demo: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    service = start(EXT_CACHE_ROOT=str(tmp_path / "file" / "cache"))
    assert service.ask(demo.path(), WHO).json == {"code": "extract_failed"}
    health = service.ask("/healthz")
    assert (health.status, health.json["cache_writable"]) == (503, False)
    assert service.ask("/readyz").status == 503


def test_leftovers_of_dead_processes_are_swept(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "tmp"
    (folder / "old").mkdir(parents=True)
    (folder / "old" / "file").write_text("x")
    (folder / "new").write_text("x")
    os.utime(folder / "old", (1, 1))
    service = start()
    until = time.monotonic() + 10
    while (folder / "old").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    assert (folder / "new").exists()
    service.stop()
