"""The marks on what we make: whose it is, what it is, and what it was made of.

There is no state file. An environment is what carries its mark, so these names are a public
contract: other versions of this program read them, and people filter by them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from algaenv import __version__
from algaenv.bundle.value import dataclass
from algaenv.model.address import Address
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
"""On containers: the id of the image it was made from, as the engine gave it."""
IMAGE: Final = PREFIX + "image"
"""On images: the recipe they were made by."""
CONTEXT: Final = PREFIX + "context"
"""On images: the hash of what they were made of."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What the labels of a thing of ours say."""

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
    """The mark in `labels`; None when there is none, or one that cannot be read as ours."""
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
    """A phrase for people: whose the thing with `labels` is."""
    mark = read_mark(labels)
    if mark:
        return f"{mark.address} of the environment {mark.name} of {mark.spec}"
    project = labels.get("com.docker.compose.project")
    return f"of the compose project {project}" if project else "not made by algaenv"
