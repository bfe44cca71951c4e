"""URLs as guests write them, read as browsers read them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

WEB = frozenset(("http", "https"))

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_HOST = re.compile(rb"[a-z0-9._~!$&'()*+,;=-]+|[0-9a-f.]*:[0-9a-f:.]+(%[0-9a-z._~-]+)?")
_EDGES = "".join(map(chr, range(0x21)))
_IGNORED = str.maketrans("", "", "\t\r\n")
_MAX_PORT = 65_535


class BadAddress(Exception):
    """Not an absolute URL."""


def parse(text: str) -> httpx.URL:
    """Read an absolute URL of any scheme; that of an `http` or `https` URL has a host.

    The rules of the URL standard that the library does not know are applied first: space around
    it and line breaks in it do not count, and `\\` and any number of slashes begin a host.
    Raises BadAddress.
    """
    import httpx

    text = text.strip(_EDGES).translate(_IGNORED)
    found = _SCHEME.match(text)
    if found is None:
        raise BadAddress
    scheme = found[0][:-1].lower()
    if scheme in WEB:
        rest = text[found.end() :]
        end = next((at for at, char in enumerate(rest) if char in "?#"), len(rest))
        text = f"{scheme}://{rest[:end].replace(chr(92), '/').lstrip('/')}{rest[end:]}"
    try:
        url = httpx.URL(text)
        port = url.port
    except (httpx.InvalidURL, ValueError):
        raise BadAddress from None
    if port is not None and not 0 <= port <= _MAX_PORT:
        raise BadAddress
    # What stands here goes to the resolver, or to a proxy, which may unquote it again.
    if not _HOST.fullmatch(url.raw_host) and (url.scheme in WEB or url.raw_host):
        raise BadAddress
    return url
