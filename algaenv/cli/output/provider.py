"""Messages to Docker Compose, as a provider of one of its services: a JSON object a line.

Compose shows the first line of an `info` as the state of the service, ends at the first `error`,
and gives the variables of `setenv` (with the name of the service before them) and `rawsetenv` to
the services that depend on this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TextIO

from algaenv.cli.output.escape import escape_controls, render_problems
from algaenv.cli.output.json import json_line
from algaenv.cli.output.lines import STOPPING
from algaenv.cli.output.streams import write_from_signal
from algaenv.model.event import (
    Event,
    Resolving,
    RuntimeChosen,
    StepEnded,
    StepProgress,
    StepStarted,
    StepWaiting,
    Warned,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from algaenv.model.problem import Problem

MessageType = Literal["info", "error", "debug", "setenv", "rawsetenv"]


class ProviderSink:
    """Writes what happens in a run as messages; its end is left to the command."""

    def __init__(self, stream: TextIO, messages: TextIO) -> None:
        self._stream = stream
        self._messages = messages

    def emit(self, event: Event) -> None:
        """Write the message of an event, if it has one."""
        match escape_controls(event):
            case RuntimeChosen(runtime, why):
                self.send("debug", f"runtime {runtime}: {why}")
            case Resolving(subject, what):
                self.send("info", f"{subject}: {what}")
            case StepStarted(step):
                self.send("info", f"{step.verb} {step.address}")
            case StepProgress(address, note):
                self.send("debug", f"{address}: {note}")
            case StepWaiting(address, last, seconds):
                self.send("info", f"waiting for {address}: {last} ({seconds:.0f}s)")
            case StepEnded(step, outcome, seconds):
                self.send("debug", f"{step.verb} {step.address}: {outcome} in {seconds:.1f}s")
            case Warned(problem):
                self.send("info", f"warning: {problem.summary}")
            case _:
                pass

    def send(self, kind: MessageType, message: str) -> None:
        """Write one message at once."""
        self._stream.write(json_line({"type": kind, "message": message}))
        self._stream.flush()

    def fail(self, problems: Iterable[Problem]) -> None:
        """Write the last message: everything that is wrong."""
        self.send("error", render_problems(problems) or "interrupted")

    def stopping(self) -> None:
        """Acknowledge the interrupt on stderr."""
        write_from_signal(self._messages, f"{STOPPING}\n")

    def close(self) -> None:
        """Nothing to do."""
