"""`--fast` leaves out what needs an engine, a server, a browser or a guest, or starts the program.

By directory where all of it does, which then is not even imported; elsewhere by the fixtures that a
test has, directly or through others.
"""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
SLOW_DIRECTORIES = {
    "contract",
    "crash",
    "gateway/apis",
    "gateway/pages",
    "guests",
    "runner/components",
    "runner/conformance",
    "runner/wasm",
    "runtimes/docker",
    "runtimes/process",
    "scenario",
}
SLOW_FILES = {
    "cli/test_call.py",
    "cli/test_compare.py",
    "cli/test_escape.py",
    "cli/test_live.py",
    "cli/test_program.py",
    "cli/test_signals.py",
    "cli/test_startup.py",
    "drivers/test_build_steps.py",
    "drivers/test_build_tools.py",
    "drivers/test_builds.py",
    "drivers/test_bundle_builder.py",
    "docs/test_make.py",
    "docs/test_site.py",
    "drivers/test_environment_lock.py",
    "gateway/test_openapi.py",
    "gateway/test_real_runner.py",
    "runner/test_service.py",
    "runner/test_stress.py",
    "runner/test_workers.py",
    "spec/test_engines.py",
    "spec/test_stacks.py",
}
"""They start the program, a build or workers in nearly every test, or import what takes seconds."""
SLOW_FIXTURES = {
    "minio",
    "object_store",
    "postgres",
    "rclone",
    "reader",
    "redis",
    "reuse",
    "service",
    "start",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fast", action="store_true", help="only tests without engine, servers, browser and guests"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if not config.getoption("--fast") or not collection_path.is_relative_to(HERE):
        return None
    place = collection_path.relative_to(HERE).as_posix()
    # None leaves the decision to others; False would overrule them.
    return place in SLOW_DIRECTORIES or place in SLOW_FILES or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--fast"):
        return
    slow = [it for it in items if SLOW_FIXTURES & set(getattr(it, "fixturenames", ()))]
    config.hook.pytest_deselected(items=slow)
    left_out = set(slow)
    items[:] = [it for it in items if it not in left_out]
