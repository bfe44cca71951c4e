"""Requests that the product's own handlers were put to, and what came of them.

`recorded/world.json` holds the rows, the users and the responses of the runner that cases name.
`recorded/<group>.json` holds cases: rows besides `base`, requests sent `before`, the request, the
response of the runner, and the product's answer, what it asked the runner and the rows it left.
Values that are new each time have placeholders there: `<uuid>`, `<timeT.3Z>` (separator, digits of
the fraction, zone), `<request id>`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

FOLDER = Path(__file__).parent / "recorded"
_UUID = re.compile(r"[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}", re.IGNORECASE)
_TIME = re.compile(r"(20\d\d)-\d\d-\d\d([T ])\d\d:\d\d:\d\d(?:\.(\d+))?(Z|[+-]\d\d(?::?\d\d)?)?")
_GIVEN_YEARS = ("2001", "2030")
_OWN_URL = re.compile(r"http://127\.0\.0\.1:\d+")
_STREAM_ENTRY = re.compile(r"\b1\d{12}-\d+\b")
_LONG = 3000
ABSENT = "(absent)"

Case = Mapping[str, Any]


@cache
def world() -> Mapping[str, Any]:
    """Tenant, settings, responses of the runner, and rows."""
    return cast("Mapping[str, Any]", json.loads((FOLDER / "world.json").read_text()))


@cache
def cases(group: str) -> tuple[Case, ...]:
    """The cases of a group."""
    return tuple(json.loads((FOLDER / f"{group}.json").read_text()))


def groups() -> list[str]:
    """Groups of cases with a request."""
    others = {"world", "bridge-facts"}
    return sorted(it.stem for it in FOLDER.glob("*.json") if it.stem not in others)


def differences(product: Any, gateway: Any, path: str = "") -> Iterator[str]:
    """The places where two answers differ, with both values. Numbers are compared by value."""
    if isinstance(product, dict) and isinstance(gateway, dict):
        for key in sorted({*product, *gateway}):
            at = f"{path}.{key}" if path else key
            yield from differences(product.get(key, ABSENT), gateway.get(key, ABSENT), at)
    elif isinstance(product, list) and isinstance(gateway, list) and len(product) == len(gateway):
        for number, (theirs, ours) in enumerate(zip(product, gateway, strict=True)):
            yield from differences(theirs, ours, f"{path}.{number}")
    elif product != gateway or isinstance(product, bool) is not isinstance(gateway, bool):
        yield f"{path}: product {_json(product):.500}, gateway {_json(gateway):.500}"


def with_placeholders(
    value: Any, known: Collection[str], names: Mapping[str, str], key: str = ""
) -> Any:
    """`value` with placeholders for what is new each time, in keys as well."""

    def again(inner: Any, at: str = "") -> Any:
        return with_placeholders(inner, known, names, at)

    def named(found: re.Match[str]) -> str:
        if found[0].lower() in known:
            return found[0]
        return names.get(found[0], "<uuid>")

    def spelled(found: re.Match[str]) -> str:
        if found[1] in _GIVEN_YEARS:
            return found[0]
        fraction = f".{len(found[3])}" if found[3] else ""
        return f"<time{found[2]}{fraction}{found[4] or ''}>"

    if isinstance(value, dict):
        return {again(name): again(_ordered(name, it), name) for name, it in value.items()}
    if isinstance(value, list):
        return [again(it) for it in value]
    if key == "duration_ms" and isinstance(value, int | float):
        return "<ms>"
    if not isinstance(value, str):
        return value
    if len(value) > _LONG:
        digest = hashlib.sha256(value.encode("utf8", "surrogatepass")).hexdigest()
        return f"<{len(value)} characters, sha256 {digest}>"
    value = _STREAM_ENTRY.sub("<entry>", _OWN_URL.sub("<here>", value))
    return _TIME.sub(spelled, _UUID.sub(named, value))


def _ordered(key: str, value: Any) -> Any:
    """Lists of which nobody promises the order: providers, and the methods of one path."""
    if key == "providers" and isinstance(value, list):
        return sorted(value, key=str)
    if key == "endpoints" and isinstance(value, list):
        if not all(isinstance(it, dict) and "path" in it for it in value):
            return value
        paths = [it["path"] for it in value]
        return sorted(value, key=lambda it: (paths.index(it["path"]), str(it.get("method"))))
    return value


def ids_in(*values: Any) -> list[str]:
    """All UUIDs in them."""
    return [it.lower() for it in _UUID.findall(json.dumps(values))]


def _json(value: Any) -> str:
    return ABSENT if value is ABSENT else json.dumps(value, ensure_ascii=False)
