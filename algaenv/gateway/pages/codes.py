"""What the page around an extension remarks before the frame has run."""

from __future__ import annotations

CODES: tuple[tuple[str, str], ...] = (
    ("development-server", "The page comes from a development server, not from the bundle."),
    ("extension-disabled", "The install is switched off; its page is shown, calls are refused."),
    ("gateway-ui-server-invalid", "The development server of an extension is no http(s) URL."),
    ("no-menu-entry", "No entry in the sidebar of this portal leads to the page."),
    ("no-page-declared", "The manifest declares no page."),
    ("wrong-portal", "The product would not let this user into this portal."),
)
"""Pairs of code and meaning, by name."""
