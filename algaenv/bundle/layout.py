"""The ids of an extension's rows, the key of a bundle's object, and the paths of pages and calls.

Alga's own development installer derives version 5 UUIDs in the DNS namespace from
`publisher/name…`; deriving the same ones makes ownership readable without a state file and lets
both tools work on one database. They are candidates: a row that already exists keeps its own id.

The limits of a bundle's size are here too: the packer enforces those of the unpacker.
"""

from __future__ import annotations

import re
import uuid
from urllib.parse import quote

from algaenv.bundle.digest import Digest
from algaenv.bundle.value import dataclass

LOCAL_PUBLISHER = "local-dev"
"""Stands in for a publisher the manifest does not name."""

UUID_PATTERN = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
BUNDLE_FILE = "bundle.tar.zst"
_KEY = re.compile(
    rf"tenants/({UUID_PATTERN})/extensions/({UUID_PATTERN})"
    rf"/sha256/([0-9a-f]{{64}})/{re.escape(BUNDLE_FILE)}"
)
MIB = 1024 * 1024

DEV_MARKER = "algaenv-dev.json"
"""Of a bundle whose handler runs from source, without a component: `{"version": 1, "shell": …}`.
Only algaenv's own runner runs one, and only `algaenv dev` makes one."""
DEV_SCRIPT = "dist/main.js"
DEV_SOURCE_MAP = "dist/main.js.map"


def canonical_uuid(text: str) -> str:
    """Lower-case a hyphenated UUID. Raises ValueError for every other form.

    Alga compares tenant ids as text, so only one spelling is ever visible to it.
    """
    lowered = text.lower()
    if not re.fullmatch(UUID_PATTERN, lowered):
        raise ValueError(f"not a UUID: {text!r}")
    return lowered


def registry_id(publisher: str | None, name: str) -> str:
    """Id of the extension, which pages, keys and the gateway call the extension id."""
    return _derive(publisher or LOCAL_PUBLISHER, name)


def version_id(publisher: str | None, name: str, version: str) -> str:
    """Id of one version of the extension."""
    return _derive(publisher or LOCAL_PUBLISHER, name, version)


def bundle_id(publisher: str | None, name: str, version: str, digest: Digest) -> str:
    """Id of one build of a version."""
    return _derive(publisher or LOCAL_PUBLISHER, name, version, digest.prefixed)


def install_id(tenant: str, publisher: str | None, name: str) -> str:
    """Id of the extension's installation in a tenant. Raises ValueError if that is no UUID."""
    return _derive(canonical_uuid(tenant), publisher or LOCAL_PUBLISHER, name)


def slug(publisher: str | None, name: str) -> str:
    """The name under which the gateway also finds an installation: `publisher.name`, lowered."""
    return f"{publisher or LOCAL_PUBLISHER}.{name}".lower()


def _derive(*parts: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, "/".join(parts)))


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


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds, in bytes unless noted. Alga's own runner has none."""

    file: int = 64 * MIB
    total: int = 200 * MIB
    """Of all files together, unpacked."""
    entries: int = 20_000
    """Number of files."""
    compressed: int = 200 * MIB
    ratio: int = 1_000
    """Unpacked bytes for each compressed one; not asked of archives below `ratio_from`."""
    ratio_from: int = 16 * MIB

    def is_bomb(self, *, unpacked: int, compressed: int) -> bool:
        """Whether so many bytes out of so few look like a decompression bomb."""
        return unpacked > self.ratio_from and unpacked > self.ratio * compressed


DEFAULT_LIMITS = Limits()
