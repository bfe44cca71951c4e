"""The command `open`: the page of an extension, in a browser where there is one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from algaenv.surface.cli.grammar import one_of
from algaenv.surface.cli.options import add_file, add_output
from algaenv.surface.exit_codes import ExitCode

if TYPE_CHECKING:
    from algaenv.surface.cli.commandline import Call

USAGE = "EXT [options]"
DESCRIPTION = (
    "Print the address of an extension's page, as the gateway shows it, and open it in a browser "
    "when this is a terminal of a desktop."
)
EXAMPLES = (
    ("algaenv open hello", "The page as the MSP sees it."),
    ("algaenv open hello --portal client", "As a user of the client portal sees it."),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    parser.add_argument(
        "extension",
        metavar="EXT",
        help="the extension: its name in the spec, its registry or install id, or publisher.name",
    )
    parser.add_argument(
        "--portal",
        metavar="NAME",
        type=one_of("msp", "client"),
        default="msp",
        help="msp (the default) or client",
    )
    parser.add_argument("--print", action="store_true", help="only print the address")
    add_file(parser)
    add_output(parser)


def run(call: Call) -> ExitCode:
    """Print it, and hand it to a browser."""
    from algaenv.plan.portals import portal_path

    request = call.request(call.spec())
    reach = call.session(request).reach(request, call.options.extension)
    url = reach.gateway + portal_path(call.options.portal, reach.extension)
    if not reach.installed:
        from algaenv.surface.calling import demand_page

        demand_page(reach, url)
    if call.json:
        call.answer_json({"version": 1, "url": url})
        return ExitCode.DONE
    call.answer(f"{url}\n")
    if not call.options.print and call.terminal.live and _has_desktop(call.environ):
        import webbrowser

        if not webbrowser.open(url):
            call.say("no browser could be started; open the address yourself\n")
    return ExitCode.DONE


def _has_desktop(environ: Mapping[str, str]) -> bool:
    names = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform == "darwin" or any(environ.get(name) for name in names)
