"""Create requests of the engine's API, and the archives unpacked into containers. Pure."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from typing import Any, Final

from algaenv.model.lock import LOOPBACK, Environment
from algaenv.model.resource import Resource
from algaenv.runtimes.docker.labels import IMAGE_ID, labels_for
from algaenv.runtimes.docker.specs import (
    ETC,
    RESTART,
    ContainerSpec,
    ImageUser,
    MountPoint,
    OwnedDirectory,
)
from algaenv.runtimes.services import reveal_all

_LOGS: Final = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
_SECOND: Final = 1_000_000_000
_HEALTH_TIMES: Final = {
    "Interval": 30 * _SECOND,
    "Timeout": 10 * _SECOND,
    "StartPeriod": 10 * _SECOND,
}
"""In nanoseconds, as the images have them."""
_SECURITY_OPTIONS: Final = ("no-new-privileges:true",)


def container_request(
    environment: Environment, resource: Resource, body: ContainerSpec, image: str, image_id: str
) -> dict[str, Any]:
    """The body of a create request; `image` is how the engine knows the image."""
    environ, _ = body.injected
    ports = {f"{port.container}/tcp": port for port in body.ports}
    request: dict[str, Any] = {
        "Hostname": body.service,
        "Image": image,
        # Empty leaves it to the image.
        "User": str(body.user or ""),
        "Env": [f"{name}={text}" for name, text in sorted(reveal_all(environ).items())],
        "Labels": {**labels_for(environment, resource), IMAGE_ID: image_id},
        "ExposedPorts": {inside: {} for inside in ports},
        "StopSignal": body.stop_signal,
        "StopTimeout": body.stop_timeout,
        "HostConfig": _host(body),
        "NetworkingConfig": {"EndpointsConfig": {body.network: {"Aliases": [body.service]}}},
    }
    if body.healthcheck:
        # Not every engine takes it as a part of an image.
        request["Healthcheck"] = {"Test": ["CMD", *body.healthcheck], **_HEALTH_TIMES}
    if body.command:
        request["Cmd"] = list(body.command)
    return request


def podman_request(request: Mapping[str, Any]) -> dict[str, Any]:
    """The same create request for Podman, which copies a directory of the image into each tmpfs.

    Owner and mode would be those of the directory, and not what the options say. It mounts one at
    `/run` as well where the root is read-only, and what is mounted below takes its mode from there.
    """
    host = request["HostConfig"]
    given = {"/run": "rw,nosuid,nodev,noexec,mode=755", **host["Tmpfs"]}
    tmpfs = {path: f"{options},notmpcopyup" for path, options in given.items()}
    return {**request, "HostConfig": {**host, "Tmpfs": tmpfs}}


def preparation_request(
    environment: Environment,
    resource: Resource,
    body: ContainerSpec,
    image: str,
    image_id: str,
    *,
    command: Iterable[str],
) -> dict[str, Any]:
    """A create request of a helper container with the volumes of `body`, which runs `command`.

    It runs as root, with the capabilities to change owners and to read every directory only.
    """
    return {
        "Image": image,
        "User": "0:0",
        "Entrypoint": list(command),
        "Cmd": [],
        "Labels": {**labels_for(environment, resource), IMAGE_ID: image_id},
        "HostConfig": {
            "NetworkMode": "none",
            "Mounts": [_mount(one, own=True) for one in body.mounts if one.type == "volume"],
            "CapDrop": ["ALL"],
            "CapAdd": ["CHOWN", "DAC_READ_SEARCH"],
            "SecurityOpt": list(_SECURITY_OPTIONS),
            "LogConfig": dict(_LOGS),
        },
    }


def _host(body: ContainerSpec) -> dict[str, Any]:
    return {
        "NetworkMode": body.network,
        "PortBindings": {
            f"{port.container}/tcp": [{"HostIp": LOOPBACK, "HostPort": str(port.host)}]
            for port in body.ports
        },
        "Mounts": [
            *(_mount(mount, own=body.user is not None) for mount in body.mounts),
            *_etc_volume(body),
        ],
        "Tmpfs": dict(body.tmpfs),
        "CapDrop": ["ALL"],
        "CapAdd": list(body.capabilities),
        "SecurityOpt": list(_SECURITY_OPTIONS),
        "ReadonlyRootfs": body.read_only,
        # With swap on top, a runaway process would slow the machine down before it ends.
        "Memory": body.memory,
        "MemorySwap": body.memory,
        "PidsLimit": body.pids or None,
        "ExtraHosts": list(body.host_names),
        "Init": body.init,
        "RestartPolicy": {"Name": RESTART},
        "LogConfig": dict(_LOGS),
    }


def _mount(mount: MountPoint, *, own: bool) -> dict[str, Any]:
    request: dict[str, Any] = {
        "Type": mount.type,
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": mount.read_only,
    }
    if own and mount.type == "volume":
        # A new volume is then owned by root, which shows that it is unused.
        request["VolumeOptions"] = {"NoCopy": True}
    return request


def _etc_volume(body: ContainerSpec) -> list[dict[str, Any]]:
    """An anonymous volume, which is removed with its container.

    The engine copies nothing into a read-only root, but it does into volumes.
    """
    if body.user is None or not body.injected[1]:
        return []
    return [{"Type": "volume", "Target": ETC, "VolumeOptions": {"NoCopy": True}}]


def root_archive(body: ContainerSpec) -> bytes:
    """A tar to be unpacked at `/` before the start; empty when there is nothing to unpack.

    It holds the profile's files, readable by their owner only, and the owners of mounts that the
    image does not know.
    """
    folder, owner = ETC.lstrip("/"), body.file_owner
    headers = [_entry(folder, tarfile.DIRTYPE, owner, 0o700)] if body.injected[1] else []
    return _packed(headers, f"{folder}/", body, body.owned)


def files_archive(body: ContainerSpec) -> bytes:
    """A tar of the files alone, to be unpacked at ETC; empty when there is none."""
    return _packed([], "", body, ())


def owners_archive(owned: Iterable[OwnedDirectory]) -> bytes:
    """A tar to be unpacked at `/` that sets owner and mode of directories.

    The engine unpacks into volumes as well, but skips an entry for the very directory it unpacks
    at; hence one archive at the root.
    """
    return _tar([_directory(one) for one in owned], {})


def _packed(
    headers: list[tarfile.TarInfo], below: str, body: ContainerSpec, owned: Iterable[OwnedDirectory]
) -> bytes:
    _, files = body.injected
    contents = {f"{below}{name}": text.encode() for name, text in reveal_all(files).items()}
    headers += [
        _entry(name, tarfile.REGTYPE, body.file_owner, 0o400, len(text))
        for name, text in contents.items()
    ]
    headers += [_directory(one) for one in owned]
    return _tar(headers, contents) if headers else b""


def _directory(owned: OwnedDirectory) -> tarfile.TarInfo:
    return _entry(owned.path.lstrip("/"), tarfile.DIRTYPE, owned.user, owned.mode)


def _entry(name: str, kind: bytes, owner: ImageUser, mode: int, size: int = 0) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.mode, header.size = kind, mode, size
    header.uid, header.gid = owner.uid, owner.gid
    return header


def _tar(headers: Iterable[tarfile.TarInfo], contents: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as root_archive:
        for header in headers:
            content = contents.get(header.name)
            root_archive.addfile(header, io.BytesIO(content) if content is not None else None)
        end = root_archive.offset + 2 * tarfile.BLOCKSIZE
    # Without the padding that follows its end: Podman stops reading there, and may then fail to
    # send the rest to the process that unpacks it.
    return stream.getvalue()[:end]
