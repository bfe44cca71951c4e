"""The typed spec of a resource, for drivers that know which kind they serve."""

from __future__ import annotations

from typing import TypeVar

from algaenv.model.resource import Resource

Body = TypeVar("Body")


def spec_as(resource: Resource, kind: type[Body]) -> Body:
    """The body, if it is a `kind`; TypeError otherwise, which is a bug of ours."""
    if not isinstance(resource.body, kind):
        raise TypeError(f"{resource.address} has a {type(resource.body).__name__}")
    return resource.body
