"""How many workers this machine, or the part of it that is ours, can keep busy."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MOST_BY_DEFAULT = 32
MOST = 256
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Workforce:
    """How many workers share the work."""

    workers: int

    @classmethod
    def read(cls, env: Mapping[str, str]) -> Workforce:
        """`RUNNER_WORKERS`, 1 to 256; unset or anything else means one for each usable core."""
        text = env.get("RUNNER_WORKERS", "").strip()
        if text.isascii() and text.isdigit() and len(text) <= len(str(MOST)):
            wanted = int(text)
            if 1 <= wanted <= MOST:
                return cls(wanted)
        return cls(min(usable_cores(), MOST_BY_DEFAULT))


def usable_cores() -> int:
    """Cores this process may run on, within the CPU quota of its control group; at least 1.

    A share of a core counts as one.
    """
    cores = len(os.sched_getaffinity(0))
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas())]))


def _quotas() -> Iterator[float]:
    """The quotas, in cores, of the groups around this process."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if not controllers:
            for group in _upwards(_CGROUPS, place):
                with suppress(OSError, ValueError):
                    quota, period = (group / "cpu.max").read_text().split()
                    yield int(quota) / int(period)
        elif "cpu" in controllers.split(","):
            for group in _upwards(_CGROUPS / controllers, place):
                with suppress(OSError, ValueError):
                    quota = (group / "cpu.cfs_quota_us").read_text()
                    if int(quota) > 0:
                        yield int(quota) / int((group / "cpu.cfs_period_us").read_text())


def _upwards(root: Path, place: str) -> Iterator[Path]:
    """A group and all above it; in a container its own group may be the root that it sees."""
    group = Path(root, place.lstrip("/"))
    while group != root and root in group.parents:
        yield group
        group = group.parent
    yield root
