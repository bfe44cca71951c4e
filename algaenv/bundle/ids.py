"""The ids of an extension's rows, derived from its names.

Alga's own development installer derives version 5 UUIDs in the DNS namespace from
`publisher/name…`; deriving the same ones makes ownership readable without a state file and lets
both tools work on one database. They are candidates: a row that already exists keeps its own id.
"""

from __future__ import annotations

import re
import uuid

from algaenv.bundle.digest import Digest

LOCAL_PUBLISHER = "local-dev"
"""Stands in for a publisher the manifest does not name."""

UUID_PATTERN = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


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
