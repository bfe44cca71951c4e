"""What the measurements stand on: environments of ours, a Compose project, and their removal.

Things are made when first asked for and removed at the end, whatever the end is. What a killed run
left is removed by the next: all of it lies below one folder, or has a name that begins with ours.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from benchmarks import peer
from benchmarks.command import Unmeasured
from benchmarks.engine import Container, Engine
from benchmarks.free_ports import Ports
from benchmarks.peer import Compose
from benchmarks.project import SERVICE_PORTS, Project, write
from benchmarks.subject import Subject, install

_SERVICES = 4


class Stage:
    """The environments of one run. Everything may raise Unmeasured."""

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        self.say = say
        self._root = root
        self._work = root / "work"
        ports = Ports()
        self._ports = {name: ports.take(len(SERVICE_PORTS)) for name in ("docker", "process")}
        self._peer_ports = ports.take(len(SERVICE_PORTS))
        self._peer_prefix = f"algaenv-benchmarks-{os.getuid()}-"
        self._projects: list[Project] = []
        self._standing: dict[str, Project] = {}
        self._described: list[Container] = []
        self._peer: Compose | None = None

    @cached_property
    def subject(self) -> Subject:
        """The installed wheel."""
        self.say("installing the wheel of this checkout")
        return install(self._root)

    @cached_property
    def engine(self) -> Engine:
        """The Docker engine."""
        return Engine()

    @cached_property
    def store(self) -> str:
        """MinIO where its program is, else the store of the `embedded` extra."""
        places = [os.environ.get("PATH", ""), str(Path.home() / "go" / "bin")]
        return "minio" if shutil.which("minio", path=os.pathsep.join(places)) else "rclone"

    def fresh(self, runtime: str, name: str, extensions: int = 1) -> Project:
        """A new project that was never up; those of one runtime share their ports."""
        project = Project(self._work / f"{runtime}-{name}", runtime, self.subject)
        self._projects.append(project)
        write(project, name, self._ports[runtime], self.store, extensions)
        return project

    def standing(self, runtime: str, extensions: int = 1) -> Project:
        """A project that is up, with nothing left to do; it takes the place of any other."""
        name = f"with-{extensions}"
        current = self._standing.get(runtime)
        if current is not None and current.folder.name == f"{runtime}-{name}":
            return current
        self._take_down(runtime)
        self.say(f"bringing up a project with {extensions} extension(s) on {runtime}")
        known = (one for one in self._projects if one.folder.name == f"{runtime}-{name}")
        project = next(known, None) or self.fresh(runtime, name, extensions)
        self._standing[runtime] = project
        project.do("up")
        project.unchanged()
        return project

    def compose(self, name: str, interval: str) -> Compose:
        """A project of the peer, not up yet: the containers of a standing project.

        `name` is its own. `interval` is that between health checks.
        """
        if not self._described:
            found = self.engine.containers(self.standing("docker").id())
            if len(found) != _SERVICES:
                raise Unmeasured(f"{len(found)} containers are up instead of {_SERVICES}")
            self._described = found
        home = self._work / f"peer-{name}"
        file = peer.prepare(home, self._described, self._peer_ports, interval)
        # By such names `clear` knows what is ours.
        return Compose(file, self._peer_prefix + name, self.subject.environ)

    def standing_peer(self) -> Compose:
        """A project of Compose that is up."""
        if self._peer is None:
            self._peer = self.compose("standing", peer.STANDING)
            self._peer.do("up", "-d")
        self.check_peer(self._peer)
        return self._peer

    def check_peer(self, compose: Compose) -> None:
        """Raise Unmeasured unless all containers of a Compose project run, and always did."""
        restarts = self.engine.restarts(compose.name)
        if len(restarts) != _SERVICES or any(restarts.values()):
            raise Unmeasured(f"the containers of {compose.name} do not all run: {restarts}")

    def empty(self) -> None:
        """Take down whatever stands; data is kept."""
        for runtime in list(self._standing):
            self._take_down(runtime)
        if self._peer is not None:
            self._peer.do("down")
            self._peer = None

    def clear(self) -> None:
        """Remove everything, also what a killed run left; safe to call again.

        Raises Unmeasured when processes could not be taken down; their folder stays then.
        """
        # By name only: a run that was killed has no list of what it made.
        failures = []
        for folder in self._work.glob("process-*"):
            try:
                Project(folder, "process", self.subject).do("down", "--volumes", "--yes")
                shutil.rmtree(folder)
            except (Unmeasured, OSError) as error:
                failures.append(f"{folder} could not be taken down: {error}")
        self._projects.clear()
        self._standing.clear()
        self._described, self._peer = [], None
        self._sweep()
        if failures:
            raise Unmeasured("; ".join(failures))
        shutil.rmtree(self._work, ignore_errors=True)

    def _sweep(self) -> None:
        try:
            engine = self.engine
        except Unmeasured:
            return  # where no engine answers, nothing of ours is on one
        engine.sweep(str(self._work), self._peer_prefix)

    def _take_down(self, runtime: str) -> None:
        project = self._standing.pop(runtime, None)
        if project is not None:
            project.do("down")


@contextmanager
def alone() -> Iterator[Path]:
    """The folder of the benchmarks, held by this run alone; two at once would measure each other.

    Raises Unmeasured when another run holds it, or it is somebody else's.
    """
    root = Path(tempfile.gettempdir()).resolve() / f"algaenv-benchmarks-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    if root.is_symlink() or root.stat().st_uid != os.getuid():
        raise Unmeasured(f"{root} belongs to somebody else")
    with (root / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unmeasured("another run of the benchmarks is under way") from None
        yield root
