"""`/healthz` while what it looks at is slow."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

import pytest
from starlette.requests import Request

from algaenv.runner import app
from algaenv.runner.app import PROBE_TIMEOUT_SECONDS, Health
from algaenv.runner.bundle_store import StoreStatus

REQUEST = cast("Request", None)


class Silent:
    """A store that never answers."""

    async def read(self, key: str) -> AsyncGenerator[bytes, None]:
        yield key.encode()

    async def status(self) -> StoreStatus:
        await asyncio.Event().wait()
        return StoreStatus.OK


def ask(folder: Path, *, has_store: bool = True) -> tuple[int, dict[str, object]]:
    looking = Health(
        cache_root=folder, cache_max_text=None, store=Silent(), has_store=has_store, signed=True
    )

    async def asked() -> tuple[int, dict[str, object]]:
        async with asyncio.timeout(20):
            answer = await looking.healthz(REQUEST)
        return answer.status_code, json.loads(bytes(answer.body))

    return asyncio.run(asked())


def test_a_silent_store_is_not_waited_for(tmp_path: Path) -> None:
    assert PROBE_TIMEOUT_SECONDS < 1
    status, fields = ask(tmp_path)
    assert (status, fields["bundle_store"]) == (200, "bundle_store_unreachable")


def test_a_store_that_nobody_named_is_not_asked(tmp_path: Path) -> None:
    status, fields = ask(tmp_path, has_store=False)
    assert (status, fields["bundle_store"]) == (200, "ok")


def test_nor_is_a_disk_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(app, "_is_writable", lambda folder: released.wait(20))
    try:
        assert ask(tmp_path)[0] == 503
    finally:
        released.set()


def test_busy_threads_of_others_are_not_waited_for(tmp_path: Path) -> None:
    looking = Health(
        cache_root=tmp_path, cache_max_text=None, store=Silent(), has_store=True, signed=True
    )
    released = threading.Event()

    async def asked() -> int:
        busy = [asyncio.ensure_future(asyncio.to_thread(released.wait, 20)) for _ in range(64)]
        await asyncio.sleep(0)
        answer = await looking.healthz(REQUEST)
        released.set()
        await asyncio.gather(*busy)
        return answer.status_code

    assert asyncio.run(asked()) == 200
