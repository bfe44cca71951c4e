"""Times as the product's answers spell them."""

from __future__ import annotations

from datetime import UTC, datetime


def spelled(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds and `Z`; None stays None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
