"""What a spec of somebody else should not get without a word: the machine, the home, other secrets.

Warnings only: an author may mean it. Whoever brings up a stranger's spec reads them first, since
`validate` and `plan` show them too.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from algaenv.model.problem import Where
from algaenv.spec.ledger import Ledger

_SOCKETS: Final = re.compile(r"(?:docker|podman|containerd|crio|buildkitd)\.sock")
_SYSTEM: Final = frozenset(
    map(Path, ("/boot", "/dev", "/etc", "/home", "/proc", "/root", "/run", "/sys", "/var/run"))
)
_KEYS: Final = (".aws", ".config", ".docker", ".gnupg", ".kube", ".netrc", ".npmrc", ".ssh")


def judge_mount(source: str, what: str, where: Where, ledger: Ledger) -> None:
    """Warn of a mount, or a build context, that gives away more than an extension needs.

    `source` is absolute; `what` completes "cannot ".
    """
    if given := _given(Path(source), ledger):
        hint = "mount the one directory that is needed, or trust whoever wrote this"
        ledger.warn("spec-mount-wide", f"{what} {source} safely: {given}", hint, where)


def judge_secret(file: Path, named: str, where: Where, ledger: Ledger) -> None:
    """Warn of a secret that is read from a file outside the directory of the spec."""
    home = ledger.homes[where.file].resolve()
    if not file.resolve().is_relative_to(home):
        ledger.warn(
            "spec-secret-outside",
            f"tell whether {named} is meant for this: it lies outside of {home}",
            "keep the secret beside the spec, or trust whoever wrote this",
            where,
        )


def _given(source: Path, ledger: Ledger) -> str:
    """What somebody with `source` has; empty when it is nothing special."""
    real = Path(os.path.realpath(source))
    if _SOCKETS.fullmatch(source.name) or _SOCKETS.fullmatch(real.name) or _is_socket(real):
        return "it is a socket, and with that of an engine one can do anything on this machine"
    if real == Path("/"):
        return "it is the whole machine"
    home = Path(os.path.realpath(ledger.variable("HOME") or Path.home()))
    if home.is_relative_to(real):
        return "it holds your home directory, with the keys in it"
    if any(real.is_relative_to(home / name) for name in _KEYS):
        return "keys and passwords of yours are usually there"
    if real in _SYSTEM or source in _SYSTEM:
        return "it is a directory of the system"
    return ""


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except (OSError, ValueError):
        return False
