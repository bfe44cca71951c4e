"""The options that several commands share, declared once."""

from __future__ import annotations

import argparse

from algaenv.surface.cli.grammar import one_of


def add_help(parser: argparse.ArgumentParser) -> None:
    """`-h`."""
    parser.add_argument("-h", "--help", action="help", help="show this help and exit")


def add_extensions(parser: argparse.ArgumentParser) -> None:
    """`EXTENSION…`."""
    parser.add_argument(
        "extensions",
        metavar="EXTENSION",
        nargs="*",
        help="work on these extensions of the spec only, and leave the others as they are "
        "(default: all)",
    )


def add_file(parser: argparse.ArgumentParser) -> None:
    """`-f`."""
    parser.add_argument(
        "-f",
        "--file",
        metavar="PATH",
        help="the spec, or the directory that holds algaenv.yaml "
        "(default: ALGAENV_FILE, else algaenv.yaml here or in a directory above)",
    )


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """`--runtime`."""
    parser.add_argument(
        "--runtime",
        metavar="NAME",
        type=one_of("auto", "docker", "process"),
        help="where the services run, instead of what the spec says: auto, docker or process",
    )


def add_images(parser: argparse.ArgumentParser) -> None:
    """`--images`."""
    parser.add_argument(
        "--images",
        metavar="HOW",
        type=one_of("auto", "pull", "build"),
        help="where images come from, instead of what the spec says: auto, pull or build",
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """`--json`, `--no-color`, `-q`, `-v`."""
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print JSON, for programs")
    group.add_argument(
        "--no-color", action="store_true", help="no colour (also by setting NO_COLOR)"
    )
    loudness = group.add_mutually_exclusive_group()
    loudness.add_argument(
        "-q", "--quiet", action="store_true", help="only warnings, errors and the answer itself"
    )
    loudness.add_argument(
        "-v", "--verbose", action="store_true", help="every step, and what each has to say"
    )
