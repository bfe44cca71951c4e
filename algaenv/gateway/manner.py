"""What sets one gateway apart from the other, as a table with a column for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from algaenv.gateway.execution import Road
from algaenv.gateway.relay import Answered, Relayed

FORWARDED = ("x-request-id", "accept", "content-type", "accept-encoding", "user-agent")
"""Headers of callers that handlers see; cookies and tokens are not among them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a JSON body."""

    status: int
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Manner:
    """How one of the two gateways behaves where they differ."""

    road: Road
    prefix: str
    methods: frozenset[str]
    most_bytes: int
    too_large: str
    overrides: bool
    """A POST may stand for another method."""
    forwards_key: bool
    """The handler sees the idempotency key; else the runner does."""
    without_bundle: Answer
    failed: Callable[[Relayed, str], Answer]
    """What is said for a call that brought no answer; given its request id."""
    headers: Callable[[Answered], dict[str, str]]
    """Those of a handler's answer that the caller sees."""
