"""What the command line and the Docker runtime import is there on macOS, too.

A real macOS is not at hand: the parts of the standard library that only Linux has are taken away
before anything is imported.
"""

from __future__ import annotations

import subprocess
import sys

from tests.docs.pages import ROOT

LINUX_ONLY = """
import os, signal, resource, time, select, socket, sys
names = {
    os: ("memfd_create", "MFD_CLOEXEC", "pidfd_open", "sched_getaffinity", "setresuid", "setresgid",
         "ST_NOEXEC", "copy_file_range", "eventfd", "splice", "waitid", "posix_fallocate"),
    signal: ("pidfd_send_signal", "SIGRTMIN", "SIGPWR"),
    resource: ("RUSAGE_THREAD", "prlimit"),
    time: ("pthread_getcpuclockid",),
    select: ("epoll",),
    socket: ("SO_REUSEPORT_LB",),
}
for module, gone in names.items():
    for name in gone:
        if hasattr(module, name):
            delattr(module, name)
"""
IMPORTS = """
import pathlib, importlib
root = pathlib.Path(sys.argv[1])
for path in sorted(root.rglob("*.py")):
    parts = path.relative_to(root.parent).with_suffix("").parts
    apart = parts[1] in ("runner", "gateway", "serving") or parts[1:3] == ("runtimes", "process")
    if not apart and parts[-1] not in ("__main__",):
        importlib.import_module(".".join(parts).removesuffix(".__init__"))
print(len(sys.modules))
"""


def test_every_module_but_those_of_services_is_imported_without_what_only_linux_has() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LINUX_ONLY + IMPORTS, str(ROOT / "algaenv")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 300
