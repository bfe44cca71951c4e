"""The mark on an install row: which environment made the row, and what it wrote.

The mark is kept in `runner_status`, which Alga only displays. A row without a mark was made by
another tool.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from algaenv.bundle.value import dataclass, field
from algaenv.model.kind import Address
from algaenv.model.resource import Inputs, Json


@dataclass(frozen=True, slots=True)
class InstallMark:
    """`inputs` and `fingerprint` are the record; the `made_…` are rows that were not there before.

    `made_versions` are ids of `extension_version`.
    """

    environment: str
    address: str
    fingerprint: str
    inputs: Inputs = field(default_factory=dict)
    made_registry: bool = False
    made_versions: tuple[str, ...] = ()

    def status(self) -> dict[str, Json]:
        """The whole value of `runner_status`."""
        made: dict[str, Json] = {
            "registry": self.made_registry,
            "versions": list(self.made_versions),
        }
        mark: dict[str, Json] = {
            "environment": self.environment,
            "address": self.address,
            "fingerprint": self.fingerprint,
            "inputs": dict(self.inputs),
            "made": made,
        }
        return {"state": "ready", "algaenv": mark}

    @property
    def name(self) -> str:
        """The extension's key in the spec that made it; empty when the record is damaged."""
        try:
            return Address.parse(self.address).name
        except ValueError:
            return ""


def parse_install_mark(found: Any) -> InstallMark | None:
    """Read a mark from JSON; None where there is none. What is damaged in it reads as empty."""
    if not isinstance(found, dict) or not isinstance(found.get("environment"), str):
        return None
    made = _mapping(found.get("made"))
    versions = made.get("versions")
    return InstallMark(
        environment=found["environment"],
        address=str(found.get("address", "")),
        fingerprint=str(found.get("fingerprint", "")),
        inputs=_mapping(found.get("inputs")),
        made_registry=made.get("registry") is True,
        made_versions=tuple(map(str, versions)) if isinstance(versions, list) else (),
    )


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}
