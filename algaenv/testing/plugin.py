"""The plugin that pytest loads: options, the two fixtures, and what a failed test is told."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from algaenv.testing.environment import Environment, RunDirectory
    from algaenv.testing.tenant import ScratchTenant

_INPUT = "algaenv_directory"
_RUN = pytest.StashKey["_Run"]()


class _Run:
    """The directory of this run of tests, made when it is first asked for."""

    def __init__(self, given: str | None) -> None:
        """`given`: where another process made it."""
        self._given = given
        self._made: Path | None = None
        self._kept = -1

    @property
    def directory(self) -> RunDirectory:
        from algaenv.testing.environment import RunDirectory

        if self._given is not None:
            return RunDirectory(Path(self._given))
        if self._made is None:
            self._made = Path(tempfile.mkdtemp(prefix="algaenv-pytest-"))
            self._kept = RunDirectory(self._made).create()
        return RunDirectory(self._made)

    def end(self) -> str:
        """Let go of the environment and remove the directory; what is to be told of it."""
        if self._made is None:
            return ""
        os.close(self._kept)
        message = self.directory.wait_until_removed()
        if not message:
            shutil.rmtree(self._made, ignore_errors=True)
        self._made = None
        return message


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options and their ini values."""
    group = parser.getgroup("algaenv")
    group.addoption(
        "--algaenv-file",
        metavar="FILE",
        help="the algaenv.yaml to test in; else the nearest one above the current directory",
    )
    group.addoption(
        "--algaenv-ephemeral",
        action="store_true",
        help="in an environment of its own, with free ports, which is removed afterwards",
    )
    group.addoption(
        "--algaenv-runtime",
        metavar="RUNTIME",
        choices=("auto", "docker", "process"),
        help="auto, docker or process; else that of the spec",
    )
    parser.addini("algaenv_file", "what --algaenv-file names, relative to this file", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Prepare what the processes of a run share."""
    given = getattr(config, "workerinput", {}).get(_INPUT)
    config.stash[_RUN] = _Run(given)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist the directory of the run."""
    node.workerinput[_INPUT] = str(node.config.stash[_RUN].directory.path)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove an ephemeral environment; with workers, after the last has ended."""
    run = config.stash.get(_RUN, None)
    if run is not None and (message := run.end()):
        sys.stderr.write(f"\n{message}\n")


@pytest.fixture(scope="session")
def algaenv_environment(pytestconfig: pytest.Config) -> Environment:
    """The environment of the nearest `algaenv.yaml`, up; one for all workers of the run."""
    from algaenv.testing.environment import EnvironmentFailed, Wanted

    wanted = Wanted(
        _spec(pytestconfig),
        pytestconfig.getoption("--algaenv-runtime"),
        ephemeral=pytestconfig.getoption("--algaenv-ephemeral"),
    )
    directory = pytestconfig.stash[_RUN].directory
    capture: Any = pytestconfig.pluginmanager.getplugin("capturemanager")
    alone = capture is not None and not hasattr(pytestconfig, "workerinput")
    try:
        with capture.global_and_fixture_disabled() if alone else nullcontext():
            # A person who waits sees how it comes along; workers have no terminal.
            visible = alone and sys.__stderr__ is not None and sys.__stderr__.isatty()
            return directory.join(wanted, visible=visible)
    except EnvironmentFailed as failed:
        why = str(failed)
    pytest.fail(why, pytrace=False)


@pytest.fixture
def algaenv(
    algaenv_environment: Environment, request: pytest.FixtureRequest
) -> Iterator[ScratchTenant]:
    """A tenant of its own for this test, with an install of each extension; gone afterwards."""
    from algaenv.testing.environment import EnvironmentFailed

    why, tenant = "", None
    try:
        tenant = algaenv_environment.create_tenant()
    except EnvironmentFailed as failed:
        why = str(failed)
    if tenant is None:
        pytest.fail(why, pytrace=False)
    request.node.stash[_TENANT] = tenant
    try:
        yield tenant
        unanswered = tenant.http.unanswered
    finally:
        algaenv_environment.delete_tenant(tenant.id)
    if unanswered:
        listed = "\n".join(f"  {it.method} {it.url}" for it in unanswered)
        pytest.fail(
            f"no response was prepared for what a handler asked:\n{listed}\n"
            "prepare one with algaenv.http.respond(method, url, …)",
            pytrace=False,
        )


_TENANT = pytest.StashKey["ScratchTenant"]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the calls of a test that failed, with what the handlers did and wrote."""
    report = yield
    tenant = item.stash.get(_TENANT, None)
    if tenant is not None and call.when == "call" and report.failed and tenant.calls:
        report.sections.append(("algaenv calls", tenant.report()))
    return report


def _spec(config: pytest.Config) -> Path:
    from algaenv.spec.paths import SPEC_FILE, find_spec

    if named := config.getoption("--algaenv-file"):
        found = config.invocation_params.dir / str(named)
    elif named := config.getini("algaenv_file"):
        found = (config.inipath.parent if config.inipath else config.rootpath) / str(named)
    else:
        nearest = find_spec(config.invocation_params.dir) or find_spec(config.rootpath)
        if nearest is None:
            pytest.fail(
                f"cannot find {SPEC_FILE} in {config.invocation_params.dir} or above it: name one"
                " with --algaenv-file, or set algaenv_file in the ini file",
                pytrace=False,
            )
        return nearest
    if not found.exists():
        pytest.fail(f"cannot find the spec {found}", pytrace=False)
    return found / SPEC_FILE if found.is_dir() else found
