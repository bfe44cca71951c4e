"""User, capabilities and parent-death signal of a service.

No service keeps or regains a capability of root, except that services of a root user may read
directories of other users where their programs are in such.

PostgreSQL refuses to run as root. For a root user it runs in one of two isolation modes: a user
namespace with one entry, in which the same user has another uid (no file changes owner), or, where
namespaces are disabled, as the user `nobody` with the capability to pass directories. This code
runs between fork and exec, so it is small.

As a program it runs another one in an isolation mode and ends it with its caller, because a process
with threads can neither enter a user namespace nor safely run Python between fork and exec:

    python -I -S privileges.py <isolation mode> <pid of the caller> <program> [argument ...]
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import sys
from collections.abc import Iterable
from typing import Final, Literal

IsolationMode = Literal["plain", "reading", "namespace", "nobody"]
"""`reading`: as root, able to read files and directories of other users."""
ISOLATION_MODES: Final[tuple[IsolationMode, ...]] = ("plain", "reading", "namespace", "nobody")
NAMESPACE_UID: Final = 1000
"""The uid of root inside its namespace; any but 0 works."""
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
"""Without it the user nobody could not reach files below root's home."""
_CAP_DAC_READ_SEARCH: Final = 2
_KEPT_CAPABILITIES: Final[dict[IsolationMode, int]] = {
    "plain": 0,
    "reading": 1 << _CAP_DAC_READ_SEARCH,
    "namespace": 0,
    "nobody": 1 << _CAP_DAC_OVERRIDE,
}
"""The capabilities, as bits, that a service keeps."""
_CAPABILITIES: Final = 64
ISOLATION_FAILED = 96
"""The exit code when this machine refuses the isolation mode or the program."""


def enter_isolation(isolation: IsolationMode) -> None:
    """Switch to the isolation mode for good. Raises OSError when this machine refuses it."""
    match isolation:
        case "plain" | "reading":
            return
        case "namespace":
            _enter_namespace()
        case "nobody":
            _switch_to_nobody()


def limit_capabilities(isolation: IsolationMode) -> None:
    """Drop all capabilities but those of the mode from the bounding set.

    Call it before `enter_isolation`, which gives up the right to. Does nothing for users other than
    root.
    """
    if os.geteuid():
        return
    for number in range(_CAPABILITIES):
        if not _KEPT_CAPABILITIES[isolation] >> number & 1:
            try:
                _prctl(_PR_CAPBSET_DROP, number)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    return  # The kernel knows no more of them.
                if error.errno != errno.EPERM:
                    raise
                return


def drop_privileges(isolation: IsolationMode) -> None:
    """Keep only the capabilities of the mode, and set no_new_privs; call after isolation."""
    if isolation in {"plain", "reading"}:
        _set_capabilities(_KEPT_CAPABILITIES[isolation], 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def isolation_for(paths: Iterable[str]) -> IsolationMode:
    """The isolation mode for a service that must reach `paths` and accepts to run as root."""
    if os.geteuid() or all(map(_is_accessible, paths)):
        return "plain"
    return "reading"


def _is_accessible(path: str) -> bool:
    """Whether root reaches `path` without a capability: as its owner, or by the world's bits."""
    place = os.path.realpath(path)
    while True:
        try:
            seen = os.stat(place)  # noqa: PTH116 - pathlib is slow to import
        except OSError:
            return True  # A missing file is no obstacle.
        needed = 0o5 if stat.S_ISDIR(seen.st_mode) else 0o4
        if seen.st_uid == 0:
            needed <<= 6
        if seen.st_mode & needed != needed:
            return False
        if place == "/":
            return True
        place = os.path.dirname(place)  # noqa: PTH120


def file_owner(isolation: IsolationMode) -> int:
    """The uid, seen from outside, that owns the files of a service in this mode."""
    return NOBODY if isolation == "nobody" else os.geteuid()


def die_with_parent(parent: int) -> None:
    """Set the parent-death signal: SIGKILL when the thread that started us ends.

    Call it after `enter_isolation`, since a change of credentials clears it. Exits at once when
    `parent` has ended already.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(signal.SIGKILL + 128)


def become_subreaper() -> None:
    """Adopt orphaned descendants, so that they can be waited for."""
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
    if sys.platform == "linux":
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    _set_capabilities(_KEPT_CAPABILITIES["nobody"], _KEPT_CAPABILITIES["nobody"])
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


def main(arguments: list[str]) -> int:
    """Replace this process by the program; returns only on failure."""
    isolation, caller, program = arguments[0], int(arguments[1]), arguments[2:]
    os.umask(0o077)
    try:
        for known in ISOLATION_MODES:
            if known == isolation:
                enter_isolation(known)
        die_with_parent(caller)
        os.execvp(program[0], program)  # noqa: S606 - no shell is what is wanted
    except OSError as error:
        print(f"{program[0]}: {error}", file=sys.stderr)  # noqa: T201 - its only output
        return ISOLATION_FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
