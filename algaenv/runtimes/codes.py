"""Problem codes that several runtimes raise, for the reference page."""

from __future__ import annotations

CODES: tuple[tuple[str, str], ...] = (
    ("template-unknown", "a template of an engine's profile names a value that does not exist"),
    ("template-secret", "a template would put a secret into a command line"),
    ("binary-missing", "a program that a service needs is not on this machine"),
    ("cache-unusable", "nothing can be kept in the user's cache directory (a warning)"),
    ("program-version", "a program is here, but not in the version that the spec asks for"),
)
