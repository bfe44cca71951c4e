"""A snapshot that is kept under a name: the objects and the database of an environment."""

from __future__ import annotations

from algaenv.bundle.value import dataclass


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """What is known of one without reading it. Sizes are in bytes."""

    name: str
    created_at: str
    """RFC 3339 in UTC."""
    runtime: str
    """The one that it was saved from; it can be restored on any."""
    postgres: int
    """Major version of the server."""
    database_bytes: int
    objects: int
    store_bytes: int
