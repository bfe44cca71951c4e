"""The command `open`: open the page of an extension in a browser."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import add_extension, add_file, add_isolated, add_output, one_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation

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
    """Declare the arguments."""
    add_extension(parser)
    parser.add_argument(
        "--portal",
        metavar="NAME",
        type=one_of("msp", "client"),
        default="msp",
        help="msp (the default) or client",
    )
    parser.add_argument("--print", action="store_true", help="only print the address")
    add_file(parser)
    add_isolated(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Print the URL, and open it in a browser on a desktop."""
    from algaenv.reconcile.endpoints import portal_path

    request = invocation.request(invocation.spec())
    endpoint = invocation.application(request).endpoint_of(request, invocation.options.extension)
    url = endpoint.gateway + portal_path(invocation.options.portal, endpoint.extension)
    if not endpoint.installed:
        from algaenv.cli.gateway_client import require_page

        require_page(endpoint, url)
    if invocation.json:
        invocation.print_json({"version": 1, "url": url})
        return ExitCode.DONE
    invocation.print_result(f"{url}\n")
    if (
        not invocation.options.print
        and invocation.terminal.live
        and _has_desktop(invocation.environ)
        and not open_in_browser(url, invocation.environ)
    ):
        invocation.print_message("no browser could be started; open the address yourself\n")
    return ExitCode.DONE


def open_in_browser(url: str, environ: Mapping[str, str]) -> bool:
    """Whether a browser of the desktop shows it now; False without a desktop."""
    if not _has_desktop(environ):
        return False
    import webbrowser

    return webbrowser.open(url)


def _has_desktop(environ: Mapping[str, str]) -> bool:
    names = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform == "darwin" or any(environ.get(name) for name in names)
