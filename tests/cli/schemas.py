"""The published JSON Schemas, made strict: here an undocumented key is a failure.

Readers get the open ones, since keys may be added.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


@functools.cache
def validator(name: str) -> Draft7Validator:
    schema = json.loads((REFERENCE / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft7Validator.check_schema(schema)
    return Draft7Validator(_closed(schema))


def check(name: str, document: object) -> None:
    """Fail with every disagreement."""
    errors = [f"{e.json_path}: {e.message}" for e in validator(name).iter_errors(document)]
    assert errors == [], document


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed
