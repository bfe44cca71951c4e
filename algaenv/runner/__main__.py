"""The command `algaenv-runner`: starts the service, or checks the health of a running one."""

from __future__ import annotations

import argparse
import http.client
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from algaenv import __version__
from algaenv.runner.settings import (
    DEFAULT_PORT,
    InvalidSettings,
    Settings,
    read_secrets,
)

_NEEDED = ("starlette", "uvicorn", "httpx", "anyio")
_EVERYWHERE = frozenset(("", "0.0.0.0", "::"))  # noqa: S104 - compared with, not bound
_OK = 200


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    wanted = _parser().parse_args(argv)
    if wanted.healthcheck:
        return healthcheck(os.environ)
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        return _fail(
            f"cannot start the runner without {', '.join(missing)}: pip install 'algaenv[runner]'"
        )
    from algaenv.runner.serve import CannotListen, serve

    try:
        os.environ.update(read_secrets(os.environ))
        serve(Settings.read(os.environ))
    except (InvalidSettings, CannotListen) as problem:
        return _fail(str(problem))
    return 0


def healthcheck(env: Mapping[str, str]) -> int:
    """Ask the runner of this machine for `/healthz`; 0 when it is well, for container engines."""
    host = env.get("HOST", "")
    port = env.get("PORT", "")
    connection = http.client.HTTPConnection(
        "127.0.0.1" if host in _EVERYWHERE else host,
        int(port) if port.isdigit() else DEFAULT_PORT,
        timeout=5,
    )
    try:
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        body = response.read(4096).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return _fail(f"no answer: {error}")
    finally:
        connection.close()
    return 0 if response.status == _OK else _fail(f"unwell: {response.status} {body}")


def _fail(message: str) -> int:
    sys.stderr.write(f"Error: {message}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="algaenv-runner",
        description="Serve Alga PSA extension bundles over HTTP.",
        epilog="Settings come from the environment: ALGA_AUTH_KEY, REGISTRY_BASE_URL, "
        "BUNDLE_STORE_BASE, S3_ACCESS_KEY, S3_SECRET_KEY, EXT_CACHE_ROOT, PORT and others.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "--healthcheck",
        action="store_true",
        help="ask the runner on PORT of this machine whether it is well, and exit with 0 or 1",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
