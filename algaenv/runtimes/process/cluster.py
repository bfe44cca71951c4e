"""PostgreSQL's data directory: made, checked and brought up to the spec before the server starts.

A new one comes into its place complete or not at all, so one that is there can be trusted; what a
server that was killed leaves in it is cleared away.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Conflict, Problem
from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.process import access as logins
from algaenv.runtimes.process import procfs
from algaenv.runtimes.process.bodies import Access
from algaenv.runtimes.process.ending import wait
from algaenv.runtimes.process.layout import content, data_version
from algaenv.runtimes.process.postgres import PASSING, Postgres, passing_name

_LOCK = "postmaster.pid"
_LINGERING_SECONDS = 10.0
_WHO_MAY = """\
# Written by algaenv: whoever knows a password, from this machine.
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
host all all ::1/128 scram-sha-256
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster of one environment, and the program that works on it.

    `templates` is where clusters to copy are kept; None makes every cluster from nothing.
    """

    postgres: Postgres
    folder: Path
    templates: Path | None

    @property
    def place(self) -> Path:
        """What the server is told as its data directory."""
        return content(self.folder)

    def prepare(self, access: Access, on_progress: OnProgress) -> None:
        """Make it, or check it and write `access` into it if that changed; nothing runs on it.

        Raises Conflict for data of another version or of others, Failed when a tool fails.
        """
        for left in self.folder.glob(f"{PASSING}*"):
            shutil.rmtree(left, ignore_errors=True)
        if not (self.place / "PG_VERSION").exists():
            self._refuse_unknown()
            self._make(access, on_progress)
            return
        self._refuse_other_version()
        self._clear_lock()
        self.postgres.give(self.place)
        if not logins.known(self.folder, access):
            on_progress("writing user, password and database")
            logins.admit(self.postgres, self.place, access)
            logins.remember(self.folder, access)

    def _make(self, access: Access, on_progress: OnProgress) -> None:
        fresh = passing_name(self.folder)
        try:
            on_progress("making the data directory")
            self.postgres.make(fresh, self.templates, on_progress)
            (fresh / "pg_hba.conf").write_text(_WHO_MAY)
            self.postgres.give(fresh)
            # Syncing hundreds of files that nobody has written to yet would take a second.
            logins.admit(self.postgres, fresh, access, fsync="off")
            logins.remember(self.folder, access)
            fresh.rename(self.place)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _refuse_unknown(self) -> None:
        if self.place.is_dir() and any(self.place.iterdir()):
            raise Conflict(
                Problem(
                    "data-unknown",
                    f"cannot make a PostgreSQL data directory at {self.place}: it is not empty",
                    "see what it holds, and move it away",
                )
            )

    def _refuse_other_version(self) -> None:
        made_by = data_version(self.folder)
        if self.postgres.major != made_by:
            raise Conflict(
                Problem(
                    "data-version",
                    f"cannot run PostgreSQL {self.postgres.version} ({self.postgres.path}) on "
                    f"data that PostgreSQL {made_by} made",
                    f"install PostgreSQL {made_by}, or move {self.folder} away to start afresh",
                )
            )

    def _clear_lock(self) -> None:
        """A server that was killed leaves its lock; its pid may be a stranger's by now."""
        lock = self.place / _LOCK
        if not lock.exists():
            return
        here = os.path.realpath(self.place)
        workers = [
            process
            for pid in procfs.pids()
            if procfs.working_directory(pid) == here and (process := procfs.identify(pid))
        ]
        # Those of a server that was just killed notice it and leave within moments.
        left = wait(workers, _LINGERING_SECONDS)
        if left:
            names = ", ".join(f"{each.pid} ({procfs.command(each.pid)})" for each in left)
            raise Conflict(
                Problem(
                    "data-in-use",
                    f"cannot start PostgreSQL on {self.place}: in use by process {names}",
                    "end it, and run this again",
                )
            )
        lock.unlink(missing_ok=True)
