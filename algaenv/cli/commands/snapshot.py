"""The command `snapshot`: keep the store and the database under a name, and put them back."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import UsageError, add_file, add_isolated, add_output, one_of, utf8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation
    from algaenv.dependencies import Request, UseCases
    from algaenv.model.stored_snapshot import StoredSnapshot
    from algaenv.reconcile.protocols import OnProgress

USAGE = "save|restore|list|delete [NAME] [options]"
DESCRIPTION = (
    "Keep the objects and the database of the environment as they are under a name, and put them "
    "back later, on either runtime. A restore takes the place of what is there now, after asking. "
    "Redis is left alone: it holds the debug stream and counters of the rate limit. An external "
    "database is neither saved nor restored."
)
EXAMPLES = (
    ("algaenv snapshot save before-migration", "Keep what is there now."),
    ("algaenv snapshot list", "The snapshots, with their age and size."),
    ("algaenv snapshot restore before-migration", "Put that state back, after asking."),
    ("algaenv snapshot restore before-migration --yes", "The same without asking, for scripts."),
    ("algaenv snapshot delete before-migration", "Remove it."),
)
TURN_SECONDS = 600.0
ACTIONS = ("save", "restore", "list", "delete")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "action", metavar="ACTION", type=one_of(*ACTIONS), help="save, restore, list or delete"
    )
    parser.add_argument(
        "name",
        metavar="SNAPSHOT",
        nargs="?",
        type=utf8,
        help="name of the snapshot: lower-case letters, digits, dots, hyphens and underscores",
    )
    add_file(parser)
    add_isolated(parser)
    parser.add_argument(
        "--replace", action="store_true", help="with save: take the place of one of that name"
    )
    parser.add_argument(
        "--yes", action="store_true", help="with restore: do not ask before data is replaced"
    )
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Do what the first argument says. Raises Refused, Failed, NotReady and Locked."""
    options = invocation.options
    action, name = options.action, _checked_name(options.action, options.name)
    _refuse_unused(action, replace=options.replace, yes=options.yes)
    spec = invocation.spec()
    request = _request(invocation)
    application = invocation.application(request)
    if action == "list":
        _print_list(invocation, application.snapshots(request))
        return ExitCode.DONE
    if action == "delete":
        stored = application.delete_snapshot(request, name)
        _print_done(invocation, stored, f"removed the snapshot {name}")
        return ExitCode.DONE
    if action == "save":
        stored = application.save_snapshot(
            request, name, _progress(invocation), replace=options.replace
        )
        _print_done(invocation, stored, f"saved the snapshot {name}: {_content(stored)}")
        invocation.suggest((f"snapshot restore {name}", "puts this state back"))
        return ExitCode.DONE
    if not options.yes and not _confirmed(invocation, application, request, name):
        invocation.print_message("nothing was changed\n")
        return ExitCode.INTERRUPTED
    stored = application.restore_snapshot(request, name, _progress(invocation))
    _print_done(invocation, stored, f"restored the snapshot {name}: {_content(stored)}")
    if invocation.dev_session(spec) is None:
        invocation.suggest(("up", "installs what the sources hold now"))
    return ExitCode.DONE


def _request(invocation: CommandInvocation) -> Request:
    from algaenv.bundle.value import replace

    spec = invocation.spec()
    request = invocation.request(spec)
    if invocation.dev_session(spec) is not None:
        return replace(request, lock_seconds=TURN_SECONDS)
    return request


def _checked_name(action: str, name: str | None) -> str:
    """Raises UsageError for a name that is missing, too much or malformed."""
    if action == "list":
        if name is not None:
            raise UsageError(f"cannot list {name!r}: a list takes no name", "leave it out")
        return ""
    if name is None:
        raise UsageError(
            f"cannot {action} a snapshot without a name", f"write `algaenv snapshot {action} NAME`"
        )
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"cannot use {name!r} as the name of a snapshot: it may hold up to 63 lower-case "
            "letters, digits, dots, hyphens and underscores, and begins with a letter or digit",
            "choose another name",
        )
    return name


def _refuse_unused(action: str, *, replace: bool, yes: bool) -> None:
    for given, option, of in ((replace, "--replace", "save"), (yes, "--yes", "restore")):
        if given and action != of:
            raise UsageError(
                f"cannot use {option} with {action}: it belongs to {of}", "leave it out"
            )


def _confirmed(
    invocation: CommandInvocation, application: UseCases, request: Request, name: str
) -> bool:
    """Whether a person says yes; raises UsageError without a terminal."""
    from algaenv.cli.output.streams import write_text

    if invocation.json or not invocation.terminal.asks:
        raise UsageError(
            "cannot replace data without being told so: there is nobody to ask",
            "add `--yes` if the objects and rows that are there now may go",
        )
    # A name that does not exist needs no answer.
    if any(it.name == name for it in application.snapshots(request)):
        question = f"Replace all objects and rows by those of {name}? [y/N] "
        write_text(invocation.terminal.err, question)
        return invocation.terminal.stdin.readline().strip().lower() in {"y", "yes"}
    return True


def _progress(invocation: CommandInvocation) -> OnProgress:
    from algaenv.cli.output.escape import escape_controls

    return lambda note: invocation.print_message(f"{escape_controls(note)}\n")


def _print_done(invocation: CommandInvocation, stored: StoredSnapshot, line: str) -> None:
    if invocation.json:
        _print_json(invocation, (stored,))
    else:
        invocation.print_result(f"{line}\n")


def _print_list(invocation: CommandInvocation, stored: Sequence[StoredSnapshot]) -> None:
    if invocation.json:
        _print_json(invocation, stored)
        return
    if not stored:
        invocation.print_message("there is no snapshot of this environment\n")
        invocation.suggest(("snapshot save NAME", "keeps what is there now"))
        return
    from algaenv.cli.output.escape import escape_controls
    from algaenv.cli.output.terminal import aligned

    rows = [("name", "saved (UTC)", "from", "postgres", "database", "objects")]
    for it in stored:
        saved = it.created_at[:19].replace("T", " ")
        objects = f"{it.objects}, {_size(it.store_bytes)}"
        rows.append(
            (it.name, saved, it.runtime, str(it.postgres), _size(it.database_bytes), objects)
        )
    lines = ["".join(cells).rstrip() for cells in aligned(escape_controls(rows))]
    invocation.print_result("\n".join(lines) + "\n")


def _print_json(invocation: CommandInvocation, stored: Sequence[StoredSnapshot]) -> None:
    listed = [
        {
            "name": it.name,
            "created_at": it.created_at,
            "runtime": it.runtime,
            "postgres": it.postgres,
            "database_bytes": it.database_bytes,
            "objects": it.objects,
            "store_bytes": it.store_bytes,
        }
        for it in stored
    ]
    action = invocation.options.action
    invocation.print_json({"version": 1, "action": action, "snapshots": listed})


def _content(stored: StoredSnapshot) -> str:
    plural = "" if stored.objects == 1 else "s"
    objects = f"{stored.objects} object{plural} ({_size(stored.store_bytes)})"
    return f"a database of {_size(stored.database_bytes)}, {objects}"


def _size(number: int) -> str:
    for unit, name in _UNITS:
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return f"{number} bytes"
