"""The command `algaenv-gateway`: starts the service, or asks a running one how it is."""

from __future__ import annotations

import argparse
import http.client
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from algaenv import __version__
from algaenv.gateway.settings import DEFAULT_PORT, ConfigError, GatewayConfig, read_secrets

_NEEDED = ("starlette", "uvicorn", "httptools", "uvloop", "httpx", "psycopg_pool", "redis")
_EVERYWHERE = frozenset(("", "0.0.0.0", "::"))  # noqa: S104 - compared with, not bound
_OK = 200


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    wanted = _parser().parse_args(argv)
    if wanted.healthcheck:
        return healthcheck(os.environ)
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        return _fail(
            f"cannot start the gateway without {', '.join(missing)}: pip install 'algaenv[gateway]'"
        )
    try:
        config = GatewayConfig.read({**os.environ, **read_secrets(os.environ)})
    except ConfigError as problem:
        return _fail(str(problem))
    from algaenv.gateway.app import ListenError, serve
    from algaenv.gateway.settings import SettingsError

    try:
        serve(config, os.environ)
    except (SettingsError, ListenError) as problem:
        return _fail(str(problem))
    return 0


def healthcheck(env: Mapping[str, str]) -> int:
    """Request `/healthz` from the gateway of this machine; 0 when it is healthy."""
    host = env.get("HOST", "")
    port = env.get("PORT", "")
    connection = http.client.HTTPConnection(
        "127.0.0.1" if host in _EVERYWHERE else host,
        int(port) if port.isdigit() else DEFAULT_PORT,
        timeout=5,
    )
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        return _fail(f"no answer: {error}")
    finally:
        connection.close()
    return 0 if answer.status == _OK else _fail(f"unwell: {answer.status}")


def _fail(message: str) -> int:
    sys.stderr.write(f"Error: {message}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="algaenv-gateway",
        description="Stand in for the part of Alga's app server that extensions touch.",
        epilog="Settings come from the environment: DATABASE_URL, TENANT_ID, RUNNER_BASE_URL, "
        "ALGA_AUTH_KEY, RUNNER_STORAGE_API_TOKEN, GATEWAY_SETTINGS, HOST, PORT and others.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "--healthcheck",
        action="store_true",
        help="ask the gateway on PORT of this machine whether it is well, and exit with 0 or 1",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
