"""The hosts that guests may ask."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx


def permits(entries: Collection[str], url: httpx.URL) -> bool:
    """Whether the host of a URL is an entry, or below one; no entries permit all.

    Ports, schemes and paths do not matter, and an entry that has one never matches. An address
    in numbers has to be an entry itself; IPv6 ones may stand in brackets.
    """
    if not entries:
        return True
    host = url.raw_host.decode()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return bool(host) and any(host == entry or host.endswith(f".{entry}") for entry in entries)
    written = str(address)
    return written in entries or f"[{written}]" in entries
