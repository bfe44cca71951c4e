"""What a file of bytes claims to be, told by its first eight bytes.

The engine would also take the text format for a component; a bundle must hold the binary one.
"""

from __future__ import annotations

from enum import StrEnum

from algaenv.runner.wasm.failure import GuestFailure, Kind

MALFORMED = "failed to parse WebAssembly module"


class Form(StrEnum):
    """A kind of file."""

    COMPONENT = "component"
    MODULE = "module"
    OTHER = "other"


def inspect(data: bytes | bytearray | memoryview) -> Form:
    """Return what these bytes, or the first eight of them, begin as."""
    match bytes(data[:8]):
        case b"\0asm\x0d\0\x01\0":
            return Form.COMPONENT
        case b"\0asm\x01\0\0\0":
            return Form.MODULE
        case _:
            return Form.OTHER


def demand_component(data: bytes | bytearray | memoryview) -> None:
    """Return if the bytes begin as a component. Raises GuestFailure (malformed)."""
    match inspect(data):
        case Form.COMPONENT:
            return
        case Form.MODULE:
            reason = "attempted to parse a wasm module with a component parser"
        case Form.OTHER if not data:
            reason = "the file is empty"
        case Form.OTHER:
            reason = "it does not begin as a binary component does"
    raise GuestFailure(Kind.MALFORMED, MALFORMED, reason=reason, causes=(MALFORMED, reason))
