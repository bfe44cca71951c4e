"""What a runner says when it is asked to make a handler ready, and what its author can do about it.

Runners that warm nothing answer 400, as Alga's own does, or know no such path: then the first call
of the handler is slow, and nothing else is different.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from algaenv.drivers.probes_http import Reply
from algaenv.model.probe import BrokenHandler, Never, NotYet, PrewarmRequest, ProbeResult, Yes

OTHER_BYTES: Final = "the stored bundle has other bytes than its name says: upload it again"
_MENDING: Final = {
    "malformed": "build dist/main.wasm as a component: `jco componentize`, or your tool chain's",
    "compile": "build dist/main.wasm anew; if it stays so, try another version of its tool chain",
    "limit": "",  # Which one to raise stands in the reason.
    "link": "build it for the world `alga:extension/runner`, which names all that it may import",
    "signature": "export `handler: func(request: execute-request) -> execute-response`",
    "instantiate": "look at what it does while it is being set up, before it is called",
}
"""Kind of failure → what its author can do."""
_LONGEST: Final = 300


def asked_of(warming: PrewarmRequest) -> bytes:
    """The body of the request."""
    fields = {
        "tenant": warming.tenant_id,
        "extension": warming.registry_id,
        "content_hash": warming.content_hash,
    }
    return json.dumps(fields).encode()


def judge_warmth(place: str, reply: Reply) -> ProbeResult | BrokenHandler:
    """Read the reply of the runner at `place`."""
    fields = reply.fields()
    code, last = fields.get("code"), f"{place} answered {reply.status}"
    if isinstance(code, str):
        last += f" {code[:80]}"
    match reply.status, code:
        case 422, "execute_failed":
            return _broken(fields, last)
        case 200 | 400 | 404 | 405 | 422, _:
            return Yes()
        case _, "archive_hash_mismatch":
            return Never(last, OTHER_BYTES)
        case _:
            return NotYet(last)


def _broken(fields: Mapping[str, object], last: str) -> NotYet | BrokenHandler:
    failure = fields.get("failure")
    told: Mapping[str, object] = failure if isinstance(failure, dict) else {}
    if told.get("kind") == "host":  # The runner's own fault, which may pass.
        return NotYet(f"{last}: {_line(told.get('reason'))}")
    causes = told.get("causes")
    said = str(fields.get("error", "")).removeprefix("execute_failed: ")
    reason = _line(told.get("reason") or said)
    return BrokenHandler(
        reason=reason,
        hint=_MENDING.get(str(told.get("kind")), "") or _raising(reason),
        causes=tuple(_line(cause) for cause in causes) if isinstance(causes, list) else (),
    )


def _raising(reason: str) -> str:
    """How to raise the limit that was met; how to build it anew for what is not known."""
    found = re.search(r"\((RUNNER_COMPILE_\w+)\)", reason)
    if found is None:
        return _MENDING["compile"]
    more = "" if "MEMORY" in found[1] else "raise `ready_timeout` in the spec, or "
    return f"the component may be fine: {more}set a higher {found[1]} under `runner.environment`"


def _line(said: object) -> str:
    return " ".join(str(said).split())[:_LONGEST]
