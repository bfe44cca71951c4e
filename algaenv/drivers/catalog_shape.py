"""Which tables and columns of Alga's the drivers read and write."""

from __future__ import annotations

from collections.abc import Mapping

NEEDED: Mapping[str, tuple[str, ...]] = {
    "tenants": ("tenant", "client_name"),
    "extension_registry": ("id", "publisher", "name", "display_name", "description"),
    "extension_version": (
        "id",
        "registry_id",
        "version",
        "runtime",
        "main_entry",
        "api",
        "ui",
        "capabilities",
        "api_endpoints",
    ),
    "extension_bundle": (
        "id",
        "version_id",
        "content_hash",
        "storage_url",
        "size_bytes",
        "created_at",
    ),
    "tenant_extension_install": (
        "id",
        "tenant_id",
        "registry_id",
        "version_id",
        "granted_caps",
        "is_enabled",
        "status",
        "runner_status",
        "updated_at",
    ),
    "tenant_extension_install_config": (
        "install_id",
        "tenant_id",
        "config",
        "providers",
        "version",
        "updated_at",
    ),
    "tenant_extension_install_secrets": (
        "install_id",
        "tenant_id",
        "ciphertext",
        "algorithm",
        "transit_key",
        "transit_mount",
        "version",
        "expires_at",
        "updated_at",
    ),
    "tenant_extension_schedule": ("id", "install_id", "tenant_id", "endpoint_id", "name"),
}
"""Without these nothing can be installed."""

INSTALLS = "tenant_extension_install"
BUNDLES = "extension_bundle"

ENDPOINTS = "extension_api_endpoint"
"""A database that was migrated by the community edition first never gets this table, and Alga
takes that for an extension without endpoints; so do we."""

VALUES = "ext_storage_records"
"""What extensions store for themselves; only ever counted."""
