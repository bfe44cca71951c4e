"""What others may learn of services, and what services may do: alike on every runtime.

Every engine that is here runs once, and is looked at from outside.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from algaenv.model.resource import Present
from algaenv.model.secret import Secret
from algaenv.spec.paths import profile
from tests.conftest import own_cache
from tests.runtimes.locks import GATEWAY

from .conftest import CASES, RUNTIMES, Case, Harness, harnesses

SERVICES = ("store", "redis", "database", "runner", "gateway")
KEYS_IN_VARIABLES = {"rclone", "rustfs"}
"""Engines whose programs take their keys from variables only, as the reference says."""


def missing(program: str) -> list[pytest.MarkDecorator]:
    """A mark that skips where a program is not on this machine."""
    return [] if shutil.which(program) else [pytest.mark.skip(f"no {program} here")]


STORES = [
    pytest.param(name, marks=[*marks, *missing(name)])
    for name, marks in (("minio", [pytest.mark.slow]), ("rclone", []))
]


def _inspected(harness: Harness, seen: Present) -> dict[str, Any]:
    engine = harness.case.runtime.engine  # type: ignore[attr-defined]
    found: dict[str, Any] = engine.api.inspect_container(seen.handle)
    return found


def _processes(harness: Harness) -> Mapping[str, list[int]]:
    """Service → the processes that belong to it and can be seen: its supervisor and all below."""
    found: dict[str, list[int]] = {}
    for service in SERVICES:
        seen = harness.seen(harness.address(service))
        if harness.case.running == "container":
            top = int(_inspected(harness, seen)["State"]["Pid"])
        else:
            top = int(seen.handle.partition(":")[0])
        found[service] = [top, *_below(top)]
    return found


def _below(pid: int) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            yield int(path.parent.name)
            yield from _below(int(path.parent.name))


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""  # It has ended meanwhile.


@pytest.fixture(scope="module", params=RUNTIMES)
def shared_case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    """A runtime for all tests here, with the settings that each test gets for itself."""
    with pytest.MonkeyPatch.context() as patch:
        own_cache(tmp_path_factory, patch)
        with CASES[request.param]() as found:
            yield found


@pytest.fixture(scope="module", params=STORES)
def running(
    request: pytest.FixtureRequest, shared_case: Case, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Harness]:
    """All five services, with secrets of the author's own beside the generated ones.

    They are only looked at, so all tests share them.
    """
    with harnesses(shared_case, tmp_path_factory.mktemp("running")) as make:
        harness = make(
            store=profile(request.param),
            gateway=GATEWAY,
            runner_environment={"MY_OWN_TOKEN": Secret("the-authors-own-token")},
        )
        harness.create()
        for service in SERVICES[:-1]:
            harness.await_answer(service)
        yield harness


def _hidden(harness: Harness) -> dict[str, str]:
    credentials = harness.lock.credentials
    return {
        "access_key": credentials.access_key.reveal(),
        "secret_key": credentials.secret_key.reveal(),
        "redis_password": (credentials.redis_password or Secret("")).reveal(),
        "database_password": credentials.database_password.reveal(),
        "auth_key": credentials.auth_key.reveal(),
        "service_token": credentials.service_token.reveal(),
        "fingerprint_key": credentials.fingerprint_key.reveal(),
        "the author's": "the-authors-own-token",
    }


def test_secrets_are_not_seen_from_outside(running: Harness) -> None:
    """Neither in what the engine shows nor in what other processes of the user can read."""
    engine = running.lock.intent.store.profile.name
    texts: dict[str, list[str]] = {}
    for service, pids in _processes(running).items():
        texts[service] = [_read(pid, name) for pid in pids for name in ("environ", "cmdline")]
        assert any(texts[service]), service
        if running.case.running == "container":
            seen = running.seen(running.address(service))
            texts[service].append(json.dumps(_inspected(running, seen)))
    shown = {
        (service, name)
        for service, found_texts in texts.items()
        for name, secret in _hidden(running).items()
        if any(secret in text for text in found_texts)
    }
    excepted = {("store", "access_key"), ("store", "secret_key")}
    assert shown == (excepted if engine in KEYS_IN_VARIABLES else set())


def test_services_have_no_powers_and_get_none(running: Harness) -> None:
    for service, pids in _processes(running).items():
        # The supervisor of a process runs nothing of others.
        for pid in pids if running.case.running == "container" else pids[1:]:
            status = dict(
                line.split(":\t", 1) for line in _read(pid, "status").splitlines() if ":\t" in line
            )
            if not status:
                continue
            assert int(status["CapEff"], 16) == 0, (service, status)
            assert int(status["CapPrm"], 16) == 0, (service, status)
            assert int(status["CapAmb"], 16) == 0, (service, status)
            assert status["NoNewPrivs"].strip() == "1", (service, status)
            if running.case.running == "container":
                assert status["Uid"].split()[0] not in {"0", "1000"} or os.geteuid(), service
