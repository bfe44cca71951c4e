"""Finds the process that holds a port of this machine.

"Address already in use" is no help. The kernel knows the socket, /proc its process, and a process
of another environment carries our marks, so the problem can name the holder. Linux and standard
library only: both runtimes check ports before they start anything.
"""

from __future__ import annotations

import errno
import itertools
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from algaenv.bundle.value import dataclass
from algaenv.runtimes.process.supervisor import records
from algaenv.system import processes

LOOPBACK: Final = "127.0.0.1"
# A listener on all addresses blocks ours; one on another loopback address does not.
_BLOCKING: Final = frozenset((LOOPBACK, "0.0.0.0", "::"))  # noqa: S104
_LISTEN: Final = "0A"


@dataclass(frozen=True, slots=True)
class PortHolder:
    """The process that holds a port.

    `pid` is None, and `command` empty, when the process cannot be seen: it belongs to another
    user (`uid`) or another container. `spec` and `resource` (`kind/name`) are set for a service of
    an algaenv environment, `supervisor` is the pid of its supervisor. `container` is the address of
    the container that a docker-proxy serves; `orphaned` when its engine is gone.
    """

    port: int
    address: str
    uid: int
    pid: int | None = None
    command: str = ""
    environment: str = ""
    spec: str = ""
    resource: str = ""
    container: str = ""
    orphaned: bool = False
    supervisor: int | None = None

    @property
    def remedy(self) -> str:
        """The command that frees the port; empty when nothing is known of the holder."""
        if self.spec and os.path.exists(self.spec):  # noqa: PTH110
            return f"run `algaenv down -f {shlex.quote(self.spec)}`"
        if self.pid is None:
            return ""
        if self.orphaned:
            return f"run `kill {self.pid}`: the engine that started it was killed"
        if self.container:
            # The engine goes on to hold the port for its container when the proxy is killed.
            return f"stop the container that `docker ps --filter publish={self.port}` shows"
        # A supervisor would restart the service.
        gone = f", which ends what {self.spec} left when it was moved" if self.spec else ""
        return f"run `kill {self.supervisor or self.pid}`{gone}"

    def __str__(self) -> str:
        if self.pid is None:
            return f"a process that cannot be seen (user {self.uid})"
        name = f"process {self.pid} ({self.command})"
        if self.environment:
            return f"{name}, {self.resource} of the environment of {self.spec}"
        return f"{name}, for the container at {self.container}" if self.container else name


@dataclass(frozen=True, slots=True)
class _Socket:
    address: str
    uid: int
    inode: str
    listens: bool


def find_port_holder(port: int) -> PortHolder | None:
    """The process that keeps a server from listening on 127.0.0.1:`port`; None when it is free.

    A holder that exits during the search does not count. A port that this user may not bind at all
    (below 1024) counts as free: the server reports that itself.
    """
    if not _is_taken(port):
        return None
    sockets = sorted(_sockets(port), key=lambda found: not found.listens)
    if not sockets:
        # Bound but not listening, or of another network namespace's kernel proxy: no table has it.
        return PortHolder(port, LOOPBACK, os.geteuid()) if _is_taken(port) else None
    processes = _owners({found.inode for found in sockets})
    for found in sockets:
        if found.inode in processes:
            return _described(port, found, processes[found.inode])
    return PortHolder(port, sockets[0].address, sockets[0].uid)


def _is_taken(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections that linger from an earlier one do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _sockets(port: int) -> Iterator[_Socket]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as stream:  # noqa: PTH123
                next(stream)
                yield from _matching(stream, port)
        except (OSError, StopIteration):
            continue


def _matching(lines: Iterator[str], port: int) -> Iterator[_Socket]:
    wanted = f":{port:04X}"
    for line in lines:
        fields = line.split()
        local, state, uid, inode = fields[1], fields[3], fields[7], fields[9]
        if not local.endswith(wanted) or inode == "0":
            continue
        address = _address(local.partition(":")[0])
        if address in _BLOCKING:
            yield _Socket(address, int(uid), inode, state == _LISTEN)


def _address(digits: str) -> str:
    """The kernel prints addresses as words in the byte order of the machine."""
    words = [digits[at : at + 8] for at in range(0, len(digits), 8)]
    raw = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    if len(raw) == 4:
        return socket.inet_ntop(socket.AF_INET, raw)
    text = socket.inet_ntop(socket.AF_INET6, raw)
    return text.removeprefix("::ffff:")


def _owners(inodes: set[str]) -> Mapping[str, int]:
    """Inode → the process that has it; of several that share it, the oldest."""
    links = {f"socket:[{inode}]": inode for inode in inodes}
    owners: dict[str, processes.Identity] = {}
    for pid in processes.pids():
        for link in processes.open_files(pid):
            inode = links.get(link)
            process = processes.identify(pid) if inode else None
            if inode and process:
                known = owners.get(inode)
                owners[inode] = min(known, process, key=_age) if known else process
    return {inode: process.pid for inode, process in owners.items()}


def _age(process: processes.Identity) -> tuple[int, int]:
    return process.start, process.pid


def _described(port: int, found: _Socket, pid: int) -> PortHolder:
    found_marks = _marks(pid)
    command = processes.command(pid)
    is_proxy = command == "docker-proxy"
    return PortHolder(
        port=port,
        address=found.address,
        uid=found.uid,
        pid=pid,
        command=command,
        environment=found_marks.get(records.ENVIRONMENT_MARK, ""),
        spec=found_marks.get(records.SPEC_MARK, ""),
        resource=found_marks.get(records.ADDRESS_MARK, ""),
        supervisor=_supervisor(pid) if found_marks else None,
        container=_container(pid) if is_proxy else "",
        orphaned=is_proxy and _is_orphan(pid),
    )


def _marks(pid: int) -> Mapping[str, str]:
    """The marks of the process, or of the nearest ancestor: servers overwrite their own."""
    while pid > 1:
        found = records.marks_of(pid)
        if records.ENVIRONMENT_MARK in found:
            return found
        seen = processes.stat(pid)
        pid = seen.parent if seen else 0
    return {}


def _supervisor(pid: int) -> int | None:
    while pid > 1:
        if records.SUPERVISOR_MARK in records.marks_of(pid):
            return pid
        seen = processes.stat(pid)
        pid = seen.parent if seen else 0
    return None


def _container(pid: int) -> str:
    """The `-container-ip <address>` of docker-proxy's command line."""
    after = dict(itertools.pairwise(processes.command_line(pid)))
    return after.get("-container-ip", "")


def _is_orphan(proxy: int) -> bool:
    """Whether a docker-proxy has outlived its engine. Older engines leave theirs when killed."""
    seen = processes.stat(proxy)
    if seen is None or not seen.parent:
        return False
    return not processes.command(seen.parent).startswith("dockerd")
