"""Which kind of store a configuration means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algaenv.runner.source import Source
from algaenv.runner.store import Store

if TYPE_CHECKING:
    from algaenv.runner.outbound import Outbound


def open_store(source: Source, outbound: Outbound) -> Store:
    """Sign where credentials and a bucket are configured; ask plainly otherwise."""
    if source.signed:
        from algaenv.runner.signed import SignedStore

        return SignedStore(source)
    from algaenv.runner.unsigned import UnsignedStore

    return UnsignedStore(source, outbound)
