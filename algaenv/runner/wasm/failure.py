"""How a handler can fail to answer."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What went wrong, for machines; stands in the answer as `failure.kind`."""

    MALFORMED = "malformed"
    """Not a component: a core module, text, or bytes that mean nothing."""
    COMPILE = "compile"
    LIMIT = "limit"
    """Compiling it was ended at a limit of time or memory, which can be raised."""
    LINK = "link"
    """It imports something this runner does not offer, or not with this type."""
    SIGNATURE = "signature"
    """It has no `handler`, or not of the world's type."""
    INSTANTIATE = "instantiate"
    TRAP = "trap"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    EXIT = "exit"
    """It called `wasi:cli/exit`."""
    REFUSED = "refused"
    """It used something that is linked but never granted, such as `wasi:http`."""
    REQUEST = "request"
    """The request cannot be given to a guest: `body_b64` is not base64."""
    HOST = "host"
    """A fault of the runner."""


class GuestFailure(Exception):
    """A handler did not answer.

    `message` is one sentence or the engine's own outermost words, `reason` what lies beneath
    (`wasm trap: interrupt`), and `causes` the whole chain from the outside to the inside.
    """

    def __init__(
        self, kind: Kind, message: str, *, reason: str = "", causes: tuple[str, ...] = ()
    ) -> None:
        self.kind, self.message = kind, message
        self.reason = reason or message
        self.causes = causes or (message,)
        self.mute = False
        """Whether the guest has no stderr to write to."""
        super().__init__(message)
