"""A look at the content that begins before it is asked for.

Looking at rows and objects is mostly waiting, and importing what looks at the containers is mostly
not: where an environment has been up before, the two are done at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from algaenv.model.lock import Lock
from algaenv.model.problem import AlgaenvError
from algaenv.reconcile.protocols import ContentHost, ResourceDriver, Snapshot


class PrefetchedContent(ContentHost):
    """Looks once in a thread of its own, and hands that look to the first who asks.

    A look that failed is forgotten: the hosts may just not have been up yet, and whoever asks
    knows whether they should be.
    """

    def __init__(self, content: ContentHost, lock: Lock) -> None:
        self._content = content
        self._lock = lock
        self._look: Snapshot | None = None
        self._thread: threading.Thread | None = threading.Thread(
            target=self._begin, name="look-ahead", daemon=True
        )
        self._thread.start()

    def _begin(self) -> None:
        try:
            self._look = self._content.snapshot(self._lock)
        except AlgaenvError:
            self._look = None

    def snapshot(self, lock: Lock) -> Snapshot:
        """The look that was begun, if it came to something; else one of now."""
        thread, self._thread = self._thread, None
        if thread is not None and lock is self._lock:
            thread.join()
            if self._look is not None:
                return self._look
        return self._content.snapshot(lock)

    def drivers(self) -> Mapping[str, ResourceDriver]:
        """Those of the content itself."""
        return self._content.drivers()
