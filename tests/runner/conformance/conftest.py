"""Options, and the runner and peers that every case shares."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from algaenv.runner.wasm.failure import GuestFailure
from tests.guests import built
from tests.guests.native import put_native_code
from tests.runner.service import Service, started

from .asking import Runner
from .calls import Caller
from .guests import script_bundle
from .kinds import Kind
from .peers import Peers, described_peers, started_peers, write_files
from .profiles import PROFILES

DEFAULT_PEERS_PORT = 18_700


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("runner", "which runner is put to the contract")
    group.addoption("--runner-url", help="a runner that somebody else started")
    group.addoption("--runner-kind", choices=list(Kind), default=Kind.OURS, help="what it is")
    group.addoption(
        "--runner-profile", choices=list(PROFILES), default="plain", help="how it was started"
    )
    group.addoption(
        "--runner-peers-port",
        type=int,
        help=f"the first of the ports of the suite's peers (with --runner-url "
        f"{DEFAULT_PEERS_PORT}, else free ones)",
    )
    group.addoption(
        "--runner-peers-host", default="127.0.0.1", help="the name the runner finds them under"
    )
    group.addoption(
        "--runner-environment",
        action="store_true",
        help="print the variables to start the runner with, and stop",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "profile(name): the environment a case needs")


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    setting = Setting.of(config)
    if config.getoption("--runner-environment", default=False):
        write_files(setting.folder)
        peers = described_peers(setting.folder, first_port=setting.port, shown=setting.host)
        for name, value in PROFILES[setting.profile](peers).items():
            print(f"{name}={value}")  # noqa: T201 - this is what was asked for
        return 0
    if setting.url and config.getoption("numprocesses", default=None):
        raise pytest.UsageError("with --runner-url there is one runner: leave -n away")
    return None


@dataclass(frozen=True, slots=True)
class Setting:
    """What the command line says; `url` is empty for our own runner."""

    url: str
    kind: Kind
    profile: str
    port: int
    host: str

    @classmethod
    def of(cls, config: pytest.Config) -> Setting:
        """The options exist only where this folder is named on the command line."""
        url = config.getoption("--runner-url", default=None) or ""
        foreign = bool(url) or config.getoption("--runner-environment", default=False)
        port = config.getoption("--runner-peers-port", default=None)
        return cls(
            url=url,
            kind=Kind(config.getoption("--runner-kind", default=Kind.OURS)),
            profile=config.getoption("--runner-profile", default="plain"),
            port=port or (DEFAULT_PEERS_PORT if foreign else 0),
            host=config.getoption("--runner-peers-host", default="127.0.0.1"),
        )

    @property
    def folder(self) -> Path:
        """Where a runner of somebody else finds files and has its cache."""
        return Path(tempfile.gettempdir()) / f"algaenv-conformance-{self.port}"


@dataclass(slots=True)
class Runners:
    """Runners by profile, started when the first case asks for them."""

    setting: Setting
    peers: Peers
    stack: ExitStack
    services: dict[str, Service] = field(default_factory=dict)
    brief: list[Service] = field(default_factory=list)

    def at(self, profile: str) -> Runner:
        variables = PROFILES[profile](self.peers)
        cache = Path(variables["EXT_CACHE_ROOT"])
        if self.setting.url:
            if profile != self.setting.profile:
                pytest.skip(f"not applicable: the runner is not in profile {profile}")
            parts = urlsplit(self.setting.url)
            return Runner(parts.hostname or "", parts.port or 80, cache)
        if profile not in self.services:
            put_native_code(cache, built("script"))
            self.services[profile] = self.stack.enter_context(started(variables))
            # The first request has the clients imported, for which the time that a case
            # gives to an answer is not meant.
            self.services[profile].ask("/healthz")
        return Runner("127.0.0.1", self.services[profile].port, cache)

    def start(self, **variables: str) -> Service:
        """Start one for a case alone, with these variables on top of the plain ones."""
        if self.setting.url:
            pytest.skip("not applicable: the runner was started by somebody else")
        plain = PROFILES["plain"](self.peers) | {"RUNNER_WORKERS": "1"}
        cache = Path(variables.get("EXT_CACHE_ROOT", plain["EXT_CACHE_ROOT"]))
        with suppress(GuestFailure):
            # A case about a directory that cannot be used has its own reasons.
            put_native_code(cache, built("script"))
        self.brief.append(self.stack.enter_context(started(plain | variables)))
        return self.brief[-1]

    def dismiss(self) -> None:
        """Tell the runners of a case to end; nobody waits for that before the end of the run."""
        for service in self.brief:
            if service.process.poll() is None:
                service.process.terminate()
        self.brief.clear()

    def end(self) -> None:
        """Tell all others to end, together."""
        self.brief.extend(self.services.values())
        self.dismiss()


@pytest.fixture(scope="session")
def setting(pytestconfig: pytest.Config) -> Setting:
    return Setting.of(pytestconfig)


@pytest.fixture(scope="session")
def kind(setting: Setting) -> Kind:
    return setting.kind


@pytest.fixture(scope="session")
def _all_peers(setting: Setting, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    folder = setting.folder if setting.url else tmp_path_factory.mktemp("peers")
    with started_peers(folder, first_port=setting.port, shown=setting.host) as peers:
        yield peers


@pytest.fixture(scope="session")
def _all_runners(setting: Setting, _all_peers: Peers) -> Iterator[Runners]:
    with ExitStack() as stack:
        runners = Runners(setting, _all_peers, stack)
        yield runners
        runners.end()


@pytest.fixture
def runners(_all_runners: Runners) -> Iterator[Runners]:
    yield _all_runners
    _all_runners.dismiss()


@pytest.fixture
def peers(_all_peers: Peers) -> Peers:
    """The peers, with nothing left of the case before."""
    for stub in _all_peers.stubs:
        stub.forget()
    return _all_peers


@pytest.fixture
def runner(request: pytest.FixtureRequest, runners: Runners, peers: Peers) -> Runner:
    """The runner in the profile of the case."""
    marker = request.node.get_closest_marker("profile")
    found = runners.at(marker.args[0] if marker else "plain")
    for stub in peers.stubs:
        stub.forget()
    return found


@pytest.fixture
def caller(runner: Runner, peers: Peers) -> Caller:
    """Calls the guest `script` under names of the case's own."""
    return Caller.fresh(runner, peers, script_bundle())
