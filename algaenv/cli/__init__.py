"""The command line: one file a verb, and what they share."""

from algaenv.cli.dispatch import main

__all__ = ["main"]
