"""Where the frame of an extension points, as the product's page builds it with docker's runner.

The address ends before `parentOrigin`, which the browser adds. The frame may do what the
product's may, which includes being of the same origin as the page around it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit, urlunsplit

from algaenv.bundle.digest import Digest
from algaenv.bundle.layout import page_path
from algaenv.gateway.installs import Install
from algaenv.gateway.origin import is_http_url
from algaenv.gateway.problem import Problem

SANDBOX = "allow-scripts allow-forms allow-popups allow-same-origin"

_CONTENT_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True)
class Frame:
    """An address to show; `served_by` says whose page it is."""

    address: str
    served_by: str


def of_bundle(install: Install, runner: str) -> Frame | Problem:
    """The page in the bundle: always `index.html`, whatever `ui.entry` says.

    `runner` is where browsers find the runner; a path is one of the gateway itself.
    """
    hashed = _CONTENT_HASH.fullmatch(install.content_hash or "")
    if hashed is None:
        return Problem(
            "gateway-bundle-missing",
            f"cannot show {install.slug}: its version {install.version} has no bundle",
            "run algaenv up, which uploads one and records it",
        )
    page = page_path(install.registry_id, Digest(hashed[1].lower()), install.tenant)
    return Frame(runner + page, "bundle")


def of_server(install: Install, server: str) -> Frame | Problem:
    """The page of a development server, asked as the bundle's would be."""
    if not is_http_url(server):
        return Problem(
            "gateway-ui-server-invalid",
            f"cannot show {install.slug} from {server!r}: that is not an http(s) URL",
            "write ui_dev_server like http://localhost:5173",
        )
    parts = urlsplit(server)
    asked = {"path": "/", "tenant": install.tenant, "extensionId": install.registry_id}
    query = urlencode(asked, safe="/")
    page = urlunsplit((parts.scheme, parts.netloc, parts.path or "/", query, ""))
    return Frame(page, server)
