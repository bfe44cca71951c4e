"""Keeps the memory of a process small that lives long and does little.

The C library gives each thread that allocates an arena of its own, and keeps what was freed in it.
Short threads, of which each turn of `algaenv dev` starts some, leave an arena each: 20 MB after a
dozen turns. Another C library has no such call, and nothing is done there.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

_M_ARENA_MAX: Final = -8


def share_one_arena() -> None:
    """Have all threads allocate from one arena; to be called before there are any."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Give what was freed back to the system; takes about a millisecond."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
