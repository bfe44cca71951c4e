"""Which tenants and extensions can be asked for: their names become parts of object keys."""

from __future__ import annotations

import re

_FORBIDDEN = re.compile(r"[/\\\x00-\x1f\x7f-\x9f]")
_LONGEST = 200


def is_name(text: str) -> bool:
    """Whether a name is one whole segment of a key and nothing else."""
    return 0 < len(text) <= _LONGEST and text not in {".", ".."} and not _FORBIDDEN.search(text)
