"""algaenv: one checked-in file and one command for an Alga PSA extension environment.

It reads what you want, settles every unknown, looks at what is there, draws a plan you can read,
walks it, and tells you how each step ended. Each sub-package is one part of that sentence.
"""

__version__ = "0.1.0"
