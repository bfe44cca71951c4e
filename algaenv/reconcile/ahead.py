"""A look at the content that begins before it is asked for.

Looking at rows and objects is mostly waiting, and importing what looks at the containers is mostly
not: where an environment has been up before, the two are done at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from algaenv.model.lock import Lock
from algaenv.model.problem import AlgaenvError
from algaenv.reconcile.protocols import ContentHost, Hands, Look


class Ahead(ContentHost):
    """Looks once in a thread of its own, and hands that look to the first who asks.

    A look that failed is forgotten: the hosts may just not have been up yet, and whoever asks
    knows whether they should be.
    """

    def __init__(self, content: ContentHost, lock: Lock) -> None:
        self._content = content
        self._lock = lock
        self._look: Look | None = None
        self._thread: threading.Thread | None = threading.Thread(
            target=self._begin, name="look-ahead", daemon=True
        )
        self._thread.start()

    def _begin(self) -> None:
        try:
            self._look = self._content.look(self._lock)
        except AlgaenvError:
            self._look = None

    def look(self, lock: Lock) -> Look:
        """The look that was begun, if it came to something; else one of now."""
        thread, self._thread = self._thread, None
        if thread is not None and lock is self._lock:
            thread.join()
            if self._look is not None:
                return self._look
        return self._content.look(lock)

    def hands(self) -> Mapping[str, Hands]:
        """Those of the content itself."""
        return self._content.hands()
