"""Labels on everything that we create: environment, address, inputs.

There is no state file. Everything that carries its mark belongs to an environment, so label names
are a public contract: other versions of this program read them, and people filter by them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from algaenv import __version__
from algaenv.bundle.value import dataclass
from algaenv.model.kind import Address
from algaenv.model.lock import Environment
from algaenv.model.resource import Inputs, Resource

PREFIX: Final = "dev.algaenv."
ENVIRONMENT: Final = PREFIX + "environment"
NAME: Final = PREFIX + "name"
SPEC: Final = PREFIX + "spec"
ADDRESS: Final = PREFIX + "address"
FINGERPRINT: Final = PREFIX + "fingerprint"
INPUTS: Final = PREFIX + "inputs"
VERSION: Final = PREFIX + "version"
IMAGE_ID: Final = PREFIX + "image-id"
"""On containers: the id of its image, as the engine gave it."""
IMAGE: Final = PREFIX + "image"
"""On images: their recipe."""
CONTEXT: Final = PREFIX + "context"
"""On images: the hash of their content."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The labels of an object of ours, parsed."""

    environment: str
    name: str
    spec: str
    address: Address
    fingerprint: str
    inputs: Inputs
    version: str
    image_id: str


def labels_for(environment: Environment, resource: Resource) -> dict[str, str]:
    """The labels of `resource` in `environment`; they hold secrets only as keyed digests."""
    return {
        ENVIRONMENT: environment.id,
        NAME: environment.name,
        SPEC: str(environment.spec),
        ADDRESS: str(resource.address),
        FINGERPRINT: resource.fingerprint,
        INPUTS: json.dumps(dict(resource.inputs), sort_keys=True, separators=(",", ":")),
        VERSION: __version__,
    }


def read_mark(labels: Mapping[str, str]) -> Mark | None:
    """The mark in `labels`; None when there is no valid one."""
    environment, address = labels.get(ENVIRONMENT), labels.get(ADDRESS, "")
    if not environment:
        return None
    try:
        where = Address.parse(address)
        inputs = json.loads(labels.get(INPUTS, "{}"))
    except ValueError:
        return None
    return Mark(
        environment=environment,
        name=labels.get(NAME, ""),
        spec=labels.get(SPEC, ""),
        address=where,
        fingerprint=labels.get(FINGERPRINT, ""),
        inputs=inputs if isinstance(inputs, dict) else {},
        version=labels.get(VERSION, ""),
        image_id=labels.get(IMAGE_ID, ""),
    )


def owner_of(labels: Mapping[str, str]) -> str:
    """A phrase for people: the owner of the object with `labels`."""
    mark = read_mark(labels)
    if mark:
        return f"{mark.address} of the environment {mark.name} of {mark.spec}"
    project = labels.get("com.docker.compose.project")
    return f"of the compose project {project}" if project else "not made by algaenv"
