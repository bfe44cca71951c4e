"""Kills the real program at the boundaries of its steps, and looks at what is left afterwards.

The program is followed from outside, by the events that `--json` writes: it holds no hook for
this. A boundary is the plan, or a step's begin or end; the kill strikes as soon as its event has
been read.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.scenario.project import Project, drained

SERVICES = {"store", "redis", "database", "runner", "gateway"}
PASSING = re.compile(r"^\..*\.\d+\.[0-9a-f]+$|\.new$|^\.algaenv-cluster-")
"""Names that only a write or a build under way may have."""

Boundary = tuple[str, str]
"""Event and step: (`step_ended`, `create bundle/hello@…`); digests are cut off."""
PLANNED: Boundary = ("planned", "")
"""Before any step; of several plans of a run the first."""


@dataclass(frozen=True)
class Scene:
    """One command to be killed: `before` brings about the state in which it begins."""

    name: str
    before: Callable[[Project], None]
    arguments: tuple[str, ...]
    after: Callable[[Project], None]
    """Fails unless nothing is missing and nothing is left."""


@dataclass
class Figures:
    """What a series of kills came to."""

    kills: list[Boundary] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """How long the run took that came after a kill."""

    def __str__(self) -> str:
        slowest = max(self.seconds, default=0.0)
        return f"{len(self.kills)} kills, slowest run afterwards {slowest:.1f} s"


def boundary(line: str) -> Boundary | None:
    """The boundary that a line of `--json` tells of."""
    event = json.loads(line)
    if event["event"] == "planned":
        return PLANNED
    if event["event"] not in ("step_started", "step_ended"):
        return None
    return event["event"], f"{event['verb']} {event['address'].partition('@')[0]}"


def boundaries(project: Project, arguments: Sequence[str]) -> list[Boundary]:
    """Run the command to its end; what it went through."""
    with project.start(*arguments, "--json") as process:
        stdout, stderr = process.communicate(timeout=180)
    assert process.returncode == 0, stdout[-2000:] + stderr
    return [it for line in stdout.splitlines() if (it := boundary(line))]


def kill_at(
    project: Project, arguments: Sequence[str], wanted: Callable[[Boundary], bool]
) -> Boundary | None:
    """Run the command and kill it at the first boundary that is wanted; None when it ended well
    before one came."""
    process = project.start(*arguments, "--json")
    assert process.stdout is not None
    struck = None
    try:
        for line in process.stdout:
            found = boundary(line)
            if found is not None and wanted(found):
                struck = found
                break
    finally:
        if struck is not None:
            process.kill()
        rest = drained(process)
    if struck is None:
        assert process.returncode == 0, rest[-1:]
    return struck


def kill_after(project: Project, arguments: Sequence[str], seconds: float) -> bool:
    """Run the command and kill it after that time; False when it ended before."""
    process = project.start(*arguments, "--json")
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        drained(process)
        return True
    return False


def kill_at_each(project: Project, scene: Scene, wanted: Callable[[Boundary], bool]) -> Figures:
    """Kill the command at each boundary in turn, going on from where the last kill left it."""
    figures = Figures()
    while True:
        struck = kill_at(
            project, scene.arguments, lambda it: it not in figures.kills and wanted(it)
        )
        if struck is None:
            break
        figures.kills.append(struck)
        assert len(figures.kills) < 500, "it goes on without end"
    began = time.monotonic()
    project.run(*scene.arguments).ok()
    figures.seconds.append(time.monotonic() - began)
    scene.after(project)
    return figures


def one_by_one(make: Callable[[], Project], scene: Scene) -> Iterator[tuple[Boundary, float]]:
    """Kill at one boundary in an environment of its own, and converge; for each boundary."""
    first = make()
    scene.before(first)
    found = boundaries(first, scene.arguments)
    scene.after(first)
    first.clean()
    for each in dict.fromkeys(found):
        project = make()
        scene.before(project)
        kill_at(project, scene.arguments, each.__eq__)
        began = time.monotonic()
        project.run(*scene.arguments).ok()
        yield each, time.monotonic() - began
        scene.after(project)
        project.clean()


def at_random(
    make: Callable[[], Project], scene: Scene, seed: int, times: int
) -> Iterator[tuple[float, float]]:
    """Kill at moments that the seed decides, and converge; (moment, seconds afterwards)."""
    chance = random.Random(f"{scene.name}:{seed}")
    project = make()
    scene.before(project)
    began = time.monotonic()
    boundaries(project, scene.arguments)
    whole = time.monotonic() - began
    project.clean()
    for _ in range(times):
        project = make()
        scene.before(project)
        moment = chance.uniform(0.0, whole)
        kill_after(project, scene.arguments, moment)
        began = time.monotonic()
        project.run(*scene.arguments).ok()
        yield moment, time.monotonic() - began
        scene.after(project)
        project.clean()


def nothing_extra(project: Project) -> None:
    """Everything answers, and there is no container, process, file, object or row too many."""
    status = project.status()
    assert {s["name"]: s["state"] for s in status["services"]} == dict.fromkeys(SERVICES, "ready")
    assert all(extension["ready"] for extension in status["extensions"])
    rows = project.sql(
        "SELECT r.id::text, b.content_hash, r.name FROM extension_bundle b"
        " JOIN extension_version v ON v.id = b.version_id"
        " JOIN extension_registry r ON r.id = v.registry_id"
    )
    named = {
        f"tenants/{status['tenant_id']}/extensions/{registry}/sha256/"
        f"{content.removeprefix('sha256:')}/bundle.tar.zst"
        for registry, content, _ in rows
    }
    assert set(project.keys()) == named
    wanted = {f"com.example.{key}" for key in project.spec.get("extensions", {})}
    assert {name for _, _, name in rows} == wanted
    assert {str(it) for (it,) in project.sql("SELECT name FROM extension_registry")} == wanted
    ids = {extension["install_id"] for extension in status["extensions"]}
    assert {str(it) for (it,) in project.sql("SELECT id FROM tenant_extension_install")} == ids
    assert len(ids) == len(wanted)
    assert services_of(project, project.id) == sorted(SERVICES)
    assert passing_files(project.root) == []
    assert project.up().ok().changed == 0


def data_only(project: Project) -> None:
    """What `down` leaves: data, and nothing that runs."""
    assert services_of(project, project.id) == []
    assert passing_files(project.root) == []
    assert list((project.home / "run").glob("*")) == []
    project.up().ok()
    nothing_extra(project)


def nothing_left(project: Project, identity: str) -> None:
    """What `down --volumes` leaves."""
    assert not (project.root / ".algaenv").exists(), passing_files(project.root)
    assert services_of(project, identity) == []
    if project.runtime == "docker":
        assert labelled("volume", identity) == []
        assert labelled("network", identity) == []


def passing_files(root: Path) -> list[str]:
    """Files that only something under way may have."""
    return [str(path) for path in root.rglob("*") if PASSING.search(path.name)]


def services_of(project: Project, identity: str) -> list[str]:
    """The services that run, each as often as it does."""
    if project.runtime == "docker":
        command = ["docker", "ps", "-a", "--filter", f"label=dev.algaenv.environment={identity}"]
        shown = '{{.Label "dev.algaenv.address"}}'
        done = subprocess.run(
            [*command, "--format", shown], check=True, capture_output=True, text=True, timeout=60
        )
        return sorted(line.partition("/")[2] for line in done.stdout.split())
    return sorted(_supervised(identity))


def _supervised(identity: str) -> Iterator[str]:
    """One service for each supervisor that carries the mark of the environment, and the command
    of whatever else does without belonging to a service."""
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = dict(it.partition(b"=")[::2] for it in environ.read_bytes().split(b"\0"))
        except OSError:
            continue
        if variables.get(b"ALGAENV_ENVIRONMENT") == identity.encode():
            address = variables.get(b"ALGAENV_ADDRESS", b"")
            if not address or variables.get(b"ALGAENV_SHIM"):
                yield address.decode().partition("/")[2] or f"process {environ.parent.name}"


def labelled(kind: str, identity: str) -> list[str]:
    """Docker's things that carry the environment's label."""
    command = ["docker", kind, "ls", "-q", "--filter", f"label=dev.algaenv.environment={identity}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.split()
