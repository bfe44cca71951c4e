"""Values held against the schema that a namespace has, as the product's validator would.

That is Ajv with draft 7 as the default and formats ignored; schemas elsewhere are never fetched.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from algaenv.gateway.internal.refusal import Refused


def check(schema: Any, values: Iterable[Any]) -> None:
    """Refuse the first value that does not fit. Raises Refused, SchemaError for a bad schema."""
    from jsonschema.validators import Draft7Validator, validator_for
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    make = validator_for(schema, default=Draft7Validator)
    make.check_schema(schema)
    validator = make(schema, registry=REGISTRY)
    for value in values:
        faults = [
            {
                "instancePath": _pointer("", fault.absolute_path),
                "schemaPath": _pointer("#", fault.absolute_schema_path),
                "keyword": fault.validator,
                "message": fault.message,
            }
            for fault in validator.iter_errors(value)
        ]
        if faults:
            raise Refused("VALIDATION_FAILED", "The value does not fit the schema", faults)


def _pointer(start: str, path: Iterable[str | int]) -> str:
    parts = (str(it).replace("~", "~0").replace("/", "~1") for it in path)
    return "/".join((start, *parts))
