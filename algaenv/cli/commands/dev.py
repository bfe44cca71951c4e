"""The command `dev`: `up`, and again after each change, until it is ended."""

from __future__ import annotations

import argparse

from algaenv.bundle.value import replace
from algaenv.cli.exit_codes import ExitCode, report_exit_code
from algaenv.cli.parser import (
    add_extensions,
    add_file,
    add_images,
    add_isolated,
    add_output,
    add_profile,
    add_runtime,
    one_of,
)
from algaenv.cli.support import add_support

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from queue import SimpleQueue

    from algaenv.cli.invocation import CommandInvocation
    from algaenv.cli.output.dev_state import Screen
    from algaenv.cli.output.dev_view import DevView
    from algaenv.dev.handlers import SourceHandlers
    from algaenv.dev.loop import Message
    from algaenv.dev.session import Holder, Session
    from algaenv.model.event import Report
    from algaenv.model.lock import Environment

USAGE = "[EXTENSION ...] [options]"
DESCRIPTION = (
    "Bring the environment up, then watch the spec and the sources, and bring up what has changed "
    "after each save. A change that cannot be built leaves the last good version serving, and says "
    "what is wrong, here and in the open page. Ctrl-C ends it and leaves the environment running; "
    "pressed twice it ends at once. Where one runs already, this one follows it."
)
EXAMPLES = (
    ("algaenv dev", "Everything that algaenv.yaml asks for, again after each save."),
    ("algaenv dev hello", "Watch one extension; the others are left as they are."),
    ("algaenv dev --on-exit stop", "Ctrl-C runs `algaenv down` as well; data is kept."),
    (
        "algaenv dev --json | jq -c 'select(.event == \"turn_ended\")'",
        "Follow it from a program.",
    ),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_extensions(parser)
    add_file(parser)
    add_isolated(parser)
    add_profile(parser)
    add_runtime(parser)
    add_images(parser)
    parser.add_argument(
        "--no-shell",
        dest="shell",
        action="store_false",
        help="build the component of a JavaScript handler after each edit, instead of running it "
        "from source until the component is built",
    )
    parser.add_argument(
        "--on-exit",
        metavar="WHAT",
        type=one_of("detach", "stop"),
        default="detach",
        help="what Ctrl-C does with the environment: detach leaves it running, stop takes it down "
        "and keeps its data (default: detach)",
    )
    add_support(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Watch until it is ended; returns 0 then, and the code of the first run when that fails."""
    from algaenv.dev.session import active_session, open_session
    from algaenv.drivers.state.state_dir import identify

    spec = invocation.spec()
    environment = identify(spec, spec.parent.name)
    _check_spec(invocation, spec)
    session = open_session(environment)
    if session is None:
        return _follow(invocation, environment, active_session(environment))
    try:
        return _watch(invocation, spec, session)
    finally:
        session.close()


def _check_spec(invocation: CommandInvocation, spec: Path) -> None:
    """Raises SpecError before anything is made."""
    from algaenv.drivers.state.state_dir import identify
    from algaenv.spec.cache import load_cached

    load_cached(spec, invocation.environ, identify(spec, "").home / "cache")


def _watch(invocation: CommandInvocation, spec: Path, session: Session) -> ExitCode:
    import queue

    from algaenv.cli.errors import report_abandoned
    from algaenv.cli.output.dev_sink import DevSink
    from algaenv.cli.signals import handle_interrupts
    from algaenv.dev.loop import Loop, Stop, Unanswered
    from algaenv.dev.surroundings import RealSurroundings
    from algaenv.dev.watcher import Watcher
    from algaenv.system import memory

    memory.share_one_arena()
    messages: SimpleQueue[Message] = queue.SimpleQueue()
    leave = Leave(invocation.options.on_exit)
    view = _view(invocation, messages, leave)
    sink = DevSink(invocation, spec, session, view)

    def stopping() -> None:
        messages.put(Stop())
        sink.stopping()

    with (
        sink,
        handle_interrupts(
            stopping, lambda: report_abandoned(invocation, sink.sinks), sink.restore
        ) as stop,
    ):
        request = invocation.request(spec, cancelled=stop.cancelled)
        request = replace(request, keeps_clients=True)
        handlers = _source_handlers(invocation, spec)
        surroundings = RealSurroundings(
            request,
            sink.emit,
            lambda names: messages.put(Unanswered(names)),
            handlers,
            view.emit_gateway if view is not None else lambda _: None,
        )
        request = replace(request, wrap_builder=surroundings.wrap_builder)
        loop = Loop(
            lambda: invocation.application(request),
            request,
            Watcher(messages.put),
            surroundings,
            messages=messages,
        )
        try:
            report = loop.run()
        finally:
            surroundings.close()
    code = report_exit_code(report)
    if code not in (ExitCode.DONE, ExitCode.INTERRUPTED):
        return code
    return _leave(invocation, spec, leave)


def _source_handlers(invocation: CommandInvocation, spec: Path) -> SourceHandlers | None:
    """None when handlers shall run as components only."""
    if not invocation.options.shell:
        return None
    from algaenv.dev.handlers import SourceHandlers
    from algaenv.drivers.state.state_dir import identify
    from algaenv.runtimes.binaries import cache_home

    environment = identify(spec, spec.parent.name)
    return SourceHandlers(environment, cache_home(invocation.environ), invocation.environ)


class Leave:
    """What becomes of the environment: `detach` or `stop`."""

    def __init__(self, how: str) -> None:
        self.how = how


def _view(
    invocation: CommandInvocation, messages: SimpleQueue[Message], leave: Leave
) -> DevView | None:
    """The screen, on a terminal on which a person can press keys."""
    terminal = invocation.terminal
    if invocation.json or not (terminal.live and terminal.asks):
        return None
    from algaenv.cli.commands.open import open_in_browser
    from algaenv.cli.output.dev_state import page_to_open
    from algaenv.cli.output.dev_view import DevView
    from algaenv.dev.loop import Rebuild, Restart, Stop

    def send(message: Message, remark: str) -> str:
        messages.put(message)
        return remark

    def quit_and(how: str) -> str:
        leave.how = how
        return send(Stop(), "ending")

    def open_page(screen: Screen) -> str:
        url = page_to_open(screen)
        if not url:
            return "no extension has a page"
        return url if open_in_browser(url, invocation.environ) else f"open {url}"

    return DevView(
        terminal,
        {
            "o": open_page,
            "r": lambda _: send(Rebuild(), "rebuilding"),
            "s": lambda _: send(Restart(), "restarting the services"),
            "detach": lambda _: quit_and("detach"),
            "stop": lambda _: quit_and("stop"),
        },
    )


def _leave(invocation: CommandInvocation, spec: Path, leave: Leave) -> ExitCode:
    """What the person wants to become of the environment."""
    if leave.how == "detach":
        invocation.print_message("\nthe environment goes on running\n")
        invocation.suggest(("dev", "watches again"), ("down", "takes it down"))
        return ExitCode.DONE
    report = _take_down(invocation, spec)
    return report_exit_code(report)


def _take_down(invocation: CommandInvocation, spec: Path) -> Report:
    from algaenv.cli.errors import report_abandoned
    from algaenv.cli.signals import handle_interrupts

    with (
        invocation.run_sinks(spec) as sinks,
        handle_interrupts(sinks.stopping, lambda: report_abandoned(invocation, sinks)) as stop,
    ):
        request = invocation.request(spec, cancelled=stop.cancelled)
        return invocation.application(request).down(request, sinks.emit, volumes=False)


def _follow(
    invocation: CommandInvocation, environment: Environment, holder: Holder | None
) -> ExitCode:
    """Show what another `dev` of this environment does, until that ends."""
    from algaenv.dev.session import follow

    who = str(holder) if holder else "another `algaenv dev`"
    invocation.print_message(f"{who} watches this environment; following it\n")
    try:
        for line in follow(environment, "jsonl" if invocation.json else "log"):
            invocation.print_result(line)
    except KeyboardInterrupt:
        invocation.print_message("\nit goes on; no longer followed\n")
        return ExitCode.DONE
    invocation.print_message("it has ended; the environment may still run: `algaenv status`\n")
    return ExitCode.DONE
