"""What happens to compiled components, for those who count or time it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from algaenv.bundle.digest import Digest
from algaenv.runner.wasm.failure import Kind


@dataclass(frozen=True, slots=True)
class CompileEnded:
    """A component was compiled, or was not. Times are in seconds."""

    component: Digest
    failure: Kind | None
    seconds: float
    """From the moment it had its turn."""
    queued: float
    """Before that."""
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    """The most memory the compiling process had resident."""
    size: int = 0
    """Of the compiled form, in bytes."""


@dataclass(frozen=True, slots=True)
class GuestLoaded:
    """A compiled component was loaded into this process."""

    seconds: float


@dataclass(frozen=True, slots=True)
class FileDamaged:
    """A compiled component could not be loaded, or was gone by then; it is compiled anew."""

    file: str
    why: str


@dataclass(frozen=True, slots=True)
class FilesEvicted:
    """Compiled components were deleted, to keep within bounds or since no engine wants them."""

    count: int


Event = CompileEnded | GuestLoaded | FileDamaged | FilesEvicted
Tell = Callable[[Event], None]
"""Called on the event loop; must not block."""


def nobody(event: Event) -> None:
    """Tell nobody."""
