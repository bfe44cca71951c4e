"""The key of a bundle's object and the URL paths of its pages and calls, as pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from algaenv.bundle.digest import Digest
from algaenv.bundle.ids import UUID_PATTERN

BUNDLE_FILE = "bundle.tar.zst"

_KEY = re.compile(
    rf"tenants/({UUID_PATTERN})/extensions/({UUID_PATTERN})"
    rf"/sha256/([0-9a-f]{{64}})/{re.escape(BUNDLE_FILE)}"
)


@dataclass(frozen=True, slots=True, order=True)
class BundleKey:
    """The parts of a bundle's object key."""

    tenant: str
    registry: str
    digest: Digest


def extensions_prefix(tenant: str) -> str:
    """Begin of the keys of every bundle of a tenant."""
    return f"tenants/{tenant}/extensions/"


def extension_prefix(tenant: str, registry: str) -> str:
    """Begin of the keys of every build of one extension in a tenant."""
    return f"{extensions_prefix(tenant)}{registry}/"


def bundle_key(tenant: str, registry: str, digest: Digest) -> str:
    """Key of a bundle. The ids are taken as they are: the runner, too, inserts them raw."""
    return f"{extension_prefix(tenant, registry)}sha256/{digest.hex}/{BUNDLE_FILE}"


def parse_bundle_key(key: str) -> BundleKey | None:
    """Take a key apart; None unless it is spelled canonically, with lower-case UUIDs."""
    match = _KEY.fullmatch(key)
    return BundleKey(match[1], match[2], Digest(match[3])) if match else None


def content_path(registry: str, digest: Digest, path: str) -> str:
    """Path under which the runner serves a file below the bundle's `ui/`."""
    return f"/ext-ui/{quote(registry, safe='')}/{quote(digest.prefixed, safe='')}/{_tail(path)}"


def page_path(registry: str, digest: Digest, tenant: str) -> str:
    """Path and query of the extension's page, as Alga's path-based host asks for it."""
    page = content_path(registry, digest, "index.html")
    return f"{page}?path=/&tenant={quote(tenant, safe='')}&extensionId={quote(registry, safe='')}"


def call_path(registry: str, path: str) -> str:
    """Path of a handler at the gateway; `path` may hold a query and is left as it is."""
    return f"/api/ext/{quote(registry, safe='')}/{path.lstrip('/')}"


def _tail(path: str) -> str:
    return quote(path.lstrip("/"), safe="/")
