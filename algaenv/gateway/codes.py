"""What can go wrong between a caller and a handler, for the page that explains problem codes."""

from __future__ import annotations

CODES: tuple[tuple[str, str], ...] = (
    ("gateway-body-too-large", "The body of a call is larger than the gateway takes."),
    ("gateway-bundle-missing", "The installed version has no bundle."),
    ("gateway-client-unknown", "A user of the client portal belongs to no client."),
    ("gateway-database-down", "The database does not answer."),
    ("gateway-endpoint-undeclared", "The manifest declares no such endpoint."),
    ("gateway-extension-disabled", "The extension is installed and switched off."),
    ("gateway-extension-unknown", "No extension of the tenant has this id or slug."),
    ("gateway-host-refused", "The request names a host that is not this machine."),
    ("gateway-menu-missing", "The client portal shows no menu entry for the extension."),
    ("gateway-origin-refused", "A page of another site asked."),
    ("gateway-permission-missing", "The user lacks the permission."),
    ("gateway-product-wrong", "The tenant has a product without extensions."),
    ("gateway-rate-limited", "The extension was called more often than the product allows."),
    ("gateway-redis-down", "The Redis that counts calls does not answer."),
    ("gateway-runner-down", "The runner does not answer."),
    ("gateway-runner-failed", "The runner could not run the handler."),
    ("gateway-runner-refused", "The runner refused the call before it came to a handler."),
    ("gateway-status-invalid", "The handler answered with a status that is none."),
    ("gateway-tenant-mismatch", "A header names another tenant."),
    ("gateway-timeout", "The handler took longer than the gateway waits."),
    ("gateway-trap", "The handler ended without an answer."),
    ("gateway-unexpected", "The gateway met something nobody thought of."),
    ("gateway-user-unknown", "No user of this name is in the settings."),
)
"""Pairs of code and meaning, by name."""
