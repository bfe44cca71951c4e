"""Reads the content in a thread before it is needed.

Reading rows and objects is mostly waiting; importing the code that observes containers is not.
Where an environment has been up before, both happen at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from algaenv.model.lock import Lock
from algaenv.model.problem import AlgaenvError
from algaenv.reconcile.protocols import ContentHost, FetchedBundle, ResourceDriver, Snapshot


class PrefetchedContent(ContentHost):
    """Takes a snapshot in a thread, and returns it to the first caller.

    A failed snapshot is dropped: the hosts may not have been up yet, and the caller knows whether
    they should be.
    """

    def __init__(self, content: ContentHost, lock: Lock) -> None:
        self._content = content
        self._lock = lock
        self._snapshot: Snapshot | None = None
        self._thread: threading.Thread | None = threading.Thread(
            target=self._prefetch, name="prefetch", daemon=True
        )
        self._thread.start()

    def _prefetch(self) -> None:
        try:
            self._snapshot = self._content.snapshot(self._lock)
        except AlgaenvError:
            self._snapshot = None

    def snapshot(self, lock: Lock) -> Snapshot:
        """The prefetched snapshot if it succeeded; else a new one."""
        thread, self._thread = self._thread, None
        if thread is not None and lock is self._lock:
            thread.join()
            if self._snapshot is not None:
                return self._snapshot
        return self._content.snapshot(lock)

    def drivers(self) -> Mapping[str, ResourceDriver]:
        """The drivers of the wrapped content host."""
        return self._content.drivers()

    def fetch(self, handle: str, directory: Path) -> FetchedBundle:
        """From the wrapped content host."""
        return self._content.fetch(handle, directory)
