"""What an endpoint says through the gateway when `up` asks whether its extension is ready.

A handler's own 4xx or 5xx is its answer, which asking again does not mend. What the gateway says in
its place, because nobody behind it answers yet, may pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from algaenv.drivers.probes_http import Reply
from algaenv.model.probe import Never, NotYet, ProbeResult, Yes

_MENDING: Final = (
    "mend its handler, or take it out of `probe`; `algaenv call EXT PATH` asks it by hand"
)
_MAY_PASS: Final = frozenset({429, 502, 503, 504})
_LONGEST: Final = 300


def as_user(key: str) -> Mapping[str, str]:
    """The headers that choose who asks."""
    return {"x-algaenv-user": key} if key else {}


def judge_call(path: str, reply: Reply) -> ProbeResult:
    """Read what the gateway answered to `GET path`; a query is not repeated to anybody."""
    if reply.status < 400:
        return Yes()
    error, reason, stderr, hint = (
        reply.told.get(f"x-algaenv-{name}", "") for name in ("error", "reason", "stderr", "hint")
    )
    last = f"GET {path.partition('?')[0]} answered {reply.status}"
    if said := reason or error or _line(reply.head):
        last += f": {said}"
    if error and not reason and reply.status in _MAY_PASS:
        return NotYet(last)
    detail = []
    if error and error not in last:
        detail.append(error)
    if stderr:
        detail.append(f"stderr: {stderr}")
    return Never(last, hint or _MENDING, tuple(detail))


def _line(body: bytes) -> str:
    return " ".join(body[: 4 * _LONGEST].decode(errors="replace").split())[:_LONGEST]
