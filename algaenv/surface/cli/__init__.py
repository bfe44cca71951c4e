"""The command line: one file a verb, and what they share."""

from algaenv.surface.cli.dispatch import main

__all__ = ["main"]
