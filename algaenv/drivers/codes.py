"""The problem codes of the drivers, for the reference page that lists them."""

from __future__ import annotations

LOCAL_CODES: tuple[tuple[str, str], ...] = (
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
"""Of builds and the private directory."""

CONTENT_CODES: tuple[tuple[str, str], ...] = (
    ("archive-changed", "the packed bundle on disk is no longer the one that was packed"),
    ("archive-missing", "the packed bundle that should be uploaded is no longer on disk"),
    ("bucket-missing", "the object store has no bucket of that name (any more)"),
    ("bucket-not-empty", "a bucket was to be removed but still holds objects"),
    ("bundle-in-use", "a bundle was to be removed while rows still serve it"),
    ("database-busy", "another transaction holds the rows, or the server is out of connections"),
    ("database-error", "the database refused a statement; the SQLSTATE is in the summary"),
    ("database-full", "the database server has run out of disk space or memory"),
    ("database-missing", "the server has no database of that name"),
    ("database-password", "the database does not accept the user or the password"),
    ("database-permission", "the database user may not do what is asked"),
    ("database-read-only", "the database takes no writes: a standby, or a read-only session"),
    ("database-unreachable", "nobody answers where the database should be, or not yet"),
    ("database-url", "the address of the external database cannot be understood"),
    ("extension-twice", "two extensions of the spec have the same publisher and name"),
    ("not-ours", "a row is in the way that another tool or environment made"),
    ("object-mismatch", "the object store gave back other bytes than were put into it"),
    ("registry-moved", "the extension got another registry id while the run was under way"),
    ("rows-conflict", "a row breaks a constraint together with rows that are already there"),
    ("schedule-endpoint-gone", "a schedule uses an endpoint that the new manifest lacks"),
    ("schema-column", "a missing column cannot be added to a table that has rows"),
    ("schema-missing", "the database lacks tables or columns of Alga's extensions"),
    ("store-denied", "the object store does not accept the access key or the secret key"),
    ("store-error", "the object store answered with an error of its own"),
    ("store-full", "the object store has run out of space"),
    ("store-refused", "the object store refused a request; its code is in the summary"),
    ("store-unreachable", "nobody answers where the object store should be"),
    ("tenant-ambiguous", "several tenants fit and the spec does not say which one is meant"),
    ("tenant-missing", "the external database has no such tenant"),
    ("tenant-product", "the tenant's product does not run extensions"),
    ("text-unstorable", "a text holds a character that the database cannot store"),
    ("version-shared", "another tenant runs another build of the same version"),
)
"""Of the database and the object store."""

CODES = LOCAL_CODES + CONTENT_CODES
