"""Peers, stores and runners for the tests of this directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from .archives import Bundle, bundle
from .peers import Files, Peer, PeerResponse, ReceivedRequest, peer
from .service import Service, started
from .stores import KINDS, Store, running

Start = Callable[..., Service]


@pytest.fixture(scope="module")
def _registry() -> Iterator[Peer]:
    with peer(_everything_is_installed) as server:
        yield server


@pytest.fixture(scope="module")
def _file_server() -> Iterator[Peer]:
    with peer(Files().answer) as server:
        yield server


def _everything_is_installed(asked: ReceivedRequest) -> PeerResponse:
    return PeerResponse(body=b'{"valid": true}')


@pytest.fixture
def registry(_registry: Peer) -> Peer:
    """An application server that has everything installed."""
    _registry.reset(_everything_is_installed)
    return _registry


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def file_server(_file_server: Peer, files: Files) -> Peer:
    _file_server.reset(files.answer)
    return _file_server


@pytest.fixture
def demo(files: Files, request: pytest.FixtureRequest) -> Bundle:
    """A bundle that the file server holds, and that no other test has."""
    made = bundle(note=request.node.nodeid)
    files.objects[made.key] = made.archive
    return made


class SharedServices:
    """Services of one module, one for each environment that its tests ask for."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._services: dict[frozenset[tuple[str, str]], Service] = {}

    def get(self, env: Mapping[str, str]) -> Service:
        key = frozenset(env.items())
        if key not in self._services:
            cache = str(self._folder / f"cache{len(self._services)}")
            self._services[key] = self._stack.enter_context(
                started({"EXT_CACHE_ROOT": cache, **env})
            )
        return self._services[key]


@pytest.fixture(scope="module")
def _shared_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedServices]:
    with ExitStack() as stack:
        yield SharedServices(stack, tmp_path_factory.mktemp("shared"))


@pytest.fixture
def defaults(registry: Peer, file_server: Peer) -> dict[str, str]:
    """The environment of a runner before a file server, not strict."""
    return {
        "ALGA_AUTH_KEY": "test-key",
        "REGISTRY_BASE_URL": registry.url,
        "BUNDLE_STORE_BASE": file_server.url,
        "EXT_STATIC_STRICT_VALIDATION": "false",
    }


@pytest.fixture
def start(defaults: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Start a runner of the test's own; variables are added or replaced."""
    with ExitStack() as stack:

        def begin(**env: str) -> Service:
            own = {"EXT_CACHE_ROOT": str(tmp_path / "cache")}
            return stack.enter_context(started(defaults | own | env))

        yield begin


@pytest.fixture
def reuse(defaults: dict[str, str], _shared_services: SharedServices) -> Start:
    """As `start`, but one runner for all tests of the module that want the same variables.

    For tests that look at answers only: log, cache directory and memory hold what others did.
    Bundles must be the test's own, as `demo` is, where it matters that they are new.
    """
    return lambda **env: _shared_services.get(defaults | env)


@pytest.fixture(scope="session")
def _running_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Store]]:
    with ExitStack() as stack:
        stores: dict[str, Store] = {}

        def get(kind: str) -> Store:
            if kind not in stores:
                folder = tmp_path_factory.mktemp("store")
                stores[kind] = stack.enter_context(running(kind, folder))
            return stores[kind]

        yield get


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, _running_stores: Callable[[str], Store]) -> Store:
    """A genuine S3 server, with a bucket of the test's own."""
    server = _running_stores(request.param)
    server.use_new_bucket()
    return server
