"""`GET /healthz` in Alga's words, and `GET /readyz` in ours."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from algaenv.runner.answers import document
from algaenv.runner.store import Reach, Store

LOOK_SECONDS = 0.8
"""For each look: who asks after the service's health has an answer within a second."""

T = TypeVar("T")


class Health:
    """Looks at the two things the service stands on: its cache directory and the store."""

    def __init__(
        self, *, cache_root: Path, cache_max_text: str | None, store: Store, signed: bool
    ) -> None:
        self._cache_root = cache_root
        self._cache_max_text = cache_max_text
        self._store = store
        self._signed = signed
        # Of its own: the threads that all others share may all be waiting for something.
        self._thread = ThreadPoolExecutor(1, "health")

    async def healthz(self, request: Request) -> Response:  # noqa: ARG002
        """Answer 200 when the cache can be written to; the store does not decide."""
        writable, reach = await self._look()
        fields = {
            "cache_writable": writable,
            "bundle_store": "ok" if reach is Reach.OK else "bundle_store_unreachable",
            "ext_cache_max_bytes": self._cache_max_text,
        }
        return document(200 if writable else 503, fields)

    async def readyz(self, request: Request) -> Response:  # noqa: ARG002
        """Answer 200 when a bundle could be fetched now, asked with the service's own keys."""
        writable, reach = await self._look()
        ready = writable and reach is Reach.OK
        fields = {
            "ready": ready,
            "cache_writable": writable,
            "store": reach,
            "store_access": "signed" if self._signed else "unsigned",
        }
        return document(200 if ready else 503, fields)

    async def _look(self) -> tuple[bool, Reach]:
        return await asyncio.gather(
            _soon(self._writable(), otherwise=False),
            _soon(self._store.reach(), otherwise=Reach.UNREACHABLE),
        )

    async def _writable(self) -> bool:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, _is_writable, self._cache_root)


async def _soon(look: Coroutine[object, object, T], *, otherwise: T) -> T:
    """What it says within LOOK_SECONDS; what does not end then goes on without being waited for."""
    task = asyncio.ensure_future(look)
    await asyncio.wait((task,), timeout=LOOK_SECONDS)
    if task.done():
        return task.result()
    task.cancel()
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return otherwise


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix="healthz.", suffix=".tmp") as file:
            file.write(b"ok")
    except OSError:
        return False
    return True
