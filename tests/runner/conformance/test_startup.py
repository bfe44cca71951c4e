"""0.1, 2: starting, stopping, and variables that need a process of their own.

Only for runners the suite starts itself.
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.guests import built
from tests.runner.archives import INDEX
from tests.runner.service import clean_env

from .asking import Runner
from .calls import Caller, b64, do, merged
from .conftest import Runners, Setting
from .guests import holding, renamed, script_bundle
from .kinds import Kind, differs, settle
from .packing import packed
from .pages import Page
from .peers import Peers
from .stub import Reply, said

NEEDED = {"ALGA_AUTH_KEY": "k", "REGISTRY_BASE_URL": "http://127.0.0.1:9"}


@pytest.fixture
def own(setting: Setting) -> None:
    if setting.url:
        pytest.skip("not applicable: the runner was started by somebody else")


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("env", "words"),
    [
        pytest.param({"ALGA_AUTH_KEY": "", "ALGA_AUTH_KEY_FILE": "/nowhere"}, "", id="0.1-no-key"),
        pytest.param(
            {"ALGA_AUTH_KEY": " \n", "ALGA_AUTH_KEY_FILE": "/dev/null"}, "", id="0.1-blank-key"
        ),
        pytest.param(
            {"REGISTRY_BASE_URL": None}, "REGISTRY_BASE_URL not set", id="0.1-no-registry"
        ),
        pytest.param(
            {"REGISTRY_BASE_URL": ""}, "Invalid REGISTRY_BASE_URL: ", id="0.1-empty-registry"
        ),
        pytest.param(
            {"REGISTRY_BASE_URL": "/api"}, "Invalid REGISTRY_BASE_URL: ", id="0.1-relative-registry"
        ),
        pytest.param({"BUNDLE_STORE_BASE": ""}, "", id="0.1-empty-store"),
        pytest.param({"BUNDLE_STORE_BASE": "no url"}, "", id="0.1-store-is-no-url"),
        pytest.param({"PORT": "{taken}"}, "", id="0.1-taken-port"),
    ],
)
def test_0_1_what_keeps_it_from_starting(env: dict[str, str | None], words: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        given = {
            name: value.format(taken=port)
            for name, value in (NEEDED | env).items()
            if value is not None
        }
        ended = subprocess.run(
            [sys.executable, "-m", "algaenv.runner"],
            env=clean_env(given),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("Error: ")
    assert words in line


def test_0_1_sigterm(runners: Runners, peers: Peers, kind: Kind) -> None:
    service = runners.start(EXT_CACHE_ROOT=str(peers.folder / "cache-sigterm"))
    runner = Runner("127.0.0.1", service.port, peers.folder)
    caller = Caller.fresh(runner, peers, script_bundle())
    caller.send()
    peers.web.on(caller.tenant, Reply(200, b"late", wait=0.6))
    outcomes: list[int] = []

    def call() -> None:
        url = f"{peers.web.url}/{caller.tenant}"
        fetch = do("http.fetch", {"method": "GET", "url": url})
        outcomes.append(caller.gets(fetch)["ok"]["status"])

    calling = threading.Thread(target=call)
    calling.start()
    until = time.monotonic() + 10
    while not peers.web.seen(caller.tenant):
        assert time.monotonic() < until
        time.sleep(0.01)
    service.stop()
    calling.join(20)
    expected = differs("sigterm-lets-requests-end", ours=[200], original=[])
    assert outcomes == settle(kind, expected)


def test_2_a_key_from_a_file(runners: Runners, peers: Peers) -> None:
    (peers.folder / "key").write_text("\n of-file \n")
    service = runners.start(ALGA_AUTH_KEY=" ", ALGA_AUTH_KEY_FILE=str(peers.folder / "key"))
    peers.app.on("lookup-by-host", said({}))
    service.ask("/", {"host": "key.example.test"})
    assert peers.app.seen("key.example.test")[0].header("x-api-key") == "of-file"


@pytest.mark.parametrize(
    ("variables", "signer"),
    [
        pytest.param(
            {"S3_ACCESS_KEY": "s3-a", "S3_SECRET_KEY": "s3-s", "MINIO_ACCESS_KEY": "m-a"},
            "s3-a",
            id="2-s3-before-minio",
        ),
        pytest.param(
            {"S3_ACCESS_KEY": "s3-a", "MINIO_SECRET_KEY": "m-s"}, "s3-a", id="2-one-of-each"
        ),
        pytest.param({"S3_ACCESS_KEY": "s3-a"}, None, id="2-half-a-pair"),
        pytest.param(
            {
                "S3_ACCESS_KEY": "",
                "S3_SECRET_KEY": "",
                "MINIO_ACCESS_KEY": "m-a",
                "MINIO_SECRET_KEY": "m-s",
            },
            differs("empty-keys-are-unset", ours="m-a", original=None),
            id="2-empty-s3",
        ),
    ],
)
def test_2_credentials(
    runners: Runners, peers: Peers, kind: Kind, *, variables: dict[str, str], signer: str | None
) -> None:
    service = runners.start(EXT_CACHE_ROOT=str(peers.folder / "cache-keys"), **variables)
    runner = Runner("127.0.0.1", service.port, peers.folder / "cache-keys")
    page = Page.fresh(runner, peers, packed({"ui/index.html": INDEX}))
    assert page.get().status == 200
    (asked,) = peers.store.seen(page.bundle.digest.hex)
    signed = (asked.header("authorization") or "") + asked.target
    name = settle(kind, signer)
    assert ("AWS4-HMAC-SHA256" in signed) == (name is not None)
    assert name is None or f"{name}/" in signed
    if name is not None:
        assert "/us-east-1/s3/" in signed.replace("%2F", "/")


@pytest.mark.parametrize("path", ["", "/", "/bucket", "/bucket/", "/bucket/deep/er/"])
def test_3_1_bases(runners: Runners, peers: Peers, path: str) -> None:
    cache = peers.folder / f"cache-base-{len(path)}"
    service = runners.start(BUNDLE_STORE_BASE=f"{peers.store.url}{path}", EXT_CACHE_ROOT=str(cache))
    page = Page.fresh(Runner("127.0.0.1", service.port, cache), peers)
    assert page.get().status == 200
    assert page.downloads == [
        f"{path.rstrip('/')}/tenants/{page.tenant}/extensions/{page.extension}"
        f"/sha256/{page.bundle.digest.hex}/bundle.tar.zst"
    ]


@pytest.mark.parametrize(
    ("base", "path"),
    [
        pytest.param("", "/{ext}/r", id="6.6-no-path"),
        pytest.param("/", "/{ext}/r", id="6.6-slash"),
        pytest.param("/api/ui-proxy", "/api/ui-proxy/{ext}/r", id="6.6-path"),
        pytest.param("/a//", "/a//{ext}/r", id="6.6-two-slashes"),
    ],
)
def test_6_6_bases(runners: Runners, peers: Peers, *, base: str, path: str) -> None:
    service = runners.start(
        UI_PROXY_BASE_URL=f"{peers.proxy.url}{base}",
        UI_PROXY_TIMEOUT_MS="none",
        EXT_CACHE_ROOT=str(peers.folder / "cache-bases"),
    )
    runner = Runner("127.0.0.1", service.port, peers.folder)
    caller = Caller.fresh(runner, peers, script_bundle())
    peers.proxy.on("", Reply(200, b"", wait=0.4))
    assert caller.gets(do("ui-proxy.call-route", "/r", None)) == {"ok": ""}
    assert [asked.target for asked in peers.proxy.seen("")] == [path.format(ext=caller.extension)]


@pytest.mark.parametrize(
    ("base", "path"),
    [
        pytest.param("", "", id="2-no-path"),
        pytest.param("/api", "", id="2-api"),
        pytest.param("/api/", "", id="2-api-slash"),
        pytest.param("/x/api", "/x", id="2-x-api"),
        pytest.param("/apix", "/apix", id="2-apix"),
        pytest.param("/api/api", "/api", id="2-api-once"),
    ],
)
def test_2_bases_of_the_internal_apis(
    runners: Runners, peers: Peers, *, base: str, path: str
) -> None:
    service = runners.start(
        STORAGE_API_BASE_URL=f"{peers.app.url}{base}",
        EXT_CACHE_ROOT=str(peers.folder / "cache-bases"),
    )
    runner = Runner("127.0.0.1", service.port, peers.folder)
    caller = Caller.fresh(runner, peers, script_bundle())
    caller.gets(do("storage.get", "n", "k"))
    (asked,) = peers.app.seen(caller.install)
    assert asked.target == f"{path}/api/internal/ext-storage/install/{caller.install}"


def test_overload_is_answered_with_503(runners: Runners, peers: Peers, kind: Kind) -> None:
    service = runners.start(
        RUNNER_WORKERS="1",
        RUNNER_CONCURRENCY="1",
        RUNNER_QUEUE="1",
        EXT_CACHE_ROOT=str(peers.folder / "cache-overload"),
    )
    runner = Runner("127.0.0.1", service.port, peers.folder)
    caller = Caller.fresh(runner, peers, script_bundle())
    caller.send()
    peers.web.on(caller.tenant, Reply(200, wait=0.5))
    fetch = do("http.fetch", {"method": "GET", "url": f"{peers.web.url}/{caller.tenant}"})
    fields = merged(caller.fields, {"http.body_b64": b64(json.dumps({"calls": [fetch]}))})
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: runner.post("/v1/execute", fields, caller.routing), range(8))
        )
    statuses = {answer.status for answer in answers}
    expected = differs("overload-is-answered", ours={200, 503}, original={200})
    assert statuses == settle(kind, expected)
    for answer in answers:
        if answer.status == 503:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.headers["cache-control"] == "no-store"
    assert caller.send().status == 200


@pytest.mark.slow
def test_compiling_does_not_delay_others(runners: Runners, peers: Peers, kind: Kind) -> None:
    service = runners.start(EXT_CACHE_ROOT=str(peers.folder / "cache-compile"))
    runner = Runner("127.0.0.1", service.port, peers.folder)
    caller = Caller.fresh(runner, peers, script_bundle())
    component = built("script").read_bytes()
    fresh = [caller.of(holding(renamed(component, uuid.uuid4().hex))) for _ in range(4)]
    took: list[float] = []
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(one.send) for one in fresh]
        while not all(call.done() for call in calls):
            began = time.monotonic()
            assert runner.ask("/nowhere").status == 404
            took.append(time.monotonic() - began)
        assert {call.result().status for call in calls} == {200}
    quick = statistics.median(took) < 0.05
    assert quick == settle(kind, differs("compiling-delays-nobody", ours=True, original=False))
