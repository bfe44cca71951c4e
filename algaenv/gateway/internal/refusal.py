"""Why a call is not answered, before it is known in which of the product's shapes that is said."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel

M = TypeVar("M", bound="BaseModel")

STATUS = {
    "INVALID_INPUT": 400,
    "LIMIT_EXCEEDED": 400,
    "VALIDATION_FAILED": 400,
    "UNAUTHORIZED": 401,
    "NOT_ALLOWED": 403,
    "NOT_FOUND": 404,
    "REVISION_MISMATCH": 409,
    "QUOTA_EXCEEDED": 429,
    "RATE_LIMITED": 429,
}
"""The codes of the internal APIs and their HTTP statuses."""


class Refused(Exception):
    """A code of `STATUS`, what it is about, and more where the product says more."""

    def __init__(
        self,
        code: str,
        message: str,
        details: object = None,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        self.headers = headers
        """Of faults of the product that have to do with it."""

    @property
    def status(self) -> int:
        """Of HTTP."""
        return STATUS[self.code]


class Invalid(Exception):
    """The body does not have the shape of a call; `details` is `{formErrors, fieldErrors}`."""

    def __init__(self, details: Mapping[str, Any]) -> None:
        super().__init__("the body does not have the shape of a call")
        self.details = details


def shaped(model: type[M], body: object) -> M:
    """The body as this shape, unknown fields left out. Raises Invalid with all that is wrong."""
    from pydantic import ValidationError

    try:
        return model.model_validate(body)
    except ValidationError as error:
        form: list[str] = []
        fields: dict[str, list[str]] = {}
        for fault in error.errors(include_url=False, include_context=False, include_input=False):
            place = fault["loc"]
            messages = fields.setdefault(str(place[0]), []) if place else form
            messages.append(fault["msg"])
        raise Invalid({"formErrors": form, "fieldErrors": fields}) from None
