"""The command `doctor`: what is wrong with this machine, the spec and its environment."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import (
    UsageError,
    add_file,
    add_images,
    add_isolated,
    add_output,
    add_profile,
    add_runtime,
)
from algaenv.cli.support import add_support, check_bundle_target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from algaenv.cli.invocation import CommandInvocation
    from algaenv.doctor.finding import CheckFinding
    from algaenv.doctor.subject import Subject

DESCRIPTION = (
    "Check this machine, the spec and its environment, and tell what is wrong, why it matters and "
    "how to mend it. Without a spec only the machine is checked; a broken one is reported, and the "
    "rest goes on. Nothing is pulled, built or started."
)
EXAMPLES = (
    ("algaenv doctor", "Every check, with the spec here or in a directory above."),
    ("algaenv doctor -q", "Only what is wrong."),
    ("algaenv doctor --fix", "Repair what is safe to repair, and say what was done."),
    ("algaenv doctor --bundle report.zip", "Write down what somebody else needs to help."),
    ("algaenv doctor --json | jq '.checks[] | select(.state == \"failed\")'", "For programs."),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--fix",
        action="store_true",
        help="repair what is ours and safe to repair: modes, .gitignore, leftovers of killed runs, "
        "and the line of the spec that names its schema",
    )
    parser.add_argument(
        "--bundle",
        metavar="FILE",
        help="write a support bundle to a new file: an archive of logs, status, plan, versions and "
        "these findings, without secrets",
    )
    add_file(parser)
    add_isolated(parser)
    add_profile(parser)
    add_runtime(parser)
    add_images(parser)
    add_support(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Make the checks; those that failed are `check` as an exit code."""
    from algaenv.cli.output.findings import findings_text, findings_to_json
    from algaenv.doctor.examine import examine, is_failed, repair

    named = invocation.options.bundle
    target = check_bundle_target(named) if named is not None else None
    subject = _subject(invocation)
    found = examine(subject)
    if invocation.options.fix:
        found = repair(found)
    mask = subject.mask()
    if invocation.json:
        invocation.print_json(mask.json(findings_to_json(found, subject.spec)))
    else:
        terminal = invocation.terminal
        text = findings_text(
            found, terminal.out_paint, quiet=invocation.quiet, verbose=invocation.verbose
        )
        invocation.print_result(mask.text(text))
    if target is not None:
        _write_bundle(invocation, subject, found, target)
    return ExitCode.CHECK if any(map(is_failed, found)) else ExitCode.DONE


def _write_bundle(
    invocation: CommandInvocation, subject: Subject, found: Sequence[CheckFinding], target: Path
) -> None:
    import json
    import time

    from algaenv.cli.output.escape import escape_controls
    from algaenv.cli.output.findings import findings_to_json
    from algaenv.cli.support import given_texts, parts_of
    from algaenv.doctor import support
    from algaenv.system.files import write_atomic

    given = given_texts(subject, None)
    given["doctor.json"] = json.dumps(findings_to_json(found, subject.spec), indent=2)
    deadline = time.monotonic() + support.THOROUGH_SECONDS
    texts = support.collect(subject, given, parts_of(subject), deadline)
    try:
        write_atomic(target, support.archive_of(texts, invocation.verb))
    except OSError as error:
        summary = f"cannot write a support bundle to {target}: {error.strerror or error}"
        raise UsageError(summary, "name another file") from None
    invocation.print_message(f"support bundle: {escape_controls(str(target))}\n")


def _subject(invocation: CommandInvocation) -> Subject:
    from algaenv.doctor.subject import Subject
    from algaenv.model.problem import SpecError

    try:
        request = invocation.request(invocation.spec())
    except SpecError:  # Only the machine is checked.
        request = None
    return Subject(request, invocation.environ)
