"""Runs the programs of PostgreSQL: isolation mode, `initdb`, and single-user statements.

`initdb` takes half a second, so it is run once for every build of PostgreSQL. Its result is kept as
a template, in which no role can log in, and copied.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Failed, Problem, is_full
from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.memo import stamp_of
from algaenv.runtimes.process.layout import chown_tree, private_directory
from algaenv.runtimes.process.supervisor import privileges
from algaenv.runtimes.process.supervisor.privileges import IsolationMode, file_owner

LAUNCHER = Path(privileges.__file__)
TEMPORARY_PREFIX = ".algaenv-cluster-"
"""Begins the names of clusters that are not complete yet."""
_SECONDS = 120.0
_VERSION = re.compile(r"\(PostgreSQL\) (\d[\w.]*)")
_TEMPLATE_DAYS = 30
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Postgres:
    """A server program, its version (`18.6`), and how this user can run it."""

    path: Path
    version: str
    isolation: IsolationMode

    @property
    def major(self) -> str:
        """The major version, which must match the data."""
        return self.version.partition(".")[0]

    @property
    def initdb(self) -> Path:
        """The program that creates data directories, beside the server."""
        return self.path.with_name("initdb")

    def make(self, fresh: Path, templates: Path | None, on_progress: OnProgress) -> None:
        """Create a cluster at `fresh` with one role, which cannot log in.

        A template is only a short cut: where none can be kept, initdb is run.
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
        ended = run_once(["cp", "-Rp", str(template), str(fresh)], "plain")
        check(ended, "copying the template")

    def run_single_user(
        self, place: Path, settings: Mapping[str, str], statements: Sequence[str]
    ) -> tuple[str, ...]:
        """Run statements as the superuser, without a port and without a password.

        Returns the lines of standard error. In this mode a statement ends with its line.
        """
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        argv = [str(self.path), "--single", "-D", str(place), *options, "template1"]
        ended = run_once(
            argv, self.isolation, stdin_text="".join(f"{line}\n" for line in statements)
        )
        check(ended, "writing to it")
        return tuple(ended.stderr.splitlines())

    def chown_data(self, place: Path) -> None:
        """Make the server's user the owner of everything in `place`."""
        chown_tree(place, file_owner(self.isolation))

    def _template(self, templates: Path, on_progress: OnProgress) -> Path:
        private_directory(templates)
        stamp = stamp_of([self.path, self.initdb])
        template = templates / f"{stamp}-{file_owner(self.isolation)}"
        if not (template / "PG_VERSION").exists():
            on_progress("preparing this version of PostgreSQL for the first time")
            fresh = temporary_name(templates)
            try:
                # A template is long-lived, so it is synced to disk.
                self._initialise(fresh)
                with contextlib.suppress(OSError):  # Another environment was faster.
                    fresh.rename(template)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
            _prune(templates, keep=template)
        os.utime(template)
        return template

    def _initialise(self, fresh: Path, *options: str) -> None:
        private_directory(fresh)
        self.chown_data(fresh)
        program = [str(self.initdb), "-D", str(fresh)]
        # pg_hba.conf is replaced when the cluster is taken into use.
        argv = [*program, "-U", "postgres", "-E", "UTF8", "--auth=reject", *options]
        ended = run_once([*argv, "--locale=C.UTF-8"], self.isolation)
        if ended.returncode and "locale" in ended.stderr:
            ended = run_once([*argv, "--locale=C"], self.isolation)
        check(ended, "initdb")


def detect_postgres(path: Path) -> Postgres:
    """Try the isolation modes in which this user may run PostgreSQL.

    Raises Failed (`root-postgres`, `process-failed`) when none works.
    """
    modes: tuple[IsolationMode, ...] = ("plain",) if os.geteuid() else ("namespace", "nobody")
    answers: list[str] = []
    for isolation in modes:
        ended = run_once([str(path), "--version"], isolation)
        if version := _VERSION.search(ended.stdout):
            return Postgres(path, version[1], isolation)
        answers.append(f"{isolation}: {ended.stderr.strip() or f'exit code {ended.returncode}'}")
    raise Failed(_cannot_run(path, answers))


def temporary_name(directory: Path) -> Path:
    """A name for a cluster that is not complete yet."""
    return directory / f"{TEMPORARY_PREFIX}{os.getpid()}-{next(_numbers)}"


def check(ended: subprocess.CompletedProcess[str], what: str) -> None:
    """Raise Failed (`cluster-failed`, `disk-full`) with the last lines of a tool that failed."""
    if ended.returncode:
        output = (ended.stderr or ended.stdout).strip().splitlines()
        raise Failed(cluster_problem(f"{what} (exit code {ended.returncode})", output))


def cluster_problem(what: str, output: Sequence[str]) -> Problem:
    """The problem of a failed tool, with its last lines."""
    if is_full(output):
        return Problem(
            "disk-full",
            f"cannot set up PostgreSQL: the disk is full ({what} failed)",
            "make room on the disk that holds the spec, and run this again",
            detail=tuple(output[-20:]),
        )
    return Problem(
        "cluster-failed",
        f"cannot set up PostgreSQL: {what} failed",
        "mend what its last lines say, and run `algaenv up` again",
        detail=tuple(output[-20:]),
    )


def _cannot_run(path: Path, answers: Sequence[str]) -> Problem:
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


def run_once(
    argv: Sequence[str], isolation: IsolationMode, *, stdin_text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a tool in an isolation mode; returns its output and exit code, whatever that is.

    `stdin_text` goes to its standard input. It runs in a session of its own, because a Ctrl-C lets
    running steps end, and dies with this process. Raises Failed (`process-failed`) on a timeout.
    """
    caller = str(os.getpid())
    try:
        return subprocess.run(
            [sys.executable, "-I", "-S", str(LAUNCHER), isolation, caller, *argv],
            input=stdin_text,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=False,
            start_new_session=True,
            env=_environment(os.environ),
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(
            Problem(
                "process-failed",
                f"cannot finish {Path(argv[0]).name} within {_SECONDS:g} s",
                "see whether the disk is slow or full",
            )
        ) from error


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """English messages, and none of the PG… variables."""
    kept = ("PATH", "HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH")
    return {"LC_ALL": "C"} | {name: environ[name] for name in kept if name in environ}
