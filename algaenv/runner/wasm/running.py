"""A call under way on a thread: what the callbacks of the engine find there.

The engine calls back on the thread that runs the guest, so what one call went through can never
be taken for another's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from algaenv.runner.invocation import Expired, Invocation
from algaenv.runner.wasm.budget import Budget, Grown
from algaenv.runner.wasm.capture import Capture
from algaenv.runner.wasm.diagnosis import INTERRUPT
from algaenv.runner.wasm.failure import GuestFailure, Kind
from algaenv.runner.wasm.waiting import Wait

_logger = logging.getLogger(__name__)

REFUSED = (
    "{name} is not granted: it would bypass EXT_EGRESS_ALLOWLIST; "
    "use fetch of alga:extension/http instead"
)


@dataclass(slots=True)
class Running:
    """A call under way. `fault` is the first thing that went wrong outside of the guest."""

    invocation: Invocation
    capture: Capture | None = None
    fault: BaseException | None = None
    where: str = ""
    """The function whose fault it was."""
    budget: Budget | None = None
    grown: Grown | None = None

    @property
    def over(self) -> bool:
        """Whether there is no use in going on."""
        wait = self.invocation.wait
        if isinstance(wait, Wait) and wait.left:
            return True
        return time.monotonic() >= self.invocation.deadline

    def tick(self) -> bytes | None:
        """Look at the time, and pass on what was said. Returns words to end the guest with."""
        try:
            if self.over:
                raise Expired
            if self.budget is not None and self.grown is not None:
                self.budget.look(self.grown)
            if self.capture is not None:
                self.capture.drain(self.invocation)
        except BaseException as error:
            return self.fail(error, "a tick")
        return None

    def fail(self, error: BaseException, where: str) -> bytes:
        """Keep what went wrong for the end of the call. Returns words to end the guest with."""
        if self.fault is None:
            self.fault, self.where = error, where
            if isinstance(error, Exception) and not isinstance(error, Expired | GuestFailure):
                fields = {
                    "request_id": self.invocation.request_id,
                    "tenant": self.invocation.tenant,
                    "extension": self.invocation.extension,
                    "function": where,
                }
                _logger.error("host function failed", exc_info=error, extra={"fields": fields})
        if isinstance(error, Expired):
            return INTERRUPT.encode()
        if isinstance(error, GuestFailure):
            return error.reason.encode()
        return b"a host function failed"


class Here(threading.local):
    """The call under way on this thread, and what the thread keeps between calls."""

    running: Running | None = None
    capture: Capture | None = None


def refusal(name: str) -> GuestFailure:
    """Return the failure of a guest that used what is linked but never granted."""
    return GuestFailure(Kind.REFUSED, REFUSED.format(name=name))


Callback = Callable[..., int | None]
