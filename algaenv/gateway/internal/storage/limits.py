"""How much an installation may keep, as the product has it. Sizes in bytes of compact JSON."""

from __future__ import annotations

NAMESPACES = 32
KEYS_IN_NAMESPACE = 5_120
VALUE_BYTES = 64 * 1024
METADATA_BYTES = 4 * 1024
BULK_BYTES = 512 * 1024
BULK_ITEMS = 20
TOTAL_BYTES = 256 * 1024 * 1024

SHORTEST_TTL = 60
"""Seconds."""
LONGEST_TTL = 30 * 24 * 60 * 60
"""Seconds."""
