"""`POST /warmup`: fetch, compile and load a bundle before anybody waits for it.

Alga's runner has the route and refuses every request, since a content hash alone does not say
whose bundle it is. With the tenant and the extension in the body or in the routing headers of a
call, this one does what the name says.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from algaenv.runner.answers import document, text
from algaenv.runner.body import Refusal, parse, read_json
from algaenv.runner.engine import NoEngine
from algaenv.runner.headers import header
from algaenv.runner.journal import LINE, Line
from algaenv.runner.wasm.failure import GuestFailure

if TYPE_CHECKING:
    from algaenv.runner.components import Components
    from algaenv.runner.engine import Engine
    from algaenv.runner.neighbours import Neighbours

NOBODY = "warmup unsupported without tenant + extension context"


class Warm:
    """Answers when the bundle's handler, if it has one, is ready to be called in every worker."""

    def __init__(self, components: Components, engine: Engine, neighbours: Neighbours) -> None:
        self._components = components
        self._engine = engine
        self._neighbours = neighbours

    async def answer(self, request: Request) -> Response:
        """200 with what was done, 502 where no bundle came, 422 where its handler cannot run."""
        from algaenv.runner.call import Warmup
        from algaenv.runner.components import NoBundle

        try:
            wanted = parse(Warmup, await read_json(request))
        except Refusal as refusal:
            return text(refusal.status, refusal.message)
        tenant = wanted.tenant or header(request.scope, b"x-alga-tenant")
        extension = wanted.extension or header(request.scope, b"x-alga-extension")
        if not (tenant and extension):
            return text(400, NOBODY)
        line: Line = request.scope[LINE]
        line.tenant, line.extension, line.hash = tenant, extension, wanted.content_hash
        try:
            bundle = await self._components.bundle(tenant, extension, wanted.content_hash)
        except NoBundle as reason:
            line.why = str(reason)
            return document(502, {"code": reason.code, "error": str(reason)})
        fields: dict[str, object] = {
            "status": "ready",
            "handler": bundle.component is not None,
            "bundle": "fetched" if bundle.fetched else "cached",
        }
        if bundle.component is not None:
            started = time.perf_counter()
            try:
                await self._components.guest(bundle, await self._engine.works())
                await self._neighbours.warm(bundle.digest, bundle.component)
            except NoEngine as why:
                line.why = str(why)
                code = "engine_init_failed"
                return document(500, {"code": code, "error": f"{code}: {why}"})
            except GuestFailure as failure:
                line.why = failure.reason
                return document(422, _failure(failure))
            fields["took_ms"] = round((time.perf_counter() - started) * 1000, 2)
        return document(200, fields)


def _failure(failure: GuestFailure) -> dict[str, object]:
    return {
        "code": "execute_failed",
        "error": f"execute_failed: {failure.message}",
        "failure": {
            "kind": failure.kind,
            "reason": failure.reason,
            "causes": list(failure.causes),
        },
    }
