"""1.0: what holds for every route."""

from __future__ import annotations

import pytest

from .asking import Runner
from .kinds import Kind, differs, settle
from .pages import NO_STORE, Page
from .peers import Peers

HASH = "sha256:" + "0" * 64
PAGE = f"/ext-ui/e/{HASH}/index.html"


@pytest.mark.parametrize(
    "path",
    ["/health", "/ready", "/version", "/v1", "/v1/execute/", "/healthz/", "/ext-ui", "/warmup/"],
)
def test_1_0_unknown_paths_are_404_and_empty(runner: Runner, kind: Kind, path: str) -> None:
    answer = runner.ask(path)
    assert (answer.status, answer.body) == (404, b"")
    assert answer.headers["cache-control"] == settle(kind, NO_STORE)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/readyz", differs("readyz", ours=200, original=404), id="1.0-readyz"),
        pytest.param("/metrics", differs("metrics", ours=200, original=404), id="1.0-metrics"),
    ],
)
def test_1_0_paths_only_ours_has(runner: Runner, kind: Kind, *, path: str, status: object) -> None:
    assert runner.ask(path).status == settle(kind, status)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        pytest.param("POST", "/healthz", "GET,HEAD", id="1.0-post-healthz"),
        pytest.param("OPTIONS", "/healthz", "GET,HEAD", id="1.0-options-healthz"),
        pytest.param("DELETE", "/", "GET,HEAD", id="1.0-delete-root"),
        pytest.param("POST", PAGE, "GET,HEAD", id="1.0-post-page"),
        pytest.param("OPTIONS", PAGE, "GET,HEAD", id="4.5-options-page"),
        pytest.param("GET", "/v1/execute", "POST", id="1.0-get-execute"),
        pytest.param("HEAD", "/v1/execute", "POST", id="1.0-head-execute"),
        pytest.param("PUT", "/warmup", "POST", id="1.0-put-warmup"),
    ],
)
def test_1_0_other_methods_are_405(
    runner: Runner, kind: Kind, *, method: str, path: str, allow: str
) -> None:
    answer = runner.ask(path, method=method)
    assert (answer.status, answer.body) == (405, b"")
    assert answer.headers["allow"] == allow
    assert answer.headers["cache-control"] == settle(kind, NO_STORE)


@pytest.mark.parametrize("path", ["/healthz", "/nowhere"])
def test_1_0_head_is_get_without_a_body(runner: Runner, path: str) -> None:
    whole, head = runner.ask(path), runner.ask(path, method="HEAD")
    assert (head.status, head.body) == (whole.status, b"")
    assert _told(head.headers) == _told(whole.headers)


def test_1_0_no_headers_of_a_server_or_for_other_origins(runner: Runner, peers: Peers) -> None:
    page = Page.fresh(runner, peers)
    for answer in (
        runner.ask("/healthz", {"origin": "https://else", "x-request-id": "r"}),
        page.get(headers={"origin": "https://else", "accept-encoding": "gzip"}),
    ):
        names = set(answer.headers)
        assert not names & {"server", "x-request-id", "vary", "content-encoding"}
        assert not [name for name in names if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/", 404, id="1.0-unknown-host"),
        pytest.param("GET", "/healthz", 200, id="1.0-healthz"),
        pytest.param("POST", "/v1/execute", 415, id="1.0-execute"),
        pytest.param("POST", "/warmup", 415, id="1.0-warmup"),
        pytest.param("GET", "/ext-ui/e/nohash/x", 400, id="1.0-page"),
    ],
)
def test_1_0_who_may_keep_errors_and_states(
    runner: Runner, kind: Kind, *, method: str, path: str, status: int
) -> None:
    answer = runner.ask(path, method=method)
    assert answer.status == status
    assert answer.headers["cache-control"] == settle(kind, NO_STORE)


def test_1_1_no_caller_has_to_prove_anything(runner: Runner) -> None:
    for token in ({}, {"x-runner-service-token": "wrong"}, {"authorization": "Bearer wrong"}):
        answer = runner.post("/v1/execute", {}, token)
        assert answer.status == 422


def _told(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != "date"}
