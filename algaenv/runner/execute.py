"""`POST /v1/execute` and `POST /warmup`: requests are read, handlers are not run yet.

The outcome of a call is the `status` inside the answer. The HTTP status is 200 even then, since
the gateway takes any other for a runner that is broken.
"""

from __future__ import annotations

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from algaenv.runner.answers import document, text
from algaenv.runner.body import Refusal, parse, read_json
from algaenv.runner.headers import header
from algaenv.runner.journal import LINE, Line


async def execute(request: Request) -> Response:
    """Check the request, and say that this build runs no handlers."""
    try:
        body = await read_json(request)
        await to_thread.run_sync(_read_call, body)
    except Refusal as refusal:
        return text(refusal.status, refusal.message)
    line: Line = request.scope[LINE]
    line.tenant = header(request.scope, b"x-alga-tenant")
    line.extension = header(request.scope, b"x-alga-extension")
    if not (line.tenant and line.extension):
        return _envelope(400, "missing_routing_headers")
    return _envelope(501, "execute_unsupported: this runner build serves UIs only")


async def warmup(request: Request) -> Response:
    """Refuse every request, as Alga's runner does: nothing says whose bundle to warm up."""
    try:
        body = await read_json(request)
        await to_thread.run_sync(_read_warmup, body)
    except Refusal as refusal:
        return text(refusal.status, refusal.message)
    return text(400, "warmup unsupported without tenant + extension context")


def _envelope(status: int, error: str) -> Response:
    return document(200, {"status": status, "headers": {}, "body_b64": None, "error": error})


def _read_call(body: bytes) -> None:
    from algaenv.runner.call import Call

    parse(Call, body)


def _read_warmup(body: bytes) -> None:
    from algaenv.runner.call import Warmup

    parse(Warmup, body)
