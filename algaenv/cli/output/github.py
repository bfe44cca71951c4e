"""What GitHub Actions shows in place: annotations of files, and groups of lines in the log.

Its workflow commands are lines of stdout or stderr; they are written to stderr, so that stdout
stays the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TextIO

from algaenv.cli.output.escape import escape_text
from algaenv.model.event import Event, FailedStep, Reported, Warned
from algaenv.model.problem import Problem, Where

_ESCAPES = (("%", "%25"), ("\r", "%0D"), ("\n", "%0A"))
_PROPERTY_ESCAPES = (*_ESCAPES, (":", "%3A"), (",", "%2C"))


class Annotator:
    """Makes annotations; `bases` are the directories that files may be relative to."""

    def __init__(self, environ: Mapping[str, str], bases: Iterable[Path]) -> None:
        self._workspace = Path(environ.get("GITHUB_WORKSPACE", "")).absolute()
        self._bases = tuple(bases)

    def of_problem(self, problem: Problem, level: str = "error") -> str:
        """One line; `level` is error, warning or notice."""
        lines = (problem.summary, *problem.detail)
        text = "\n".join((*lines, f"hint: {problem.hint}") if problem.hint else lines)
        return self.line(text, problem.code, problem.where, level)

    def line(self, text: str, title: str, where: Where | None, level: str = "error") -> str:
        """One line about `text`, at a place if it has one."""
        properties = {"title": title}
        if where is not None:
            places = {"file": self._file(where.file), "line": where.line, "col": where.column}
            properties = {**{name: str(it) for name, it in places.items()}, **properties}
        listed = ",".join(
            f"{name}={_escaped(it, _PROPERTY_ESCAPES)}" for name, it in properties.items()
        )
        return f"::{level} {listed}::{_escaped(text, _ESCAPES)}\n"

    def _file(self, name: str) -> str:
        """Relative to the checkout, as GitHub names its files."""
        found = (path for base in self._bases if (path := base / name).is_file())
        path = next(found, Path(name)).absolute()
        inside = path.is_relative_to(self._workspace)
        return str(path.relative_to(self._workspace)) if inside else name


class GitHubSink:
    """A group around the lines of a run, and an annotation for each problem.

    It stands before the sink that writes those lines, so that the summary follows the group.
    """

    def __init__(self, stream: TextIO, annotator: Annotator, group: str = "") -> None:
        self._stream = stream
        self._annotator = annotator
        self._group = group
        self._opened = False

    def emit(self, event: Event) -> None:
        """Open the group at the first event, and close it at the report."""
        if self._group and not self._opened:
            self._opened = True
            self._write(f"::group::{_escaped(self._group, _ESCAPES)}\n")
        match event:
            case Warned(problem):
                self._write(self._annotator.of_problem(problem, "warning"))
            case Reported(report):
                self.close()
                failed = (
                    it.outcome.problem for it in report.ended if isinstance(it.outcome, FailedStep)
                )
                for problem in (*report.problems, *failed):
                    self._write(self._annotator.of_problem(problem))
            case _:
                pass

    def stopping(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Close the group, if one is open."""
        if self._opened:
            self._opened, self._group = False, ""
            self._write("::endgroup::\n")

    def _write(self, line: str) -> None:
        self._stream.write(line)
        self._stream.flush()


def _escaped(text: str, escapes: Iterable[tuple[str, str]]) -> str:
    text = "\n".join(escape_text(line) for line in text.split("\n"))
    for character, escape in escapes:
        text = text.replace(character, escape)
    return text
