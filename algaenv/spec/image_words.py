"""How an image is named, in the grammar that container registries share."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from algaenv.model.intent import PullRef
from algaenv.spec.words import wrong

_HOST = r"(?:(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:\d))(?::\d{1,5})?/)?"
"""As Docker tells a registry from the first part of a path: by its dot or its port."""
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
REPOSITORY = rf"{_HOST}{_COMPONENT}(?:/{_COMPONENT})*"
TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
DIGEST = r"sha256:[0-9a-f]{64}"
_REFERENCE = re.compile(rf"({REPOSITORY})(?::({TAG}))?(?:@({DIGEST}))?")
_LONGEST_REFERENCE = 400


def image_reference(value: str) -> PullRef:
    """`repository[:tag][@sha256:…]`, the tag being `latest` when there is none."""
    match = _REFERENCE.fullmatch(value) if len(value) <= _LONGEST_REFERENCE else None
    if match is None:
        raise wrong(
            "spec-image",
            "an image looks like repository:tag or repository:tag@sha256:digest, its repository "
            "in lower case",
        )
    return PullRef((match[1],), match[2] or "latest", match[3])


def _image(value: str) -> str:
    image_reference(value)
    return value


ImageText = Annotated[
    str, AfterValidator(_image), Field(json_schema_extra={"pattern": f"^{_REFERENCE.pattern}$"})
]
