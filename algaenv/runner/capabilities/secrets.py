"""`secrets`: what the envelope of the request held."""

from __future__ import annotations

from algaenv.runner.capabilities import grants
from algaenv.runner.invocation import NOT_GRANTED, Invocation
from algaenv.runner.wasm.values import Err


def get(invocation: Invocation, key: str) -> str | Err:
    """The secret, or `denied`, or `missing`; the other two errors never occur."""
    if grants.SECRETS not in invocation.granted:
        invocation.why = NOT_GRANTED.format(grants.SECRETS)
        return Err("denied")
    value = (invocation.secrets or {}).get(key)
    if value is None:
        invocation.why = f"the install has no secret {key[:100]!r}"
        return Err("missing")
    return value


def list_keys(invocation: Invocation) -> list[str]:
    """The names of all; none when not granted."""
    if grants.SECRETS not in invocation.granted:
        return []
    return list(invocation.secrets or ())
