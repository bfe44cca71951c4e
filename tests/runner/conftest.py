"""Peers, stores and runners for the tests of this directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .archives import Bundle, bundle
from .peers import Files, Peer, PeerResponse, peer
from .service import Service, started
from .stores import KINDS, Store, running

Start = Callable[..., Service]


@pytest.fixture
def registry() -> Iterator[Peer]:
    """An application server that has everything installed."""
    with peer(lambda asked: PeerResponse(body=b'{"valid": true}')) as server:
        yield server


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def file_server(files: Files) -> Iterator[Peer]:
    with peer(files.answer) as server:
        yield server


@pytest.fixture
def demo(files: Files) -> Bundle:
    """A bundle that the file server holds."""
    made = bundle()
    files.objects[made.key] = made.archive
    return made


@pytest.fixture
def start(registry: Peer, file_server: Peer, tmp_path: Path) -> Iterator[Start]:
    """Start a runner before a file server, not strict; variables are added or replaced."""
    with ExitStack() as stack:

        def begin(**env: str) -> Service:
            defaults = {
                "ALGA_AUTH_KEY": "test-key",
                "REGISTRY_BASE_URL": registry.url,
                "BUNDLE_STORE_BASE": file_server.url,
                "EXT_CACHE_ROOT": str(tmp_path / "cache"),
                "EXT_STATIC_STRICT_VALIDATION": "false",
            }
            return stack.enter_context(started(defaults | env))

        yield begin


@pytest.fixture(params=KINDS)
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """A genuine S3 server of a test's own."""
    with running(request.param, tmp_path_factory.mktemp("store")) as server:
        yield server
