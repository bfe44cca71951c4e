"""1.3: `GET /healthz`."""

from __future__ import annotations

import pytest

from .asking import Runner
from .conftest import Runners
from .kinds import Kind, differs, settle
from .pages import NO_STORE
from .peers import Peers
from .stub import Reply


def test_1_3_the_answer(runner: Runner, peers: Peers, kind: Kind) -> None:
    peers.store.on("/bundles", Reply(200))
    answer = runner.ask("/healthz")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == settle(kind, NO_STORE)
    assert b" " not in answer.body
    assert answer.json == {
        "cache_writable": True,
        "bundle_store": "ok",
        "ext_cache_max_bytes": "536870912",
    }


@pytest.mark.parametrize(
    ("status", "state"),
    [
        pytest.param(200, "ok", id="1.3-200"),
        pytest.param(204, "ok", id="1.3-204"),
        pytest.param(
            403,
            differs(
                "a-private-bucket-is-reachable", ours="ok", original="bundle_store_unreachable"
            ),
            id="1.3-403",
        ),
        pytest.param(
            404,
            differs(
                "a-private-bucket-is-reachable", ours="ok", original="bundle_store_unreachable"
            ),
            id="1.3-404",
        ),
        pytest.param(500, "bundle_store_unreachable", id="1.3-500"),
        pytest.param(503, "bundle_store_unreachable", id="1.3-503"),
    ],
)
def test_1_3_the_store_does_not_decide(
    runner: Runner, peers: Peers, kind: Kind, *, status: int, state: str
) -> None:
    peers.store.on("/bundles", Reply(status))
    answer = runner.ask("/healthz")
    assert answer.status == 200
    assert answer.json["bundle_store"] == settle(kind, state)


def test_1_3_the_store_is_asked_at_its_base(runner: Runner, peers: Peers) -> None:
    peers.store.on("/bundles", Reply(200))
    runner.ask("/healthz")
    asked = peers.store.seen("/bundles")
    assert [(seen.method, seen.target) for seen in asked] == [("HEAD", "/bundles")]
    assert asked[0].header("authorization") is None


def test_1_3_redirects_of_the_store_are_followed(runner: Runner, peers: Peers) -> None:
    peers.store.on("/bundles", Reply(302, headers=(("location", "/elsewhere"),)))
    peers.store.on("/elsewhere", Reply(200))
    assert runner.ask("/healthz").json["bundle_store"] == "ok"


def test_1_3_a_slow_store_is_waited_for_one_second(runner: Runner, peers: Peers) -> None:
    peers.store.on("/bundles", Reply(200, wait=2))
    answer = runner.ask("/healthz", timeout=2)
    assert answer.status == 200
    assert answer.json["bundle_store"] == "bundle_store_unreachable"


@pytest.mark.profile("dead")
def test_1_3_a_store_that_is_not_there(runner: Runner) -> None:
    answer = runner.ask("/healthz")
    assert answer.status == 200
    assert answer.json == {
        "cache_writable": True,
        "bundle_store": "bundle_store_unreachable",
        "ext_cache_max_bytes": None,
    }


@pytest.mark.profile("storeless")
def test_1_3_without_a_base_there_is_nothing_to_reach(runner: Runner) -> None:
    answer = runner.ask("/healthz")
    assert answer.status == 200
    assert answer.json["bundle_store"] == "ok"


def test_1_3_a_cache_that_cannot_be_written_is_503(runners: Runners, peers: Peers) -> None:
    (peers.folder / "no-folder").write_text("")
    service = runners.start(EXT_CACHE_ROOT=str(peers.folder / "no-folder" / "cache"))
    answer = service.ask("/healthz")
    assert (answer.status, answer.json["cache_writable"]) == (503, False)


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        pytest.param(Reply(200), "ok", id="reachable"),
        pytest.param(Reply(503), "unreachable", id="unreachable"),
    ],
)
def test_readyz_says_whether_a_bundle_could_be_fetched(
    runner: Runner, peers: Peers, kind: Kind, *, answer: Reply, state: str
) -> None:
    peers.store.on("/bundles", answer)
    text = runner.ask("/readyz")
    ready = 200 if state == "ok" else 503
    assert text.status == settle(kind, differs("readyz", ours=ready, original=404))
    if text.status != 404:
        assert text.json["store"] == state
