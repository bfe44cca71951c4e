"""Who a service runs as, and how it is tied to the life of its parent.

PostgreSQL refuses to run as root. Rather than making an account, a root user of this program gets
one of two ways: a user namespace of one entry, in which the same user has another number (nothing
changes owner, nothing needs to be readable by others), or, where namespaces are switched off, the
user `nobody` who keeps the right to pass directories. Runs between fork and exec, so it is small,
from the standard library, and imports nothing slow.
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Final, Literal

Way = Literal["plain", "namespace", "nobody"]
WAYS: Final[tuple[Way, ...]] = ("plain", "namespace", "nobody")
INSIDE: Final = 1000
"""The number root has inside its namespace; any but 0 will do."""
NOBODY: Final = 65534

_CLONE_NEWUSER: Final = 0x10000000
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_KEEPCAPS: Final = 8
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_CAPABILITY_VERSION_3: Final = 0x20080522
_CAP_DAC_OVERRIDE: Final = 1
"""Without it nobody could not reach a program or a directory below root's own home."""


def enter(way: Way) -> None:
    """Become what `way` says, for good; raises OSError when this machine does not let us."""
    match way:
        case "plain":
            return
        case "namespace":
            _enter_namespace()
        case "nobody":
            _become_nobody()


def owner(way: Way) -> int:
    """The user, seen from outside, whose files a service entered this way has."""
    return NOBODY if way == "nobody" else os.geteuid()


def die_with(parent: int) -> None:
    """Be killed when the thread that started us ends, whatever it ends by.

    Comes after `enter`, since a change of credentials takes it back. Exits at once when `parent`
    has gone already.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(signal.SIGKILL + 128)


def adopt_orphans() -> None:
    """Descendants whose own parent dies become our children, so that they can be waited for."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _enter_namespace() -> None:
    user, group = os.geteuid(), os.getegid()
    _checked(_libc().unshare(_CLONE_NEWUSER), "unshare")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{INSIDE} {user} 1")
    _write("/proc/self/gid_map", f"{INSIDE} {group} 1")


def _become_nobody() -> None:
    libc = _libc()
    _prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    bit = 1 << _CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # effective, permitted, inheritable; then the same for capabilities from 32 on.
    wanted = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    _checked(libc.capset(header, wanted), "capset")
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
