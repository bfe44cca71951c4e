"""Writes a support bundle after a command that failed, and says where it is."""

from __future__ import annotations

import argparse
import os
import time

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.output.streams import write_text
from algaenv.cli.parser import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from algaenv.cli.invocation import CommandInvocation
    from algaenv.doctor.subject import Subject
    from algaenv.doctor.support import Part
    from algaenv.model.event import Report

VARIABLE = "ALGAENV_SUPPORT_BUNDLE"
_OFF = frozenset(("0", "off", "no", "false"))
_SILENT = frozenset(
    (
        ExitCode.DONE,
        ExitCode.DIFFERENCES,
        ExitCode.SPEC,
        ExitCode.LOCKED,
        ExitCode.CALL,
        ExitCode.STALE,
        ExitCode.USAGE,
        ExitCode.OUTPUT,
        ExitCode.INTERRUPTED,
    )
)
"""Codes of what explains itself, or is no failure."""
_CHECKS_SECONDS = 0.5


def add_support(parser: argparse.ArgumentParser) -> None:
    """`--no-bundle`."""
    parser.add_argument(
        "--no-bundle",
        action="store_true",
        help=f"write no support bundle after a failure (also by {VARIABLE}=off)",
    )


def bundle_after(invocation: CommandInvocation, code: int, report: Report | None = None) -> None:
    """Write a bundle after a failure of a command that has `--no-bundle`, and name it last.

    Takes about a second. Whatever goes wrong here is left unsaid: the error of the command counts.
    """
    if code in _SILENT or not _wanted(invocation):
        return
    try:
        path = _write(invocation, report)
    except Exception:  # The command has failed already, and this is not why.
        return
    if path is not None and not invocation.quiet:
        from algaenv.cli.output.escape import escape_controls

        write_text(invocation.terminal.err, f"support bundle: {escape_controls(str(path))}\n")


def _wanted(invocation: CommandInvocation) -> bool:
    options = invocation.options
    if getattr(options, "no_bundle", True) or getattr(options, "ephemeral", False):
        return False
    if getattr(options, "bundle", None):  # Written by hand.
        return False
    return invocation.environ.get(VARIABLE, "").lower() not in _OFF


def _write(invocation: CommandInvocation, report: Report | None) -> Path | None:
    """None where there is no state directory: nothing has been brought up."""
    from algaenv.cli.output.findings import findings_to_json
    from algaenv.doctor import support
    from algaenv.doctor.subject import Subject

    deadline = time.monotonic() + support.QUICK_SECONDS
    subject = Subject(invocation.request(invocation.spec()), invocation.environ)
    environment = subject.environment
    if environment is None or not environment.home.is_dir():
        return None
    parts = parts_of(subject)
    parts["doctor.json"] = support.findings_part(
        subject, lambda it: findings_to_json(it, subject.spec), _CHECKS_SECONDS
    )
    given = given_texts(subject, report)
    texts = support.collect(subject, given, parts, deadline)
    content = support.archive_of(texts, invocation.verb)
    return support.write_kept(environment.home, invocation.verb, content)


def given_texts(subject: Subject, report: Report | None) -> dict[str, str]:
    """What is there already: the events of this run with its plan, and what ended it."""
    from algaenv.cli.output.json import json_line, report_to_json
    from algaenv.doctor.support import events_of_run

    found = events_of_run(subject, os.getpid())
    if report is not None:
        found["problem.json"] = json_line(report_to_json(report))
    return found


def parts_of(subject: Subject) -> dict[str, Part]:
    """What is read for a bundle."""
    from algaenv.cli.output.json import json_line, status_to_json
    from algaenv.doctor import support

    found = support.parts_of(subject)
    if subject.saved is not None:
        found["status.json"] = lambda: json_line(status_to_json(subject.status()))
    return found


def check_bundle_target(text: str) -> Path:
    """Where `--bundle` may write. Raises UsageError before any check is made."""
    from pathlib import Path

    path = Path.cwd() / text
    if os.path.lexists(path):
        raise UsageError(f"cannot write a support bundle to {path}: it exists", "name a new file")
    if not path.parent.is_dir():
        summary = f"cannot write a support bundle to {path}: there is no such directory"
        raise UsageError(summary, "make it first")
    return path
