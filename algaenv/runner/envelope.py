"""The answer of `POST /v1/execute`: four keys always, and a fifth when a handler failed.

The outcome of a call is the `status` inside. The HTTP status is 200 even then, since the gateway
takes any other for a runner that is broken.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from algaenv.runner.metrics.labels import Outcome as Label
from algaenv.runner.wasm.advice import HostCall, advise
from algaenv.runner.wasm.failure import GuestFailure, Kind

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

HINT = "x-algaenv-hint"
HOST_CALL = "x-algaenv-host-call"
_LONGEST = 500
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: what is sent, what it is called in logs, and whether it may be replayed."""

    document: bytes
    label: Label | Kind
    status: int
    error: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the HTTP answer."""

    @property
    def answered(self) -> bool:
        """Whether the handler itself did, with whatever status."""
        return self.label is Label.ANSWERED


def answered(response: Mapping[str, object]) -> Outcome:
    """What a handler said, `{"status", "headers", "body"}`; of equal header names the last."""
    headers = response["headers"]
    body = response["body"]
    status = response["status"]
    assert isinstance(headers, list)  # noqa: S101
    assert isinstance(status, int)  # noqa: S101
    fields = {
        "status": status,
        "headers": {header["name"]: header["value"] for header in headers},
        "body_b64": b64encode(body).decode() if isinstance(body, bytes) else None,
        "error": None,
    }
    return Outcome(_bytes(fields), Label.ANSWERED, status)


def failed(status: int, error: str, label: Label) -> Outcome:
    """A call that did not come as far as a guest; `error` begins with one of Alga's words."""
    return Outcome(_bytes(_failure(status, error)), label, status, error)


def execute_failed(
    failure: GuestFailure,
    first: Sequence[str],
    stderr: Iterable[str],
    call: HostCall | None = None,
) -> Outcome:
    """A handler that did not answer, with all that is known of it under `failure`.

    `first` are the first lines of its stderr, `stderr` the last. Advice, which other runners do not
    give, goes into headers of the answer.
    """
    advice = advise(failure, (*first, *stderr), call)
    error = f"execute_failed: {failure.message}"
    if advice.reason not in failure.message:
        error += f" ({advice.reason})"
    fields = _failure(500, error)
    fields["failure"] = {
        "kind": failure.kind,
        "reason": advice.reason,
        "causes": list(failure.causes),
        "stderr": list(stderr),
    }
    told = {HINT: advice.hint, HOST_CALL: "" if call is None else call.text}
    headers = {name: _visible(text) for name, text in told.items() if text}
    return Outcome(_bytes(fields), failure.kind, 500, error, headers)


def _visible(text: str) -> str:
    """Text as the value of a header: printable ASCII of one line, of bounded length."""
    return _UNPRINTABLE.sub("?", text[:_LONGEST]).strip()


def _failure(status: int, error: str) -> dict[str, object]:
    return {"status": status, "headers": {}, "body_b64": None, "error": error}


def _bytes(fields: Mapping[str, object]) -> bytes:
    # A guest may say things that are no text; nobody should have to guess what its answer was.
    return _encode(fields).encode(errors="replace")
