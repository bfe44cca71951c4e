"""algaenv: one checked-in file and one command for an Alga PSA extension environment.

It reads what you want, settles every unknown, looks at what is there, draws a plan you can read,
walks it, and tells you how each step ended. Each sub-package is one part of that sentence.
"""

__version__ = "0.1.0"

DOCUMENTATION = "https://github.com/algaenv/algaenv/blob/main/docs"
"""Where people read the pages."""

SCHEMAS = "https://raw.githubusercontent.com/algaenv/algaenv/main/docs/reference"
"""Where programs find the JSON Schemas; each is a `$id` of this address and its file name."""
