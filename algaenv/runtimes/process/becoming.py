"""From a record to a running service: fork, and in the child become it.

Between fork and exec nothing is left to chance: no descriptor, signal or mark of the shim's own
goes with the service, and what fails there is told by the one who tried. Standard library only.
"""

from __future__ import annotations

import os
import signal
from typing import NoReturn

from algaenv.runtimes.process import privileges, procfs
from algaenv.runtimes.process.records import Record


def spawn(record: Record, output: int) -> int:
    """Start the service with `output` as where it writes; its pid, once its program runs.

    Raises OSError, with the program's name, when it cannot be run.
    """
    failed, fail = os.pipe()
    shim = os.getpid()
    pid = os.fork()
    if not pid:
        _become(record, output, shim, fail)
    os.close(fail)
    # Closed by exec, so this ends at once: empty, or with what went wrong.
    word = read_all(failed)
    os.close(failed)
    if word:
        os.waitpid(pid, 0)
        raise OSError(word.decode(errors="replace"))
    return pid


def read_all(descriptor: int) -> bytes:
    """Until the other end is closed by everybody who has it."""
    chunks = []
    while chunk := os.read(descriptor, 4096):
        chunks.append(chunk)
    return b"".join(chunks)


def _become(record: Record, output: int, shim: int, fail: int) -> NoReturn:
    try:
        for standard in (1, 2):
            os.dup2(output, standard)
        _forget_signals()
        os.chdir(record["directory"])
        environ = dict(os.environ)
        environ.pop(procfs.SHIM, None)
        privileges.bound(record["way"])
        privileges.enter(record["way"])
        privileges.give_up(record["way"])
        privileges.die_with(shim)
        argv = record["argv"]
        os.execve(argv[0], argv, environ)  # noqa: S606 - no shell is what is wanted
    except BaseException as error:
        os.write(fail, f"{record['argv'][0]}: {error}".encode())
    finally:
        os._exit(127)


def _forget_signals() -> None:
    """What Python and the shim have set would else be the service's own."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
