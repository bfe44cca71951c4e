"""The gateway as a process of its own, asked over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.forked_program import ForkedProgram
from tests.runner.service import Answer, Service

__all__ = ["Answer", "Gateway", "gateway", "settings_file"]

TOKEN = "storage-token"
AUTH_KEY = "registry-key"


class Gateway(Service):
    """A running gateway."""

    def call(
        self, path: str, body: bytes | None = None, /, *, method: str | None = None, **headers: str
    ) -> Answer:
        """Ask; header names with underscores for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask(
            path, named, method=method or ("GET" if body is None else "POST"), body=body
        )


def settings_file(folder: Path, content: object) -> str:
    """A file of settings as its owner keeps it."""
    file = folder / "settings.json"
    file.touch(0o600)
    file.write_text(json.dumps(content))
    return str(file)


@contextmanager
def gateway(env: Mapping[str, str], first: str = "") -> Iterator[Gateway]:
    """Start one, and end it. `first` is Python that runs before, to shorten time limits."""
    code = f"{first}\nimport sys\nfrom algaenv.gateway.__main__ import main\nsys.exit(main())"
    variables = {"PATH": os.defpath, "PORT": "0", "LOG_FORMAT": "json", "LOG_LEVEL": "debug", **env}
    process: subprocess.Popen[str] | ForkedProgram
    if first:
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=variables, stdout=subprocess.PIPE, text=True
        )
    else:
        process = ForkedProgram("algaenv.gateway", environment=variables, stderr=2)
    service: Gateway | None = None
    try:
        service = Gateway(process)
        yield service
    finally:
        if service is None:
            process.kill()
            process.wait()
        else:
            service.stop()
