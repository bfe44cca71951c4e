"""The command line: one module a command in `commands`, and its views in `output`."""

from algaenv.cli.dispatch import main

__all__ = ["main"]
