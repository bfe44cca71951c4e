"""The words that figures are told apart by."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

Compiled = Literal["done", "failed"]
Bundled = Literal["hit", "fetched", "failed"]

_ROUTES = frozenset(("/", "/healthz", "/readyz", "/metrics", "/v1/execute", "/warmup"))


class Outcome(StrEnum):
    """How a call ended, when no guest failed (that is a `Kind`)."""

    ANSWERED = "answered"
    """The guest did, with any status."""
    REPLAYED = "replayed"
    BAD_REQUEST = "bad-request"
    BUNDLE = "bundle"
    """It could not be fetched or read."""
    CAPABILITY = "capability"
    SECRETS = "secrets"
    ENGINE = "engine"
    BUSY = "busy"
    """The queue was full."""
    LEFT = "left"
    """The caller did not wait for the answer."""


class Watched(StrEnum):
    """A figure that says how things are now, as against how often something happened."""

    LANES_BUSY = "lanes-busy"
    LANES_STUCK = "lanes-stuck"
    CALLS_QUEUED = "calls-queued"
    COMPILES_RUNNING = "compiles-running"
    COMPONENTS_LOADED = "components-loaded"


def route(path: str) -> str:
    """The route that a path belongs to: one of eight."""
    if path in _ROUTES:
        return path
    return "/ext-ui" if path.startswith("/ext-ui/") else "other"
