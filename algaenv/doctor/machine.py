"""Checks of this machine: they need no spec."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from algaenv import __version__
from algaenv.bundle.value import dataclass
from algaenv.doctor.finding import Finding, good, skipped
from algaenv.doctor.subject import Subject
from algaenv.model.intent import AppServer
from algaenv.reconcile.relocation import size_text
from algaenv.runtimes.binaries import cache_home, cache_problem
from algaenv.runtimes.docker.engine import NoEngine

_LOW_BYTES: Final = 2 << 30
_FULL_BYTES: Final = 200 << 20
_LOW_INODES: Final = 10_000
_FULL_INODES: Final = 500
_SKEW_SECONDS: Final = 30.0
_MOST_SKEW_SECONDS: Final = 600.0
"""S3 refuses signatures beyond a quarter of an hour."""
_DATE_SECONDS: Final = 3.0
_LEAST_FILES: Final = 1024
_LEAST_MAPS: Final = 65_530
_LEAST_WATCHES: Final = 8_192
_LEAST_INSTANCES: Final = 64
_LEAST_PIDS: Final = 500
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")
_LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1")


def python(subject: Subject) -> Sequence[Finding]:
    """The versions of this program and of what runs it."""
    del subject
    version = ".".join(map(str, sys.version_info[:3]))
    here = os.uname()
    found = f"algaenv {__version__}, Python {version}, {here.sysname} {here.release} {here.machine}"
    if here.sysname != "Linux":
        hint = "run it on Linux, or in a virtual machine with Linux"
        return [Finding("failed", f"{found}: algaenv runs on Linux only", hint)]
    return good(found)


def clock(subject: Subject) -> Sequence[Finding]:
    """The clock of this machine against the engine's, and the app server's where there is one."""
    skews = list(_skews(subject))
    if not skews:
        return skipped("neither an engine nor an app server tells the time")
    name, worst = max(skews, key=lambda it: abs(it[1]))
    if abs(worst) < _SKEW_SECONDS:
        return good(f"within {max(abs(worst), 1.0):.0f} s of {', '.join(it for it, _ in skews)}")
    way = "behind" if worst > 0 else "ahead of"
    return [
        Finding(
            "failed" if abs(worst) >= _MOST_SKEW_SECONDS else "warning",
            f"the clock of this machine is {abs(worst):.0f} s {way} that of {name}",
            "have both set by NTP (`timedatectl` shows it); a virtual machine that slept is set "
            "when it is started anew",
        )
    ]


def _skews(subject: Subject) -> Iterator[tuple[str, float]]:
    """Name of a server → seconds that its clock is ahead."""
    from algaenv.runtimes.docker.inventory import engine_details

    engine = subject.engine()
    if not isinstance(engine, NoEngine):
        before = time.time()
        details = engine_details(subject.environ, engine)
        if details is not None and details.time is not None:
            yield "the Docker engine", details.time - (before + time.time()) / 2
    intent = subject.intent
    if intent is not None and isinstance(intent.gateway, AppServer):
        before = time.time()
        moment = server_time(intent.app_url)
        if moment is not None:
            # The header has whole seconds.
            yield "the app server", moment + 0.5 - (before + time.time()) / 2


def server_time(url: str) -> float | None:
    """Unix time of the Date header of a server; None where it does not tell."""
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_DATE_SECONDS)
    try:
        connection.request("HEAD", "/")
        text = connection.getresponse().getheader("date")
        return parsedate_to_datetime(text).timestamp() if text else None
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """What is free on a file system: bytes and inodes; None where it counts no inodes."""

    free: int
    inodes: int | None


def free_space_at(path: Path) -> FreeSpace:
    """The room at a path, or at the nearest directory above it. Raises OSError."""
    there = next(it for it in (path, *path.parents) if it.exists())
    found = os.statvfs(there)
    return FreeSpace(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)


def disk(subject: Subject) -> Sequence[Finding]:
    """Room for state, caches, temporary files, and what the engine keeps."""
    from algaenv.runtimes.docker.inventory import engine_details

    places = {"the cache": cache_home(subject.environ)}
    places["temporary files"] = Path(subject.environ.get("TMPDIR") or "/tmp")  # noqa: S108
    if subject.environment is not None:
        places["the state directory"] = subject.environment.home
    engine = subject.engine()
    details = None if isinstance(engine, NoEngine) else engine_details(subject.environ, engine)
    if details is not None and details.root.startswith("/"):
        places["the Docker engine"] = Path(details.root)
    found = []
    for what, path in places.items():
        try:
            room = free_space_at(path)
        except OSError as error:
            found.append(Finding("warning", f"cannot look at {path}: {error.strerror}"))
            continue
        found.append(judge_free_space(what, path, room))
    if problem := cache_problem(cache_home(subject.environ)):
        found.append(Finding("warning", problem.summary, problem.hint))
    bad = [it for it in found if it.state != "ok"]
    return bad or good("room enough", *(it.summary for it in found))


def judge_free_space(what: str, path: Path, space: FreeSpace) -> Finding:
    """Whether there is room enough for `what` at a path."""
    hint = "delete what is not needed; `algaenv ps` shows what each environment takes"
    if what == "the Docker engine":
        hint = "free some of it with `docker system prune`, which removes what no container uses"
    if space.free < _LOW_BYTES:
        state = "failed" if space.free < _FULL_BYTES else "warning"
        summary = f"{size_text(space.free)} are free for {what} ({path})"
        return Finding("failed" if state == "failed" else "warning", summary, hint)
    if space.inodes is not None and space.inodes < _LOW_INODES:
        summary = f"{space.inodes} inodes are free for {what} ({path})"
        return Finding("failed" if space.inodes < _FULL_INODES else "warning", summary, hint)
    return Finding("ok", f"{what}: {size_text(space.free)} free at {path}")


@dataclass(frozen=True, slots=True)
class KernelLimits:
    """Limits of this process and of the kernel; None where they are not told, or there is none."""

    files: int | None
    maps: int | None
    watches: int | None
    instances: int | None
    pids: int | None


def read_limits() -> KernelLimits:
    """Those of this machine."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    pids = [it for it in (_number("/proc/sys/kernel/pid_max"), _own_pids_max()) if it is not None]
    pids += [] if processes == resource.RLIM_INFINITY else [processes]
    return KernelLimits(
        None if soft == resource.RLIM_INFINITY else soft,
        _number("/proc/sys/vm/max_map_count"),
        _number("/proc/sys/fs/inotify/max_user_watches"),
        _number("/proc/sys/fs/inotify/max_user_instances"),
        min(pids, default=None),
    )


def kernel(subject: Subject) -> Sequence[Finding]:
    """Limits that a service or the loop would meet."""
    del subject
    return judge_limits(read_limits())


def judge_limits(limits: KernelLimits) -> Sequence[Finding]:
    """Which limits are too low."""
    sysctl = "set {} to {} or more in /etc/sysctl.d, then run sysctl --system as root"
    rows = (
        (limits.files, _LEAST_FILES, "open files", "raise it with ulimit -n in this shell"),
        (
            limits.maps,
            _LEAST_MAPS,
            "memory maps of a process (vm.max_map_count), of which the runner takes many",
            sysctl.format("vm.max_map_count", _LEAST_MAPS),
        ),
        (
            limits.watches,
            _LEAST_WATCHES,
            "watched directories (fs.inotify.max_user_watches), which `algaenv dev` needs",
            sysctl.format("fs.inotify.max_user_watches", 524_288),
        ),
        (
            limits.instances,
            _LEAST_INSTANCES,
            "watchers (fs.inotify.max_user_instances), which `algaenv dev` needs",
            sysctl.format("fs.inotify.max_user_instances", 512),
        ),
        (limits.pids, _LEAST_PIDS, "processes", "raise the limit of this user or container"),
    )
    found = [
        Finding("warning", f"only {value} {what} are allowed, and {least} are advised", hint)
        for value, least, what, hint in rows
        if value is not None and value < least
    ]
    shown = tuple(f"{what.partition(' (')[0]}: {value}" for value, _, what, _ in rows if value)
    return found or good("limits are high enough", *shown)


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _own_pids_max() -> int | None:
    """The limit of our control group (v2 or v1); None without one."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root = "/sys/fs/cgroup/pids" if "pids" in controllers.split(",") else "/sys/fs/cgroup"
        if controllers in {"", "pids"} and (found := _number(f"{root}{path}/pids.max")):
            return found
    return None


def proxy(subject: Subject) -> Sequence[Finding]:
    """Proxies that would also be asked for addresses of this machine."""
    return judge_proxies(subject.environ)


def judge_proxies(environ: Mapping[str, str]) -> Sequence[Finding]:
    """Whether proxies are set, and whether addresses of this machine are left out."""
    named = {name: it for name, it in environ.items() if name.lower() in _PROXIES and it}
    if not named:
        return good("no proxy is set")
    left_out = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    names = {it.strip().lstrip(".").lower() for it in left_out.split(",")}
    missing = [it for it in _LOOPBACK_NAMES if it not in names and "*" not in names]
    # Of a proxy's address only the host is shown: the rest may hold a password.
    shown = tuple(f"{name}: {_host(value)}" for name, value in sorted(named.items()))
    if not missing:
        return good(f"{', '.join(sorted(named))} set, and not for this machine", *shown)
    return [
        Finding(
            "warning",
            f"{', '.join(sorted(named))} set, but NO_PROXY lacks {', '.join(missing)}",
            f"set NO_PROXY to {','.join(filter(None, (left_out, *missing)))}",
            shown,
        )
    ]


def _host(url: str) -> str:
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        return f"{parts.hostname or '?'}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        return "?"
