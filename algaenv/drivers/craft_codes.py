"""The problem codes of the craft drivers, for the reference page that lists them."""

from __future__ import annotations

CODES: tuple[tuple[str, str], ...] = (
    ("build-cancelled", "the run was interrupted while an extension was built"),
    ("build-failed", "the build command of an extension ended badly; its last lines are shown"),
    ("build-program-missing", "the build command names a program that is not there"),
    ("build-timeout", "the build command ran longer than the spec allows"),
    ("build-unreadable", "a file of the workspace cannot be read, so it cannot be mirrored"),
    ("build-workspace", "the source of an extension is not inside the workspace of its build"),
    ("disk-full", "a file system has no room left for what must be kept"),
    ("home-broken", "the environment's private directory cannot be used"),
    ("home-unsafe", "the environment's private directory is a link or another user's"),
    ("home-unwritable", "the environment's private directory cannot be written"),
    ("left-behind", "something of this environment could not be removed"),
    ("lock-unsupported", "the file system beside the spec knows no locks"),
    ("locked", "another run is at work on the environment"),
    ("ports-exhausted", "no port is free where `auto` looks for one"),
    ("secrets-damaged", "the file that keeps the generated secrets cannot be read"),
    ("source-restless", "the files of an extension change faster than they can be packed"),
)
