"""The content security policy of an extension's pages."""

from __future__ import annotations

DEFAULT_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'"
)
"""What Alga's runner sends when nothing is configured."""


def content_security_policy(*, override: str | None, frame_ancestors: str | None) -> str:
    """Build the header's value.

    `override` replaces the whole policy, `frame_ancestors` is appended to the default one; blank
    values count as unset. A value no header may carry falls back to the bare default.
    """
    policy = (override or "").strip()
    if not policy:
        ancestors = (frame_ancestors or "").strip()
        policy = f"{DEFAULT_POLICY}; frame-ancestors {ancestors}" if ancestors else DEFAULT_POLICY
    return policy if _is_header_value(policy) else DEFAULT_POLICY


def _is_header_value(text: str) -> bool:
    return all(" " <= character <= "~" or character == "\t" for character in text)
