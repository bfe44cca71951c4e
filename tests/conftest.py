"""Rules for every test: nothing may be missing in CI, and no test touches the user's own files."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.fast import pytest_addoption, pytest_collection_modifyitems, pytest_ignore_collect

# Under load a deadline for each example says nothing about the code.
settings.register_profile("ci", max_examples=25, deadline=None)
settings.register_profile("nightly", max_examples=500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

__all__ = ["pytest_addoption", "pytest_collection_modifyitems", "pytest_ignore_collect"]

# A shell starts background jobs with SIGINT ignored, and children inherit that. What the tests
# interrupt must not depend on how the suite was started.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """In CI a skip is a failure: a server that is missing there would hide a broken feature."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    missing = report.skipped and "not applicable" not in str(report.longrepr)
    if os.environ.get("CI") and missing and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where nothing may be missing: {report.longrepr}"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    own_cache(tmp_path_factory, monkeypatch)


def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache for the whole run, and none of the user's settings.

    Programs that tests start keep their compiled modules, as they do for users: compiling takes
    longer than the rest of a short run.
    """
    cache = os.environ.get("ALGAENV_TEST_CACHE") or str(tmp_path_factory.getbasetemp() / "cache")
    Path(cache).mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    monkeypatch.setenv("XDG_STATE_HOME", f"{cache}/state")
    # It would take about a second after each run that is to fail.
    monkeypatch.setenv("ALGAENV_SUPPORT_BUNDLE", "off")
    for name in (
        "ALGAENV_FILE",
        "GITHUB_ACTIONS",
        "NO_COLOR",
        "FORCE_COLOR",
        "PYTHONDONTWRITEBYTECODE",
    ):
        monkeypatch.delenv(name, raising=False)
