"""`context`: who runs the handler, and of what."""

from __future__ import annotations

from algaenv.runner.invocation import Invocation


def get_context(invocation: Invocation) -> dict[str, str | None]:
    """context-data. Every handler has the capability, and the request says the same anyway."""
    return {
        "request_id": invocation.request_id,
        "tenant_id": invocation.tenant,
        "extension_id": invocation.extension,
        "install_id": invocation.install,
        "version_id": invocation.version,
    }
