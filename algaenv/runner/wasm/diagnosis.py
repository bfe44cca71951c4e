"""From the words of the engine to a failure with a kind.

The engine tells what went wrong only as text: the outermost message, and its causes below it.
"""

from __future__ import annotations

import re

from algaenv.runner.wasm.failure import GuestFailure, Kind

INTERRUPT = "wasm trap: interrupt"
EXHAUSTED = "maximum concurrent"
"""How the engine begins to say that its pool has no slot left."""

POOL = "pooling allocator"
"""Part of what the engine says of a component that no slot of the pool is large enough for."""

_CAUSED = "\n\nCaused by:\n"
_NUMBER = re.compile(r"^ {1,4}\d+: ", re.MULTILINE)
_MEMORY = re.compile(r"memory minimum size of \d+ pages exceeds memory limits")
_STANDS_BEFORE = (
    (re.compile(r"component imports .* was not found in the linker"), Kind.LINK),
    (re.compile(r"failed to convert function to given type"), Kind.SIGNATURE),
    (re.compile(r"failed to parse WebAssembly module"), Kind.MALFORMED),
)


def causes(text: str) -> tuple[str, ...]:
    """Return the message and its causes, from the outside to the inside."""
    outermost, _, rest = text.partition(_CAUSED)
    if not rest:
        return (outermost.strip(),)
    inner = _NUMBER.split(rest)[1:] if _NUMBER.match(rest) else [rest]
    return (outermost.strip(), *(_dedent(cause) for cause in inner))


def diagnose(text: str, otherwise: Kind) -> GuestFailure:
    """Return the failure that the text of an error means; `otherwise` when it tells no kind."""
    chain = causes(text)
    return GuestFailure(_kind(chain, otherwise), chain[0], reason=chain[-1], causes=chain)


def _kind(chain: tuple[str, ...], otherwise: Kind) -> Kind:
    if any(_MEMORY.search(cause) for cause in chain):
        return Kind.MEMORY
    if any(INTERRUPT in cause for cause in chain):
        return Kind.TIMEOUT
    if any(cause.startswith(EXHAUSTED) for cause in chain):
        return Kind.HOST
    for pattern, kind in _STANDS_BEFORE:
        if pattern.search(chain[0]):
            return kind
    if chain[0].startswith("error while executing at wasm backtrace"):
        return Kind.TRAP
    if any(cause.startswith("wasm trap:") for cause in chain):
        return Kind.TRAP
    return otherwise


def _dedent(cause: str) -> str:
    return "\n".join(line.strip() for line in cause.strip().splitlines())
