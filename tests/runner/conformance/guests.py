"""Bundles that hold a handler."""

from __future__ import annotations

from functools import cache

from tests.guests import built
from tests.runner.archives import Bundle, bundle

from .components import binary


@cache
def script_bundle() -> Bundle:
    """The guest that does what the body of its request says."""
    return bundle({"dist/main.wasm": built("script").read_bytes(), "manifest.json": b"{}"})


def holding(component: bytes | str, *, note: str = "") -> Bundle:
    """A bundle with this handler, in bytes or in words; `note` makes equal ones differ."""
    content = binary(component) if isinstance(component, str) else component
    return bundle({"dist/main.wasm": content, "manifest.json": b"{}"}, note=note)


def renamed(component: bytes, note: str) -> bytes:
    """The same component with a custom section more, so that it is compiled anew."""
    text = note.encode()
    content = bytes([4]) + b"note" + text
    return component + b"\0" + bytes([len(content)]) + content
