"""Threads that import libraries, one at a time.

The service imports what is large while it already answers. Two threads that meet in each other's
packages may see a half of one, so whoever does so in the background waits for the other.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_turn = threading.Lock()


@contextmanager
def importing() -> Iterator[None]:
    """Import within this, when other threads may do so as well. Blocks; never on the loop."""
    with _turn:
        yield
