"""The addresses that a status gives: those of what runs, not of what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from algaenv.model.kind import Address, Tier
from algaenv.model.resource import Resource
from algaenv.reconcile.endpoints import service_endpoints
from tests.runtimes.locks import make_lock


@pytest.mark.parametrize(
    ("inputs", "names"),
    [({"ports.api": "1", "ports.console": "2"}, {"api", "console"}), ({"ports.api": "1"}, {"api"})],
)
@pytest.mark.parametrize("kind", ["container", "process"])
def test_a_store_without_a_console_has_no_address_of_one(
    tmp_path: Path, kind: str, inputs: Mapping[str, str], names: set[str]
) -> None:
    resource = Resource(Address(kind, "store"), Tier.SUBSTRATE, dict(inputs), None)
    assert set(service_endpoints(make_lock(tmp_path), resource)) == names
