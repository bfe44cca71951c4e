"""What compiling came to, as the process that compiles says it: one line of JSON.

It also holds what both sides know without compiling: which bytes are no component at all. The
engine alone would not do, for it takes WAT text as well.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

from algaenv.runner.wasm.diagnosis import causes
from algaenv.runner.wasm.failure import Kind

MALFORMED: Final = "failed to parse WebAssembly module"
"""The outermost words for whatever is not a component; Alga's runner has the same."""

_MAGIC = b"\0asm"
_COMPONENT = _MAGIC + b"\x0d\0\x01\0"
HEADER_BYTES = len(_COMPONENT)


@dataclass(frozen=True, slots=True)
class Done:
    """The output is there, whole and on the disk."""

    digest: str
    """Of the bytes that were compiled: 64 hexadecimal digits of SHA-256."""
    size: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    """The most memory the process had resident."""


@dataclass(frozen=True, slots=True)
class Failed:
    """There is no output. `settled`: the same bytes will always end like this."""

    kind: Kind
    message: str
    causes: tuple[str, ...]
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The component could not be read; `number` is an errno."""

    number: int


Verdict = Done | Failed | Unreadable

_KINDS: dict[str, type[Done] | type[Failed] | type[Unreadable]] = {
    "done": Done,
    "failed": Failed,
    "unreadable": Unreadable,
}


def write(verdict: Verdict) -> str:
    """Spell a verdict as one line."""
    name = next(name for name, kind in _KINDS.items() if kind is type(verdict))
    return json.dumps({"verdict": name, **asdict(verdict)}) + "\n"


def read(line: str) -> Verdict:
    """Read what `write` spelled. Raises ValueError, KeyError, TypeError, AttributeError."""
    fields = json.loads(line)
    kind = _KINDS[fields.pop("verdict")]
    if kind is Failed:
        fields |= {"kind": Kind(fields["kind"]), "causes": tuple(fields["causes"])}
    return kind(**fields)


def malformed(head: bytes) -> Failed | None:
    """What the first 8 bytes of a file already say; None when it may be a component."""
    if head.startswith(_COMPONENT):
        return None
    if head.startswith(_MAGIC) and len(head) >= HEADER_BYTES:
        why = "attempted to parse a wasm module with a component parser"
    elif not head:
        why = "the file is empty"
    else:
        why = "the file is not a binary component"
    return Failed(Kind.MALFORMED, MALFORMED, (MALFORMED, why), settled=True)


def refused(words: str) -> Failed:
    """The verdict for an error of the engine, in its words."""
    chain = causes(words)
    kind = Kind.MALFORMED if chain[0] == MALFORMED else Kind.COMPILE
    return Failed(kind, chain[0], chain, settled=True)
