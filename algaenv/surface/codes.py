"""The problem codes that the command line itself raises, for the page that lists them all."""

from __future__ import annotations

CODES: tuple[tuple[str, str], ...] = (
    ("usage", "the command line is wrong, or data would go without anybody having agreed"),
    ("spec-missing", "no spec is named, and none is here or in a directory above"),
    ("no-variables", "the app server's variables were asked for, but nothing is there yet"),
    ("gateway-silent", "an extension is called, and nobody answers where the gateway should be"),
    (
        "output-unwritable",
        "standard output takes no answer, since its disk is full, say",
    ),
    ("unexpected", "a bug in algaenv; the log that the message names holds the traceback"),
)
