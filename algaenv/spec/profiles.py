"""Profiles: which parts of a spec count in a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from algaenv.spec.diagnostics import Diagnostics, suggestion

PROFILES: Final = "ALGAENV_PROFILES"
"""The variable that names the profiles asked for, with commas between them."""
EVERY: Final = "*"
"""In place of names: all profiles."""


def active_names(parts: Mapping[str, Sequence[str]], diagnostics: Diagnostics) -> frozenset[str]:
    """The names of those `parts` that count: of one of the profiles asked for, or of none.

    `parts` are name → profiles. Adds an error for a profile that no part belongs to.
    """
    known = sorted({profile for profiles in parts.values() for profile in profiles})
    diagnostics.variables[PROFILES] = None
    # A spec without profiles has no use for `.env`, which may not even be readable.
    written = diagnostics.variable(PROFILES) if known else diagnostics.environ.get(PROFILES)
    asked = {it for it in map(str.strip, (written or "").split(",")) if it}
    for name in sorted(asked - {EVERY, *known}):
        diagnostics.add_error(
            "spec-profile-unknown",
            f"use the profile {name}: nothing in the spec belongs to it",
            suggestion(name, known, f"add it to `profiles` of an extension, or unset {PROFILES}"),
            None,
        )
    return frozenset(
        name
        for name, profiles in parts.items()
        if not profiles or EVERY in asked or not asked.isdisjoint(profiles)
    )
