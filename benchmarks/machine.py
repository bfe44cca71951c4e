"""Which machine the figures are of, and how busy others kept it."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path


def facts() -> dict[str, str]:
    """What a reader needs to know of the hardware, the system and the interpreter."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": f"{os.cpu_count()} × {_processor()}",
        "memory": f"{memory:.0f} GiB",
        "system": f"{_distribution()}, Linux {platform.release()}, {platform.machine()}",
        "Python": platform.python_version(),
    }


def busy(seconds: float = 1.0) -> float:
    """The processors that are at work right now, 0 to their number, watched for `seconds`."""
    before, start = _worked(), time.monotonic()
    time.sleep(seconds)
    return (_worked() - before) / (time.monotonic() - start)


def _worked() -> float:
    """Seconds all processors together have spent on anything but idling, since the boot."""
    numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = numbers[3] + numbers[4]
    return (sum(numbers) - idle) / os.sysconf("SC_CLK_TCK")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return "unknown system"
