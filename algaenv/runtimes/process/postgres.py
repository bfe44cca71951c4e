"""PostgreSQL's programs: how this user can run them, and what they make.

`initdb` takes half a second, so it is run once for every build of PostgreSQL: what it makes is
kept as a template, in which nobody can log in, and copied.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Failed, Problem, is_full
from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.binaries import stamp_of
from algaenv.runtimes.process import oneshot
from algaenv.runtimes.process.layout import give, private
from algaenv.runtimes.process.privileges import Way, owner

PASSING = ".algaenv-cluster-"
"""Begins the names of clusters that are not complete yet."""
_VERSION = re.compile(r"\(PostgreSQL\) (\d[\w.]*)")
_TEMPLATE_DAYS = 30
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Postgres:
    """A server program, its version (`18.6`), and how this user can run it."""

    path: Path
    version: str
    way: Way

    @property
    def major(self) -> str:
        """What has to agree with the data."""
        return self.version.partition(".")[0]

    @property
    def initdb(self) -> Path:
        """What makes data directories; it lies beside the server."""
        return self.path.with_name("initdb")

    def make(self, fresh: Path, templates: Path | None, on_progress: OnProgress) -> None:
        """A cluster at `fresh` in which there is no user but one who cannot log in.

        A template is only a short cut: where none can be kept, the cluster is made without.
        """
        if templates is not None:
            try:
                self._copy(self._template(templates, on_progress), fresh)
                return
            except (OSError, Failed) as error:
                why = error.strerror if isinstance(error, OSError) else error.problem.summary
                on_progress(f"going on without a template in {templates}: {why}")
                shutil.rmtree(fresh, ignore_errors=True)
        self._initialise(fresh, "--no-sync")

    def _copy(self, template: Path, fresh: Path) -> None:
        # cp shares the blocks where the file system can, and is four times as fast as Python.
        ended = oneshot.run(["cp", "-Rp", str(template), str(fresh)], "plain")
        check(ended, "copying the template")

    def type_in(
        self, place: Path, settings: Mapping[str, str], statements: Sequence[str]
    ) -> tuple[str, ...]:
        """Run statements as the superuser, without a port and without a password.

        What it says on standard error, by lines. In this mode a statement ends with its line.
        """
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        argv = [str(self.path), "--single", "-D", str(place), *options, "template1"]
        ended = oneshot.run(argv, self.way, typed="".join(f"{line}\n" for line in statements))
        check(ended, "writing to it")
        return tuple(ended.stderr.splitlines())

    def give(self, place: Path) -> None:
        """Make the user that the server runs as the owner of everything in `place`."""
        give(place, owner(self.way))

    def _template(self, templates: Path, on_progress: OnProgress) -> Path:
        private(templates)
        stamp = stamp_of([self.path, self.initdb])
        template = templates / f"{stamp}-{owner(self.way)}"
        if not (template / "PG_VERSION").exists():
            on_progress("preparing this version of PostgreSQL for the first time")
            fresh = passing_name(templates)
            try:
                # It lives long, so unlike a cluster that is made again it is synced to disk.
                self._initialise(fresh)
                with contextlib.suppress(OSError):  # Another environment was quicker.
                    fresh.rename(template)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
            _prune(templates, keep=template)
        os.utime(template)
        return template

    def _initialise(self, fresh: Path, *options: str) -> None:
        private(fresh)
        self.give(fresh)
        program = [str(self.initdb), "-D", str(fresh)]
        # Who may log in is decided by the one who takes the cluster into use.
        argv = [*program, "-U", "postgres", "-E", "UTF8", "--auth=reject", *options]
        ended = oneshot.run([*argv, "--locale=C.UTF-8"], self.way)
        if ended.returncode and "locale" in ended.stderr:
            ended = oneshot.run([*argv, "--locale=C"], self.way)
        check(ended, "initdb")


def examine(path: Path) -> Postgres:
    """How PostgreSQL can be run by this user; tried, since only the kernel knows.

    Raises Failed (`root-postgres`, `process-failed`) when there is no way.
    """
    ways: tuple[Way, ...] = ("plain",) if os.geteuid() else ("namespace", "nobody")
    answers: list[str] = []
    for way in ways:
        ended = oneshot.run([str(path), "--version"], way)
        if version := _VERSION.search(ended.stdout):
            return Postgres(path, version[1], way)
        answers.append(f"{way}: {ended.stderr.strip() or f'exit code {ended.returncode}'}")
    raise Failed(_no_way(path, answers))


def passing_name(directory: Path) -> Path:
    """A name for a cluster that is being made."""
    return directory / f"{PASSING}{os.getpid()}-{next(_numbers)}"


def check(ended: subprocess.CompletedProcess[str], what: str) -> None:
    """Raises Failed (`cluster-failed`, `disk-full`) with the last lines when a tool did not end
    well."""
    if ended.returncode:
        said = (ended.stderr or ended.stdout).strip().splitlines()
        raise Failed(failed(f"{what} (exit code {ended.returncode})", said))


def failed(what: str, said: Sequence[str]) -> Problem:
    """The complaint about a tool, with what it said."""
    if is_full(said):
        return Problem(
            "disk-full",
            f"cannot set up PostgreSQL: the disk is full ({what} failed)",
            "make room on the disk that holds the spec, and run this again",
            detail=tuple(said[-20:]),
        )
    return Problem(
        "cluster-failed",
        f"cannot set up PostgreSQL: {what} failed",
        "mend what its last lines say, and run `algaenv up` again",
        detail=tuple(said[-20:]),
    )


def _no_way(path: Path, answers: Sequence[str]) -> Problem:
    if os.geteuid():
        return Problem(
            "process-failed", f"cannot run {path}", "install it anew", detail=tuple(answers)
        )
    return Problem(
        "root-postgres",
        "cannot run PostgreSQL as root: it refuses to, and this machine allows no other way",
        "run this as another user, or allow user namespaces (sysctl user.max_user_namespaces)",
        detail=tuple(answers),
    )


def _prune(templates: Path, *, keep: Path) -> None:
    oldest = time.time() - _TEMPLATE_DAYS * 86400
    for entry in templates.iterdir():
        with contextlib.suppress(OSError):
            if entry != keep and entry.stat().st_mtime < oldest:
                shutil.rmtree(entry)
