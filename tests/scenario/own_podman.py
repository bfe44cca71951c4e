"""Podman behind Docker's API, run by root or by an ordinary user, with a storage of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.scenario.project import until

USER = "algaenv-podman"
"""An ordinary user with ranges of subordinate ids; `.ci/podman` makes it."""
_CONFIGURATION = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""
"""Limits and cgroups that a container gets inside of another sandbox, too."""


class OwnPodman:
    """`podman system service` on a unix socket; needs root, also to run it as somebody else."""

    def __init__(self, *, rootless: bool) -> None:
        if os.geteuid() != 0 or shutil.which("podman") is None:
            pytest.skip("Podman is not installed, or this user may not make one up: see .ci/podman")
        self._user = pwd.getpwnam(USER) if rootless else pwd.getpwuid(0)
        # The path of a socket has to be short, which pytest's directories are not.
        self.root = Path(tempfile.mkdtemp(prefix="ap-"))
        self._runtime = Path("/run/user", str(self._user.pw_uid)) if rootless else self.root / "run"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """For DOCKER_HOST."""
        return f"unix://{self.root}/podman.sock"

    def start(self) -> None:
        """Start the service, and wait until it answers."""
        for folder in (self.root, self._runtime):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        (self.root / "containers.conf").write_text(_CONFIGURATION)
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._podman("system", "service", "--time=0", self.host),
                stdout=log,
                stderr=log,
                env=self._environ(),
                cwd=self.root,
                user=self._user.pw_uid,
                group=self._user.pw_gid,
                extra_groups=(),
                start_new_session=True,
            )
        until("Podman answers", lambda: self.ask("info").returncode == 0)

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The output of a command of Podman's own."""
        return subprocess.run(
            self._podman(*words),
            env=self._environ(),
            cwd=self.root,
            user=self._user.pw_uid,
            group=self._user.pw_gid,
            extra_groups=(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def remove(self) -> None:
        """End it, and remove its containers and files."""
        for words in (("rm", "-fa", "-t", "0"), ("system", "reset", "-f")):
            self.ask(*words)
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=30)
        for mount in _mounts_below(self.root):
            subprocess.run(["umount", "-l", mount], check=False, timeout=10)
        shutil.rmtree(self.root)

    def _podman(self, *words: str) -> list[str]:
        return ["podman", "--root", f"{self.root}/data", "--runroot", f"{self.root}/state", *words]

    def _environ(self) -> dict[str, str]:
        return {
            "PATH": f"{os.defpath}:/usr/sbin:/sbin",
            "HOME": str(self.root),
            "XDG_RUNTIME_DIR": str(self._runtime),
            "CONTAINERS_CONF": str(self.root / "containers.conf"),
        }


def _mounts_below(folder: Path) -> list[str]:
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [it for it in reversed(places) if Path(it).is_relative_to(folder)]
