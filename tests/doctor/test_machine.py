"""Checks of the machine: each fault is made, as a value where a real one would harm others."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest

from algaenv.doctor import machine, services
from algaenv.doctor.examine import CHECKS, FIRST, examine, is_failed
from algaenv.doctor.finding import Check, Finding, good
from algaenv.doctor.machine import (
    FreeSpace,
    KernelLimits,
    judge_free_space,
    judge_limits,
    judge_proxies,
)
from algaenv.doctor.subject import Subject
from algaenv.model.kind import IMAGE, Tier
from algaenv.model.resource import Resource
from algaenv.reconcile.protocols import Lowered
from algaenv.runtimes.docker import inventory
from algaenv.runtimes.docker.engine import EngineFacts
from algaenv.runtimes.docker.images.pull import Registries, wrong_architecture
from algaenv.runtimes.docker.inventory import EngineDetails, PortUser
from algaenv.runtimes.docker.runtime import DockerRuntime
from algaenv.runtimes.docker.specs import PulledImage

FACTS = EngineFacts("unix:///x", "24.0.1", "1.43", "arm64", "linux", rootless=True)
DETAILS = EngineDetails("1.24 to 1.43", "overlay2", "/var/lib/docker", None)


def subject(**environ: str) -> Subject:
    return Subject(None, environ)


def with_engine(
    monkeypatch: pytest.MonkeyPatch, details: EngineDetails = DETAILS, facts: EngineFacts = FACTS
) -> Subject:
    """A machine whose engine answers like this."""
    made = subject()
    monkeypatch.setattr(made.container, "_facts", facts)
    for module in (inventory, services):
        monkeypatch.setattr(module, "engine_details", lambda *_: details)
    return made


def test_a_proxy_that_would_be_asked_for_this_machine_is_told_without_its_password() -> None:
    environ = {"HTTP_PROXY": "http://me:planted-secret@proxy.example:3128", "NO_PROXY": ".corp"}
    (found,) = judge_proxies(environ)
    assert found.state == "warning"
    assert "localhost, 127.0.0.1" in found.summary
    assert found.hint == "set NO_PROXY to .corp,localhost,127.0.0.1"
    assert found.detail == ("HTTP_PROXY: proxy.example:3128",)
    assert "planted-secret" not in repr(found)
    for fine in ({}, environ | {"NO_PROXY": "localhost,127.0.0.1"}, environ | {"no_proxy": "*"}):
        assert [it.state for it in judge_proxies(fine)] == ["ok"]


@pytest.mark.parametrize(
    ("free", "inodes", "state", "words"),
    [
        (1 << 40, None, "ok", "free at"),
        (1 << 30, 1 << 20, "warning", "1 GB are free"),
        (1 << 20, 1 << 20, "failed", "1 MB are free"),
        (1 << 40, 2_000, "warning", "2000 inodes"),
        (1 << 40, 3, "failed", "3 inodes"),
    ],
)
def test_a_disk_without_room_or_inodes(
    free: int, inodes: int | None, state: str, words: str
) -> None:
    found = judge_free_space("the Docker engine", Path("/var/lib/docker"), FreeSpace(free, inodes))
    assert (found.state, bool(found.hint)) == (state, state != "ok")
    assert words in found.summary
    assert "docker system prune" in found.hint or state == "ok"


def test_a_real_disk_is_measured_at_the_nearest_directory_that_is_there(tmp_path: Path) -> None:
    room = machine.free_space_at(tmp_path / "not" / "there")
    assert room.free > 0
    assert {it.state for it in machine.disk(subject(HOME=str(tmp_path)))} <= {"ok", "warning"}


def test_low_limits_are_named_with_their_setting() -> None:
    fine = KernelLimits(4096, 65_530, 65_536, 128, 4096)
    assert [it.state for it in judge_limits(fine)] == ["ok"]
    assert [it.state for it in judge_limits(KernelLimits(None, None, None, None, None))] == ["ok"]
    low = {
        "files": "ulimit -n",
        "maps": "vm.max_map_count",
        "watches": "fs.inotify.max_user_watches",
        "instances": "fs.inotify.max_user_instances",
        "pids": "limit of this user",
    }
    for name, setting in low.items():
        (found,) = judge_limits(replace(fine, **{name: 10}))
        assert found.state == "warning", name
        assert "only 10" in found.summary
        assert setting in found.hint
    assert machine.read_limits().maps


def test_the_clock_of_the_engine_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    for skew, state in ((0, "ok"), (120, "warning"), (-3600, "failed")):
        made = with_engine(monkeypatch, replace(DETAILS, time=time.time() + skew))
        (found,) = machine.clock(made)
        assert found.state == state, skew
    assert "3600 s ahead of that of the Docker engine" in found.summary
    assert "NTP" in found.hint


@contextmanager
def server_at(moment: float) -> Iterator[str]:
    """A server whose clock shows another time."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(moment, usegmt=True)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_date_of_a_server_is_read_and_a_silent_one_tells_nothing() -> None:
    with server_at(1_000_000_000) as url:
        assert machine.server_time(url) == 1_000_000_000
    assert machine.server_time(url) is None


def test_an_engine_that_answers_tells_its_versions_and_a_slow_storage_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (found,) = services.engine(with_engine(monkeypatch))
    assert found.state == "ok"
    assert "24.0.1 answers at unix:///x, rootless" in found.summary
    assert found.detail[0] == "API 1.24 to 1.43, of which 1.43 is used"
    vfs = replace(DETAILS, storage="vfs")
    (found,) = services.engine(with_engine(monkeypatch, vfs))
    assert (found.state, "overlay2" in found.hint) == ("warning", True)


def test_an_engine_that_does_not_answer_is_a_warning_where_processes_would_do(
    tmp_path: Path,
) -> None:
    made = subject(DOCKER_HOST=f"unix://{tmp_path}/nothing.sock")
    (found,) = services.engine(made)
    assert found.state == "warning"
    assert "nothing.sock" in found.summary
    assert "`runtime: process`" in found.hint
    assert [it.state for it in services.architecture(made)] == ["skipped"]


def test_an_engine_of_another_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(FACTS, arch="riscv64")
    (found,) = services.architecture(with_engine(monkeypatch, facts=other))
    assert found.state == "warning"
    assert "the engine is riscv64" in found.summary
    assert "`images: pull`" in found.hint


@pytest.mark.parametrize(
    ("refusal", "state", "words"),
    [
        ("", "ok", "is pulled by the next `algaenv up`"),
        ("registry.example does not answer", "warning", "registry.example does not answer"),
    ],
)
def test_an_image_that_is_not_there_and_its_registry(
    monkeypatch: pytest.MonkeyPatch, refusal: str, state: str, words: str
) -> None:
    image = PulledImage(("registry.example/store",), "1", None)
    lowered = Lowered((Resource(IMAGE.address("store"), Tier.SUBSTRATE, {}, image),), {})
    monkeypatch.setattr(services, "find_image", lambda *_: None)
    monkeypatch.setattr(Registries, "refusal", lambda *_: refusal)
    runtime = DockerRuntime({}, Path("/nowhere"), FACTS)
    (found,) = services._images(runtime, lowered)
    assert (found.state, words in found.summary) == (state, True), found
    assert bool(found.hint) == (state == "warning")


def test_an_image_of_another_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    image = PulledImage(("registry.example/store",), "1", None)
    lowered = Lowered((Resource(IMAGE.address("store"), Tier.SUBSTRATE, {}, image),), {})

    def refuse(*_: object) -> None:
        raise wrong_architecture("registry.example/store:1", "riscv64", "arm64")

    monkeypatch.setattr(services, "find_image", refuse)
    (found,) = services._images(DockerRuntime({}, Path("/nowhere"), FACTS), lowered)
    assert found.state == "failed"
    assert "[image-architecture]" in found.summary


def test_a_port_that_a_container_holds_is_told_by_its_name(tmp_path: Path) -> None:
    spec = tmp_path / "algaenv.yaml"
    spec.touch()
    ours = services._taken("redis", 6380, PortUser("demo-redis", "ab", str(spec)), None)
    assert f"container demo-redis of the environment of {spec}" in ours.summary
    assert f"run `algaenv down -f {spec}`, or set another `redis.port`" in ours.hint
    other = services._taken("console", 9001, PortUser("nginx", "", ""), None)
    assert other.summary == "port 9001, for console, is held by the container nginx"
    assert other.hint.startswith("run `docker stop nginx`, or set another `store.console_port`")
    own = services._taken("mail.web", 8025, PortUser("nginx", "", ""), None)
    assert "another port in `services.mail.ports.web` of the spec" in own.hint


def test_a_check_that_hangs_or_breaks_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(_: Subject) -> list[Finding]:
        release.wait(30)
        return []

    def broken(_: Subject) -> list[Finding]:
        raise KeyError("x")

    checks = (
        Check("slow", "why", hang, 0.05),
        Check("broken", "why", broken),
        Check("fine", "why", lambda _: good("well")),
    )
    found = examine(subject(), checks, ())
    release.set()
    assert [(it.check.id, it.finding.state) for it in found] == [
        ("slow", "warning"),
        ("broken", "warning"),
        ("fine", "ok"),
    ]
    assert "no result within 0.05 s" in found[0].finding.summary
    assert "KeyError" in found[1].finding.summary
    assert not any(map(is_failed, found))


def test_every_check_has_its_own_name_and_says_why_it_matters() -> None:
    names = [it.id for it in (*FIRST, *CHECKS)]
    assert len(set(names)) == len(names)
    assert all(len(it.why.split()) > 3 for it in (*FIRST, *CHECKS))
