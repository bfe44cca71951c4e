"""The command `ps`: list the environments of this machine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import add_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation
    from algaenv.model.status import EnvironmentSummary

DESCRIPTION = (
    "List the environments of this machine, wherever their specs are: those that this user has "
    "brought up and not removed with their data, and those of others that the Docker engine has. "
    "Nothing is asked whether it answers; `algaenv status` does that for one."
)
EXAMPLES = (
    ("algaenv ps", "Name, runtime, state, age, disk, ports, spec."),
    ("algaenv ps -q", "Only the paths of their specs, one a line."),
    ("algaenv ps --json | jq -r '.environments[].spec'", "The same from the document."),
)
_SECONDS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.set_defaults(file=None)
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """List them."""
    from algaenv.inventory import all_environments

    found = all_environments(invocation.environ)
    if invocation.json:
        listed = [
            {
                "id": it.environment.id,
                "name": it.environment.name,
                "spec": str(it.environment.spec),
                "runtime": it.runtime,
                "state": it.state,
                "services": it.services,
                "running": it.running,
                "since": it.since,
                "bytes": it.size,
                "ports": dict(it.ports),
                "detail": it.detail,
                "expires": it.expires or None,
                "owner_pid": it.owner_pid or None,
                "expired": it.expired,
            }
            for it in found
        ]
        invocation.print_json({"version": 1, "environments": listed})
    elif invocation.quiet:
        invocation.print_result("".join(f"{it.environment.spec}\n" for it in found))
    elif not found:
        invocation.print_result("no environment on this machine\n")
    else:
        _print_table(invocation, found)
    return ExitCode.DONE


def _print_table(invocation: CommandInvocation, found: Sequence[EnvironmentSummary]) -> None:
    from algaenv.cli.output.escape import escape_controls
    from algaenv.cli.output.terminal import aligned
    from algaenv.reconcile.relocation import size_text

    ending = any(it.expires or it.owner_pid for it in found)
    ends = ("ends",) if ending else ()
    rows = [("name", "runtime", "state", "age", *ends, "disk", "gateway", "spec")]
    for it in found:
        state = f"{it.state} ({it.running}/{it.services})" if it.state == "partly up" else it.state
        port = str(it.ports.get("gateway", "")) or "-"
        detail = f" ({it.detail})" if it.detail else ""
        spec = f"{it.environment.spec}{detail}"
        ends = (_end(it),) if ending else ()
        row = (it.environment.name, it.runtime, state, age(it.since), *ends, size_text(it.size))
        rows.append((*row, port, spec))
    lines = ["".join(cells) for cells in aligned(escape_controls(rows))]
    invocation.print_result("\n".join(lines) + "\n")
    if invocation.verbose:
        for it in found:
            ports = "  ".join(f"{name} {number}" for name, number in it.ports.items())
            invocation.print_result(escape_controls(f"{it.environment.name}: {ports}") + "\n")


def _end(it: EnvironmentSummary) -> str:
    """When it is taken down: `in 25m`, `with process 4711`, or both."""
    if it.expired:
        return "expired"
    ends = [f"in {_length(-_seconds_since(it.expires))}"] if it.expires else []
    ends += [f"with process {it.owner_pid}"] if it.owner_pid else []
    return ", ".join(ends) or "-"


def age(since: str) -> str:
    """`3d`, `5h`, `2m`, `7s`: how long ago a moment (ISO 8601) is."""
    return _length(_seconds_since(since))


def _seconds_since(moment: str) -> float:
    from datetime import UTC, datetime

    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def _length(seconds: float) -> str:
    unit, length = next((it for it in _SECONDS if seconds >= it[1]), _SECONDS[-1])
    return f"{max(int(seconds), 0) // length}{unit}"
