"""Problem codes of this runtime with their meanings, for the reference page."""

from __future__ import annotations

CODES: tuple[tuple[str, str], ...] = (
    ("cluster-failed", "a PostgreSQL data directory could not be made or brought up to the spec"),
    ("data-in-use", "other processes still work in a data directory"),
    ("data-unknown", "a data directory holds something that PostgreSQL did not make"),
    ("data-version", "a data directory was made by another major version of PostgreSQL"),
    ("disk-failed", "a file or directory of the environment could not be written or removed"),
    ("disk-full", "the disk has no room left for what the environment must keep"),
    ("folder-in-use", "a folder cannot be removed while its service runs"),
    ("left-behind", "something of this environment could not be removed"),
    ("not-ours", "a thing in our place carries no mark of this environment"),
    ("port-taken", "a port on 127.0.0.1 is held by something else"),
    ("process-denied", "a process of this environment belongs to another user"),
    ("process-failed", "a program could not be started, or ended at once"),
    ("process-stuck", "a process does not end, even when it is killed"),
    ("root-postgres", "PostgreSQL does not run as root, and this machine offers no other way"),
    ("runtime-cannot", "the spec asks for something this runtime does not do"),
    ("shim-busy", "a service is held by a shim that cannot be seen, in another PID namespace"),
)
