"""A loop, stubs of the peers, and hosts before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from algaenv.runner.execute.request_models import User

from .host import Host, Loop, running_loop
from .stub import Stub, stub

Begin = Callable[..., Host]
TOKEN = "runner-token-5f1c"


def without_proxies(patch: pytest.MonkeyPatch) -> None:
    """Clients made now ask the peers of a test themselves."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        patch.delenv(name, raising=False)
        patch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    with pytest.MonkeyPatch.context() as patch, running_loop() as running:
        without_proxies(patch)
        running.run(running.outbound.client())
        yield running


@pytest.fixture
def server() -> Iterator[Stub]:
    """The peer of a test."""
    with stub() as peer:
        yield peer


@pytest.fixture
def other() -> Iterator[Stub]:
    """A peer on another origin."""
    with stub() as peer:
        yield peer


@pytest.fixture
def begin(loop: Loop) -> Begin:
    """A host with this environment and no other."""
    return lambda **env: Host(loop, env)


@pytest.fixture
def host(begin: Begin, server: Stub) -> Host:
    """A host whose application server and UI proxy the stub is."""
    return begin(
        STORAGE_API_BASE_URL=server.url,
        RUNNER_STORAGE_API_TOKEN=TOKEN,
        UI_PROXY_BASE_URL=f"{server.url}/api/ui-proxy",
    )


@pytest.fixture
def user() -> User:
    return User(
        user_id="u1",
        user_email="müller@example.com",
        user_name="Ann",
        user_type="internal",
        client_name="ACME",
        client_id="c1",
        additional_fields={"é": "4", "b": "2", "a": "1", "Z": "0"},
    )
