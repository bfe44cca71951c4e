"""The floor for files: an ASGI application that does nothing but answer, on the runner's server.

    python -m benchmarks.runner.raw <port>

Any path: 50 KB with the headers of an asset; 304 when `if-none-match` is there. Same uvicorn, same
event loop, same parser, same settings as a worker of the runner.
"""

from __future__ import annotations

import sys
from typing import Any

from algaenv.runner.http_server import KEEP_ALIVE_SECONDS
from algaenv.runner.workers import BACKLOG
from benchmarks.runner.service import ASSET

_TAG = [(b"etag", b'"sha256-' + b"0" * 64 + b'"')]
_CACHED = [(b"cache-control", b"public, max-age=31536000, immutable")]
_FULL = [
    (b"content-type", b"text/javascript"),
    (b"content-length", str(len(ASSET)).encode()),
    (b"x-content-type-options", b"nosniff"),
    *_TAG,
    *_CACHED,
]


async def application(scope: Any, _receive: Any, send: Any) -> None:
    """Answer at once."""
    known = any(name == b"if-none-match" for name, _ in scope["headers"])
    status, headers, body = (304, _TAG + _CACHED, b"") if known else (200, _FULL, ASSET)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main(port: int) -> None:
    import uvicorn

    uvicorn.run(
        application,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="off",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
