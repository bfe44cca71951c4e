"""Who a service runs as, and how it is tied to the life of its parent.

No service keeps a power of root's, or can get one: a root user's other services own what they work
on, and may at most look into directories of others, where their programs lie in such.

PostgreSQL refuses to run as root. Rather than making an account, a root user of this program gets
one of two ways: a user namespace of one entry, in which the same user has another number (nothing
changes owner, nothing needs to be readable by others), or, where namespaces are switched off, the
user `nobody` who keeps the right to pass directories. Runs between fork and exec, so it is small,
from the standard library, and imports nothing slow.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
from collections.abc import Iterable
from typing import Final, Literal

IsolationMode = Literal["plain", "reading", "namespace", "nobody"]
"""`reading`: as the user, root, and able to read files and directories of others."""
ISOLATION_MODES: Final[tuple[IsolationMode, ...]] = ("plain", "reading", "namespace", "nobody")
NAMESPACE_UID: Final = 1000
"""The number root has inside its namespace; any but 0 will do."""
NOBODY: Final = 65534

_CLONE_NEWUSER: Final = 0x10000000
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_KEEPCAPS: Final = 8
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_CAPABILITY_VERSION_3: Final = 0x20080522
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_CAP_DAC_OVERRIDE: Final = 1
"""Without it nobody could not reach a program or a directory below root's own home."""
_CAP_DAC_READ_SEARCH: Final = 2
_KEPT: Final[dict[IsolationMode, int]] = {
    "plain": 0,
    "reading": 1 << _CAP_DAC_READ_SEARCH,
    "namespace": 0,
    "nobody": 1 << _CAP_DAC_OVERRIDE,
}
"""The capabilities, as bits, that a service keeps."""
_CAPABILITIES: Final = 64


def enter_isolation(isolation: IsolationMode) -> None:
    """Become what `way` says, for good; raises OSError when this machine does not let us."""
    match isolation:
        case "plain" | "reading":
            return
        case "namespace":
            _enter_namespace()
        case "nobody":
            _switch_to_nobody()


def limit_capabilities(isolation: IsolationMode) -> None:
    """Have no program get more than `way` keeps; comes before `enter`, which gives up the right.

    A user without privileges has none that could be taken.
    """
    if os.geteuid():
        return
    for number in range(_CAPABILITIES):
        if not _KEPT[isolation] >> number & 1:
            try:
                _prctl(_PR_CAPBSET_DROP, number)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    return  # The kernel knows no more of them.
                if error.errno != errno.EPERM:
                    raise
                return


def drop_privileges(isolation: IsolationMode) -> None:
    """Keep what `way` keeps and nothing else, and never get more; comes after `enter`."""
    if isolation in {"plain", "reading"}:
        _set_capabilities(_KEPT[isolation], 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def isolation_for(paths: Iterable[str]) -> IsolationMode:
    """How a service that refuses nobody is run, if it has to reach `paths`."""
    if os.geteuid() or all(map(_reaches, paths)):
        return "plain"
    return "reading"


def _reaches(path: str) -> bool:
    """Whether root reaches it without a capability: as its owner, or as everybody does."""
    place = os.path.realpath(path)
    while True:
        try:
            seen = os.stat(place)  # noqa: PTH116 - pathlib is slow to import
        except OSError:
            return True  # What is not there keeps nobody out.
        needed = 0o5 if stat.S_ISDIR(seen.st_mode) else 0o4
        if seen.st_uid == 0:
            needed <<= 6
        if seen.st_mode & needed != needed:
            return False
        if place == "/":
            return True
        place = os.path.dirname(place)  # noqa: PTH120


def file_owner(isolation: IsolationMode) -> int:
    """The user, seen from outside, whose files a service entered this way has."""
    return NOBODY if isolation == "nobody" else os.geteuid()


def die_with_parent(parent: int) -> None:
    """Be killed when the thread that started us ends, whatever it ends by.

    Comes after `enter`, since a change of credentials takes it back. Exits at once when `parent`
    has gone already.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(signal.SIGKILL + 128)


def become_subreaper() -> None:
    """Descendants whose own parent dies become our children, so that they can be waited for."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _enter_namespace() -> None:
    user, group = os.geteuid(), os.getegid()
    _checked(_libc().unshare(_CLONE_NEWUSER), "unshare")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{NAMESPACE_UID} {user} 1")
    _write("/proc/self/gid_map", f"{NAMESPACE_UID} {group} 1")


def _set_capabilities(held: int, inheritable: int) -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # effective, permitted, inheritable; then the same for capabilities from 32 on.
    wanted = (ctypes.c_uint32 * 6)(held, held, inheritable, 0, 0, 0)
    _checked(_libc().capset(header, wanted), "capset")


def _switch_to_nobody() -> None:
    _prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    _set_capabilities(_KEPT["nobody"], _KEPT["nobody"])
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE)


def _prctl(option: int, first: int, second: int = 0) -> None:
    result = _libc().prctl(
        ctypes.c_int(option),
        ctypes.c_ulong(first),
        ctypes.c_ulong(second),
        ctypes.c_ulong(0),
        ctypes.c_ulong(0),
    )
    _checked(result, "prctl")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
