"""Calls that are put to two targets, and what came of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from algaenv.bundle.value import dataclass, field
from algaenv.model.resource import Json

SAFE_METHODS: Final = ("GET", "HEAD")
"""Methods that change nothing, so that a call may be made without being named by its author."""
METHODS: Final = (*SAFE_METHODS, "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a handler. `path` may hold a query; `user` is one of the gateway's."""

    method: str
    path: str
    body: bytes | None = None
    user: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    """What is not compared in this call; see `comparison.volatile`."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A call that is not made, with the reason."""

    method: str
    path: str
    why: str


@dataclass(frozen=True, slots=True)
class CallList:
    """The calls to make, what is ignored in all of them, and those that are left out."""

    calls: tuple[Call, ...]
    ignore: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a target answered. `headers` have lower-case names; `ms` is until the last byte.

    A header that came repeatedly has its values joined, of `set-cookie` one in each line.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    ms: float


@dataclass(frozen=True, slots=True)
class Recording:
    """A call that was kept with its answer, and which version of the extension gave it."""

    extension: str
    call: Call
    answer: Answer
    recorded: str = ""
    """When, in ISO 8601."""
    version: str = ""
    content_hash: str = ""
    masked: bool = False
    """Whether secrets of the call were replaced by `***`."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference: `what` is `status`, `header`, `body` or `host-call`.

    `at` is the header's name, or a JSON pointer, a line or `line endings` of the body. A side
    without `here` or `there` has nothing at that place.
    """

    what: str
    at: str = ""
    here: tuple[Json, ...] = ()
    there: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is kept of an answer: of many calls the bodies would not fit into memory."""

    status: int
    ms: float


@dataclass(frozen=True, slots=True)
class ComparedCall:
    """A call with both outcomes and all that differs."""

    call: Call
    here: Outcome
    there: Outcome
    differences: tuple[Difference, ...]
