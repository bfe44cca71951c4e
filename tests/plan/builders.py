"""Short ways to write resources and observations down, for tests that compare plans as text."""

from __future__ import annotations

from algaenv.model.drift import Drift
from algaenv.model.kind import Address, kind_of
from algaenv.model.probe import Probe, RunnerProbe
from algaenv.model.resource import Inputs, Present, Resource, fingerprint


def parse_address(text: str) -> Address:
    return Address.parse(text)


def make_resource(
    address: str,
    *needs: str,
    inputs: Inputs | None = None,
    retained: bool = False,
    probed: bool = False,
) -> Resource:
    where = parse_address(address)
    probe: Probe | None = RunnerProbe("http://127.0.0.1:1") if probed else None
    return Resource(
        address=where,
        tier=kind_of(where).tier,
        inputs=inputs if inputs is not None else {"of": address},
        body=None,
        needs=tuple(parse_address(need) for need in needs),
        probe=probe,
        retained=retained,
        replaced=where.kind in ("container", "process"),
    )


def make_present(
    address: str,
    *,
    inputs: Inputs | None = None,
    drift: tuple[Drift, ...] = (),
    running: bool | None = None,
    note: str = "",
    retained: bool = False,
) -> Present:
    """It is there, and ours."""
    recorded = inputs if inputs is not None else {"of": address}
    return Present(
        recorded=fingerprint(recorded),
        inputs=recorded,
        drift=drift,
        running=running,
        note=note,
        retained=retained,
    )


def make_foreign(note: str = "") -> Present:
    """It is there, and not ours."""
    return Present(recorded=None, note=note)
