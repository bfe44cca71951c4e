"""`python -m tests.cli.fake_main SCENARIO ARGUMENT…`: the command line over a fake application."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from algaenv.__main__ import leave
from algaenv.cli import main
from algaenv.model.drift import Drift, DriftedResource, DriftReport
from algaenv.model.kind import Address
from algaenv.model.pins import PinDifference
from algaenv.model.plan import Blocked
from algaenv.model.problem import (
    AlgaenvError,
    EngineGone,
    Locked,
    NotReady,
    Problem,
    ResolveError,
    SpecError,
    Where,
)
from tests.cli.fake_application import BROKEN, FakeApplication, Scenario, all_present


def make_scenario(name: str) -> Scenario:
    gate = Path(os.environ.get("FAKE_GATE", "gate"))
    pace = float(os.environ.get("FAKE_PACE", "0"))
    match name:
        case "fresh":
            return Scenario(pace=pace, builds=True, warns=True, slow_answers=int(pace * 40))
        case "noop":
            return Scenario(seen=all_present())
        case "lock-differs":
            found = PinDifference("docker/store", "version", "9", "10\x1b[31m")
            return Scenario(pins=(found,))
        case "drift":
            return Scenario(drift=drifted("limits.memory"))
        case "drifted-file":
            return Scenario(drift=drifted("files.valkey.conf"))
        case "failing":
            return Scenario(pace=pace, broken={"container/store": BROKEN})
        case "taken":
            return Scenario(blocked=(Blocked(Address("container", "store"), BROKEN),))
        case "stuck":
            return Scenario(stuck=frozenset({"network/main"}), gate=gate)
        case "bug":
            return Scenario(bug=KeyError("port"))
        case _:
            return Scenario(raises=make_error(name))


def drifted(field: str) -> DriftReport:
    drift = Drift(f"{field} is another one", field)
    return DriftReport((DriftedResource(Address("container", "redis"), (drift,)),), {})


def make_error(name: str) -> AlgaenvError:
    kind = {
        "spec": SpecError,
        "engine": EngineGone,
        "locked": Locked,
        "late": NotReady,
        "build": ResolveError,
    }[name]
    problem = Problem(
        code=name, summary=f"cannot go on: {name}", hint="mend it", where=Where("a.yaml", 3, 5)
    )
    return kind(problem)


def take_terminal() -> None:
    """Make stdin the controlling terminal, as a login does, so that its keys send signals."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


if __name__ == "__main__":
    if os.environ.get("FAKE_TERMINAL"):
        take_terminal()
    application = FakeApplication(make_scenario(sys.argv[1]))
    leave(main(sys.argv[2:], make_application=lambda _request: application))
