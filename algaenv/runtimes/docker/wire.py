"""A container's body in the words of the engine's API. Pure."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from typing import Any, Final

from algaenv.model.lock import Environment
from algaenv.model.resource import Resource
from algaenv.runtimes.docker.body import ETC, RESTART, ContainerBody, MountPoint
from algaenv.runtimes.docker.labels import IMAGE_ID, labels_for
from algaenv.runtimes.services import LOOPBACK, revealed

_LOGS: Final = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
_MAC: Final = ("no-new-privileges:true",)


def container_request(
    environment: Environment, resource: Resource, body: ContainerBody, image: str, image_id: str
) -> dict[str, Any]:
    """The body of a create request; `image` is how the engine knows the image."""
    ports = {f"{port.container}/tcp": port for port in body.ports}
    request: dict[str, Any] = {
        "Hostname": body.service,
        "Image": image,
        "Env": [f"{name}={text}" for name, text in sorted(revealed(body.environment).items())],
        "Labels": {**labels_for(environment, resource), IMAGE_ID: image_id},
        "ExposedPorts": {inside: {} for inside in ports},
        "StopSignal": body.stop_signal,
        "StopTimeout": body.stop_timeout,
        "HostConfig": _host(body),
        "NetworkingConfig": {"EndpointsConfig": {body.network: {"Aliases": [body.service]}}},
    }
    if body.command:
        request["Cmd"] = list(body.command)
    return request


def _host(body: ContainerBody) -> dict[str, Any]:
    return {
        "NetworkMode": body.network,
        "PortBindings": {
            f"{port.container}/tcp": [{"HostIp": LOOPBACK, "HostPort": str(port.host)}]
            for port in body.ports
        },
        "Mounts": [_mount(mount) for mount in body.mounts],
        "Tmpfs": dict(body.tmpfs),
        "CapDrop": ["ALL"],
        "CapAdd": list(body.capabilities),
        "SecurityOpt": list(_MAC),
        "ReadonlyRootfs": body.read_only,
        "ExtraHosts": list(body.host_names),
        "Init": body.init,
        "RestartPolicy": {"Name": RESTART},
        "LogConfig": dict(_LOGS),
    }


def _mount(mount: MountPoint) -> dict[str, Any]:
    return {
        "Type": mount.kind,
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": mount.read_only,
    }


def archive(body: ContainerBody) -> bytes:
    """A tar to be unpacked at `/` before the start; empty when there is nothing to unpack.

    It holds the profile's files, for their owner's eyes only, and the owners of mounts that the
    image knows nothing of. The engine unpacks into volumes as well, but skips an entry for the
    very directory it unpacks at; hence one archive at the root.
    """
    folder, owner = ETC.lstrip("/"), body.file_owner
    contents = {f"{folder}/{name}": text.encode() for name, text in revealed(body.files).items()}
    headers = [_entry(folder, tarfile.DIRTYPE, owner, 0o700)] if contents else []
    headers += [
        _entry(name, tarfile.REGTYPE, owner, 0o600, len(text)) for name, text in contents.items()
    ]
    headers += [
        _entry(owned.path.lstrip("/"), tarfile.DIRTYPE, owned.uid, owned.mode)
        for owned in body.owned
    ]
    return _tar(headers, contents) if headers else b""


def _entry(name: str, kind: bytes, owner: int, mode: int, size: int = 0) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.mode, header.size = kind, mode, size
    header.uid = header.gid = owner
    return header


def _tar(headers: Iterable[tarfile.TarInfo], contents: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for header in headers:
            content = contents.get(header.name)
            archive.addfile(header, io.BytesIO(content) if content is not None else None)
    return stream.getvalue()
