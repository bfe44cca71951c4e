"""The servers that driver tests talk to, and a spec for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.drivers.content_environment import ContentEnvironment
from tests.servers import Database, ObjectStore, database, minio, object_store, postgres, rclone

__all__ = ["database", "minio", "object_store", "postgres", "rclone"]


@pytest.fixture
def env(database: Database, minio: ObjectStore, tmp_path: Path) -> ContentEnvironment:
    """A managed database and one extension, nothing of it made yet."""
    return ContentEnvironment(database, minio, tmp_path)
