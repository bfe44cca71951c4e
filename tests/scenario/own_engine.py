"""A second Docker engine, which a test may kill."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from algaenv.system import processes
from tests.scenario.project import until

SECOND_POOL = "10.213.0.0/16"
"""Beside the addresses that the first engine gives to the networks of other tests."""


class OwnEngine:
    """A dockerd of our own on a unix socket; needs root."""

    def __init__(self, root: Path) -> None:
        self.root = root / "engine"
        self.root.mkdir()
        self.bridge = f"ae{os.getpid() % 100000}"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"unix://{self.root}/docker.sock"

    def _ip(self, *arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, timeout=10)

    def _let_through(self, verb: str) -> None:
        """The first engine's firewall drops what passes between bridges it does not know."""
        rule = ["FORWARD", "-s", SECOND_POOL, "-d", SECOND_POOL, "-j", "ACCEPT"]
        subprocess.run(["iptables", verb, *rule], check=False, timeout=10)

    def start(self) -> None:
        if self.process is None:
            self._let_through("-I")
            self._ip("link", "add", self.bridge, "type", "bridge")
            self._ip("addr", "add", "10.214.0.1/24", "dev", self.bridge)
            self._ip("link", "set", self.bridge, "up")
        (self.root / "pid").unlink(missing_ok=True)
        log = os.open(self.root / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        namespace = f"algaenv-test-{os.getpid()}"
        self.process = subprocess.Popen(
            [
                "dockerd", "--data-root", f"{self.root}/data", "--exec-root", f"{self.root}/exec",
                "--pidfile", f"{self.root}/pid", "-H", self.host, "--bridge", self.bridge,
                "--containerd", "/run/containerd/containerd.sock",
                "--containerd-namespace", namespace,
                "--containerd-plugins-namespace", f"{namespace}-plugins",
                "--iptables=false", "--ip-masq=false", "--live-restore",
                "--default-address-pool", f"base={SECOND_POOL},size=24",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
        os.close(log)
        until("the second engine answers", self.answers)

    def answers(self) -> bool:
        done = subprocess.run(
            ["docker", "-H", self.host, "info"], capture_output=True, check=False, timeout=30
        )
        return done.returncode == 0

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=10)
        # An older engine leaves the proxies of its ports behind: `up` names them, and kills none.
        mine = SECOND_POOL.partition("0.0")[0]
        for pid in processes.pids():
            words = processes.command_line(pid)
            if processes.command(pid) == "docker-proxy" and any(
                it.startswith(mine) for it in words
            ):
                os.kill(pid, signal.SIGTERM)

    def remove(self) -> None:
        if self.process is None:
            return
        self._let_through("-D")
        if self.process.poll() is None:
            left = subprocess.run(
                ["docker", "-H", self.host, "ps", "-aq"], capture_output=True, text=True,
                check=False, timeout=30,
            ).stdout.split()  # fmt: skip
            if left:
                subprocess.run(
                    ["docker", "-H", self.host, "rm", "-f", *left],
                    check=False, capture_output=True, timeout=60,
                )  # fmt: skip
            self.process.terminate()
            self.process.wait(timeout=30)
        subprocess.run(["ip", "link", "del", self.bridge], check=False, timeout=10)
        # The engine mounts its data directory over itself, and leaves it so when it was killed.
        subprocess.run(["umount", f"{self.root}/data"], check=False, timeout=10)
