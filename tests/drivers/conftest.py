"""The servers that driver tests talk to, and a spec for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.drivers.worlds import World
from tests.servers import Database, ObjectStore, database, minio, object_store, postgres, rclone

__all__ = ["database", "minio", "object_store", "postgres", "rclone"]


@pytest.fixture
def world(database: Database, minio: ObjectStore, tmp_path: Path) -> World:
    """A managed database and one extension, nothing of it made yet."""
    return World(database, minio, tmp_path)
