"""The JSON Schema of the spec for editors, made from the same models that read it.

    python -m algaenv.spec.schema docs/reference/algaenv.schema.json

Draft-07, which is what editors and schema catalogues take today. It also allows what is worked
out before the models see a value: `${VAR}`, empty values, `x-*` notes, and leaving out in a file
that extends another what the other one says.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from algaenv import SCHEMAS
from algaenv.spec.document import Document
from algaenv.spec.include import FRAGMENT_FILE, INCLUDE, SECTIONS
from algaenv.spec.variables import EXTENSIONS_KEY, NAMED_KEYS

Schema = dict[str, Any]

_VARIABLE = {
    "type": "string",
    "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:?[-?+].*)?\}",
    "description": "A value from the environment: ${NAME}, ${NAME:-default} and such.",
}
_NOTE = {"description": "A note of your own; ignored."}
_NOTHING = {"type": "null"}
_SPLIT = frozenset({"ExtensionSpec", "BuildSpec", "ContextSpec", "TaskSpec", "ServiceSpec"})
"""Mappings of which a file may say a part, and the file it extends the rest."""
_REFERENCE = re.compile(r'"#/definitions/(\w+)"')
_NEEDS_VARIABLE = frozenset({"integer", "number", "boolean"})


class _Draft7(GenerateJsonSchema):
    schema_dialect = "http://json-schema.org/draft-07/schema#"


def schema() -> Schema:
    """The schema as a fresh mapping, ready for JSON."""
    raw = Document.model_json_schema(
        by_alias=True, ref_template="#/definitions/{model}", schema_generator=_Draft7
    )
    definitions = raw.pop("$defs")
    required = {name: each.pop("required", []) for name, each in definitions.items()}
    root = _converted(raw)
    root.pop("required", None)
    shown = {name: _converted(each) for name, each in sorted(definitions.items())}
    for name, keys in required.items():
        if keys and name not in _SPLIT:
            shown[name]["required"] = keys
    return {
        "$schema": _Draft7.schema_dialect,
        "$id": f"{SCHEMAS}/algaenv.schema.json",
        "title": "algaenv.yaml",
        **{key: value for key, value in root.items() if key != "title"},
        "if": {"not": {"required": ["extends"]}},
        "then": _alone(),
        "definitions": {**shown, "variable": _VARIABLE},
    }


def fragment_schema() -> Schema:
    """The schema of a fragment: the keys that it may hold, as the spec has them."""
    whole = schema()
    keys = ("version", INCLUDE, *SECTIONS)
    alone = whole["then"]["properties"]
    kept = {
        **whole,
        "$id": f"{SCHEMAS}/fragment.schema.json",
        "title": FRAGMENT_FILE,
        "description": "A part of an algaenv.yaml, which includes it.",
        "properties": {key: whole["properties"][key] for key in keys},
        "allOf": [{"properties": {key: alone[key] for key in keys if key in alone}}],
    }
    del kept["if"], kept["then"]
    return {**kept, "definitions": _used(kept, whole["definitions"])}


def _used(shape: Schema, definitions: Schema) -> Schema:
    """Those definitions that a schema refers to, or one of them."""
    body = json.dumps({key: value for key, value in shape.items() if key != "definitions"})
    found: set[str] = set()
    waiting = set(_REFERENCE.findall(body))
    while waiting:
        found |= waiting
        texts = (json.dumps(definitions[name]) for name in waiting)
        waiting = {name for it in texts for name in _REFERENCE.findall(it)} - found
    return {name: definitions[name] for name in sorted(found)}


def _alone() -> Schema:
    """What is asked of a file that extends nothing, beyond the definitions."""
    something = {"not": _NOTHING}
    extension = {
        "if": {"type": "object"},
        "then": {
            "required": ["source"],
            "properties": {
                "source": something,
                "build": {"anyOf": [{"required": ["command"]}, {"required": ["steps"]}]},
                "secrets": {"additionalProperties": something},
            },
        },
        **something,
    }
    runner = {
        "image": {"properties": {"build": {"required": ["context"]}}},
        "environment": {"additionalProperties": something},
    }
    return {
        "required": ["name"],
        "properties": {
            "name": something,
            EXTENSIONS_KEY: {"patternProperties": {"^(?!x-)": extension}},
            "services": {"patternProperties": {"^(?!x-)": {"required": ["ports"], **something}}},
            "tasks": {"patternProperties": {"^(?!x-)": {"required": ["run"], **something}}},
            "runner": {"properties": runner},
        },
    }


def _converted(schema: JsonSchemaValue) -> Schema:
    """A mapping of the spec's own, with its notes and its empty values."""
    done = {key: value for key, value in schema.items() if key not in ("properties", "title")}
    if "properties" not in schema:  # any JSON
        return done
    required = schema.get("required", ())
    done["properties"] = {
        key: _property(key, value, required=key in required)
        for key, value in schema["properties"].items()
    }
    done["patternProperties"] = {"^x-": _NOTE}
    return done


def _property(key: str, schema: JsonSchemaValue, *, required: bool) -> Schema:
    about: Schema = {"description": schema["description"]}
    if schema.get("default") is not None:
        about["default"] = schema["default"]
    value = _value({k: v for k, v in schema.items() if k not in ("description", "default")})
    if key in NAMED_KEYS and "patternProperties" in value:
        (pattern, extension), *_ = value["patternProperties"].items()
        named = pattern.replace("^", "^(?!x-)", 1)
        value["patternProperties"] = {named: extension, "^x-": _NOTE}
    options = value["anyOf"] if set(value) == {"anyOf"} else [value]
    if not required and _NOTHING not in options:
        options = [*options, _NOTHING]
    return {**about, "anyOf": options}


def _value(schema: Schema) -> Schema:
    """A value that may also come from a variable, where its own type would not let it."""
    schema = {key: value for key, value in schema.items() if key not in ("title", "discriminator")}
    if "oneOf" in schema:  # the members exclude one another; editors explain anyOf better
        schema["anyOf"] = schema.pop("oneOf")
    for key in ("anyOf", "allOf"):
        if key in schema:
            schema[key] = _flat([_value(each) for each in schema[key]])
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = _value(schema[key])
    if "patternProperties" in schema:
        keys = schema["patternProperties"].items()
        # Null takes out what an extended file says.
        schema["patternProperties"] = {
            pattern: {"anyOf": _flat([_value(each), _NOTHING])} for pattern, each in keys
        }
        schema["additionalProperties"] = False
    if _strict(schema):
        return {"anyOf": [schema, {"$ref": "#/definitions/variable"}]}
    return schema


def _strict(schema: Schema) -> bool:
    kind = schema.get("type")
    return (
        kind in _NEEDS_VARIABLE
        or "enum" in schema
        or "const" in schema
        or (kind == "string" and "pattern" in schema)
    )


def _flat(options: list[Schema]) -> list[Schema]:
    flat: list[Schema] = []
    for option in options:
        for each in option["anyOf"] if set(option) == {"anyOf"} else [option]:
            if each not in flat:
                flat.append(each)
    return flat


def text(shape: Schema | None = None) -> str:
    """A schema as its file holds it; without one that of the spec."""
    return json.dumps(shape or schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
