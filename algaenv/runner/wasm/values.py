"""How WIT values look in Python, in both directions.

record: `dict` with names in snake_case. option: None or the value. enum: its name as in WIT
(`not-allowed`). list: `list`; list<u8>: `bytes`. tuple: `tuple`. char, string: `str`.
result<T, E>: the value, or an `Err`; T absent: None.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Err:
    """The error arm of a result."""

    value: object = None
