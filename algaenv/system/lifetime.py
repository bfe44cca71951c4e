"""How long an environment is to live: a record in its state directory, and who may watch it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Final, NamedTuple

from algaenv.system.processes import is_abandoned

RECORD: Final = "lifetime.json"
LOCK: Final = "lifetime.lock"
"""Held by the process that watches the record."""


class Lifetime(NamedTuple):
    """When an environment is to be taken down; it lives until the first of both.

    `ttl` is in seconds, and `expires` the moment in seconds since the epoch; both None without a
    limit. `owner` is a name of `processes.process_name`, empty without an owner.
    """

    ttl: float | None = None
    expires: float | None = None
    owner: str = ""
    owner_pid: int = 0
    volumes: bool = False
    """True: its data is removed with it."""

    def is_over(self) -> bool:
        """Whether the time is up, or the owner surely gone."""
        late = self.expires is not None and time.time() >= self.expires
        return late or bool(self.owner and is_abandoned(self.owner))


def read_lifetime(home: str | os.PathLike[str]) -> Lifetime | None:
    """The record in a state directory; None without one that can be read."""
    try:
        found = json.loads((Path(home) / RECORD).read_bytes())
        return Lifetime(
            None if found["ttl"] is None else float(found["ttl"]),
            None if found["expires"] is None else float(found["expires"]),
            str(found["owner"]),
            int(found["owner_pid"]),
            bool(found["volumes"]),
        )
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
