"""One parsed command line: its spec, its sinks and the application it runs."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from algaenv.bundle.value import dataclass
from algaenv.cli.output.streams import write_text
from algaenv.cli.output.terminal import Terminal

if TYPE_CHECKING:
    from algaenv.cli.output.github import Annotator
    from algaenv.cli.output.sinks import MultiSink, Sink
    from algaenv.dependencies import Request, UseCases
    from algaenv.dev.session import Holder
    from algaenv.model.event import Event
    from algaenv.model.problem import Problem

SPEC_NAME = "algaenv.yaml"
EPHEMERAL = ".algaenv-test-"
"""How the names of the specs of ephemeral environments begin."""


@dataclass(frozen=True, slots=True)
class CommandInvocation:
    """A command, its options and the process it runs in.

    `make_application` replaces the real application in tests.
    """

    verb: str
    options: argparse.Namespace
    terminal: Terminal
    environ: Mapping[str, str]
    make_application: Callable[[Request], UseCases] | None = None

    @classmethod
    def of(
        cls,
        verb: str,
        options: argparse.Namespace,
        make_application: Callable[[Request], UseCases] | None,
    ) -> CommandInvocation:
        """An invocation over the streams and the environment of this process."""
        terminal = Terminal.of(
            (sys.stdin, sys.stdout, sys.stderr),
            os.environ,
            no_color=options.no_color,
            quiet=options.quiet,
        )
        environ = dict(os.environ)
        if profiles := getattr(options, "profile", None):
            environ["ALGAENV_PROFILES"] = ",".join(profiles)
        return cls(verb, options, terminal, environ, make_application)

    @property
    def json(self) -> bool:
        """True when stdout carries JSON."""
        return bool(self.options.json) or getattr(self.options, "output", None) == "json"

    @property
    def quiet(self) -> bool:
        """True when only the result, warnings and errors are printed."""
        return bool(self.options.quiet)

    @property
    def verbose(self) -> bool:
        """True when every step is printed."""
        return bool(self.options.verbose)

    def print_result(self, text: str) -> None:
        """Write data to stdout."""
        write_text(self.terminal.out, text)

    def print_message(self, text: str) -> None:
        """Write a message to stderr, unless quiet."""
        if not self.quiet:
            write_text(self.terminal.err, text)

    def print_json(self, shape: object) -> None:
        """Write one indented JSON document to stdout."""
        import json

        from algaenv.cli.output.escape import escape_json

        self.print_result(escape_json(json.dumps(shape, indent=2, ensure_ascii=False)) + "\n")

    def named_spec(self) -> Path | None:
        """The absolute path from `-f` or ALGAENV_FILE; a directory means the spec inside it."""
        name = self.options.file or self.environ.get("ALGAENV_FILE")
        if not name:
            return None
        path = Path.cwd() / str(name)
        return path / SPEC_NAME if os.path.isdir(path) else path  # noqa: PTH112 - never raises

    def spec(self) -> Path:
        """The path that stands for the environment: of the spec, or of an isolated environment.

        For a command that is about the author's file, such as `validate`, the path of that. Raises
        SpecError when no spec is named and none is found, and UsageError.
        """
        if hasattr(self.options, "isolated"):
            return self.isolated(self._authored_spec())
        from algaenv.model.isolated import authored_spec

        return authored_spec(self._authored_spec())

    @property
    def isolated_name(self) -> str:
        """The name from `--isolated` or ALGAENV_ISOLATED; empty without one."""
        return self.options.isolated or self.environ.get("ALGAENV_ISOLATED", "")

    def isolated(self, spec: Path) -> Path:
        """The path of the isolated environment that is named; `spec` where none is.

        A path from `ps` that stands for an isolated environment already stays, unless another one
        is asked for, and so does that of an ephemeral one. Raises UsageError.
        """
        name = self.isolated_name
        if not name or (spec.name.startswith(EPHEMERAL) and self.options.isolated is None):
            return spec
        from algaenv.cli.parser import UsageError
        from algaenv.model.isolated import is_isolated_name, isolated_name, isolated_spec

        if (before := isolated_name(spec)) is not None:
            if self.options.isolated not in (None, before):
                raise UsageError(
                    f"cannot use --isolated {name}: {spec} is that of {before}",
                    "leave `--isolated` out, or name the spec that its author wrote",
                )
            return spec
        if not is_isolated_name(name):
            raise UsageError(
                f"cannot use ALGAENV_ISOLATED: {name!r} is no name of up to 20 of a-z, 0-9 and -",
                "correct the variable, or unset it",
            )
        return isolated_spec(spec, name)

    def _authored_spec(self) -> Path:
        if (named := self.named_spec()) is not None:
            return named
        from algaenv.spec.paths import find_spec

        found = find_spec(Path.cwd())
        if found is None:
            from algaenv.model.problem import Problem, SpecError

            raise SpecError(
                Problem(
                    code="spec-missing",
                    summary=f"cannot find {SPEC_NAME} in {Path.cwd()} or a directory above it",
                    hint="change to the directory that holds it, or name it with `-f PATH`",
                )
            )
        return found.absolute()

    def request(
        self, spec: Path, *, cancelled: Callable[[], bool] = lambda: False, leave_data: bool = False
    ) -> Request:
        """The request to the application; `leave_data` has the effect of `--yes`."""
        from algaenv.dependencies import Request

        return Request(
            spec=spec,
            environ=self.environ,
            runtime=getattr(self.options, "runtime", None),
            images=getattr(self.options, "images", None),
            adopt=getattr(self.options, "adopt", False),
            thorough=getattr(self.options, "thorough", False),
            leave_data=getattr(self.options, "yes", False) or leave_data,
            extensions=tuple(getattr(self.options, "extensions", None) or ()),
            cancelled=cancelled,
            limit_seconds=getattr(self.options, "wait_timeout", None),
            locked=getattr(self.options, "locked", False),
            only_expired=getattr(self.options, "expired", False),
        )

    def dev_session(self, spec: Path) -> Holder | None:
        """The `dev` that watches the environment of a spec, if one does."""
        from algaenv.drivers.state.state_dir import identify

        environment = identify(spec, "")
        if not os.path.lexists(environment.home / "logs" / "dev.lock"):
            return None
        from algaenv.dev.session import active_session

        return active_session(environment)

    def application(self, request: Request) -> UseCases:
        """The application that serves the request."""
        if self.make_application is not None:
            return self.make_application(request)
        from algaenv import wiring

        return wiring.build_application(request)

    def run_sinks(self, spec: Path) -> MultiSink:
        """The sinks of a run that makes changes: the log, and JSON, live view or plain lines."""
        from algaenv.cli.output.sinks import LogFile, MultiSink

        log = LogFile(self.verb, spec)
        shown = self._github_sinks(spec, group=not (self.json or self.quiet))
        if self.json:
            from algaenv.cli.output.json import JsonLines

            return MultiSink([log, *shown, JsonLines(self.terminal.out, self.terminal.err)])
        return MultiSink([log, *shown, self._human_sink(lambda: str(log.path or ""))])

    def progress_sinks(self, spec: Path) -> MultiSink:
        """The sinks of a run whose result is another than its report: stdout stays free."""
        from algaenv.cli.output.sinks import LogFile, MultiSink

        log = LogFile(self.verb, spec)
        shown = self._github_sinks(spec, group=not self.quiet)
        return MultiSink([log, *shown, self._human_sink(lambda: str(log.path or ""))])

    def read_sinks(self) -> MultiSink:
        """The sinks of a command that only reads; with JSON only its result is printed."""
        from algaenv.cli.output.sinks import MultiSink

        if self.json and not self.verbose:
            return MultiSink([])
        return MultiSink([self._human_sink(str)])

    def emit_warnings(self, sinks: MultiSink, warnings: list[Problem]) -> Callable[[Event], None]:
        """Show and keep the warnings of a command that asks; other events only with --verbose."""
        from algaenv.model.event import Warned

        def emit(event: Event) -> None:
            if isinstance(event, Warned):
                warnings.append(event.problem)
            if self.verbose or isinstance(event, Warned):
                sinks.emit(event)

        return emit

    def annotate(self, *problems: Problem) -> None:
        """Have GitHub Actions show errors at their places; does nothing elsewhere."""
        for problem in problems if self.in_github else ():
            write_text(self.terminal.err, self.annotator(None).of_problem(problem))

    @property
    def in_github(self) -> bool:
        """True in a job of GitHub Actions."""
        return self.environ.get("GITHUB_ACTIONS") == "true"

    def annotator(self, spec: Path | None) -> Annotator:
        """Makes annotations of GitHub Actions; files are looked for here and beside the spec."""
        from algaenv.cli.output.github import Annotator

        named = spec or self.named_spec()
        return Annotator(self.environ, (Path.cwd(), *([named.parent] if named else ())))

    def _github_sinks(self, spec: Path, *, group: bool) -> list[Sink]:
        if not self.in_github:
            return []
        from algaenv.cli.output.github import GitHubSink

        title = f"algaenv {self.verb}" if group else ""
        return [GitHubSink(self.terminal.err, self.annotator(spec), title)]

    def suggest(self, *commands: tuple[str, str]) -> None:
        """Print likely next commands for the same spec, each with its purpose."""
        from algaenv.cli.output.escape import escape_controls
        from algaenv.cli.output.terminal import aligned

        named = f" -f {shlex.quote(self.options.file)}" if self.options.file else ""
        if isolated := getattr(self.options, "isolated", None):
            named += f" --isolated={isolated}"
        lines = []
        for command, purpose in commands:
            verb, _, rest = command.partition(" ")
            lines.append((f"algaenv {verb}{named}{' ' if rest else ''}{rest}", purpose))
        leads = ["next: ", *("      " for _ in lines[1:])]
        rows = zip(leads, aligned(escape_controls(lines)), strict=True)
        self.print_message("\n" + "".join(f"{lead}{''.join(cells)}\n" for lead, cells in rows))

    def _human_sink(self, log: Callable[[], str]) -> Sink:
        terminal = self.terminal
        if terminal.live:
            from algaenv.cli.output.live import LiveView

            return LiveView(terminal.err, terminal.err_paint, verbose=self.verbose, log=log)
        from algaenv.cli.output.plain import PlainView

        return PlainView(
            terminal.err, terminal.err_paint, quiet=self.quiet, verbose=self.verbose, log=log
        )
