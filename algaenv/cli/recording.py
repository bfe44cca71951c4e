"""Recordings of calls: written by `call --record`, put again by `replay`."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from algaenv.cli.gateway_client import TRACE, handler_path
from algaenv.cli.parser import UsageError

if TYPE_CHECKING:
    from algaenv.cli.gateway_client import GatewayRequest, GatewayResponse
    from algaenv.model.resource import Json
    from algaenv.model.secret_mask import SecretMask
    from algaenv.model.status import ExtensionEndpoint

FORMAT: Final = 1
_MARK: Final = b'"algaenv_recording"'
_HEAD_BYTES: Final = 200
COOKIES: Final = "set-cookie"


def check_target(path: Path) -> None:
    """Raise UsageError unless a recording may be written there: over nothing, or over another."""
    hint = "name a new file, or one of an earlier recording"
    try:
        with path.open("rb") as file:
            if _MARK not in file.read(_HEAD_BYTES):
                raise UsageError(f"cannot record into {path}: it holds something else", hint)
    except FileNotFoundError:
        if not path.absolute().parent.is_dir():
            raise UsageError(
                f"cannot record into {path}: there is no such directory", "make it first"
            ) from None
    except OSError as error:
        raise UsageError(f"cannot record into {path}: {error.strerror}", hint) from None


def write_recording(
    path: Path,
    called: tuple[str, ExtensionEndpoint],
    request: GatewayRequest,
    response: GatewayResponse,
    mask: SecretMask,
) -> None:
    """Write a call and its answer, with mode 0600 and with `***` in place of secrets.

    `called` is the extension as it was named, with its endpoint. Raises UsageError when the file
    cannot be written.
    """
    from algaenv.cli.output.escape import escape_json
    from algaenv.system.files import write_atomic

    extension, endpoint = called
    sent = {"method": request.method, "path": handler_path(request.path), "user": request.user}
    document: dict[str, Json] = {
        "algaenv_recording": FORMAT,
        "recorded": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "extension": extension,
        "registry_id": endpoint.extension,
        "manifest_version": endpoint.version,
        "content_hash": endpoint.content_hash,
        "request": mask.json({**sent, **_body(request.body, mask)}),
        "answer": mask.json(
            {
                "status": response.status,
                "ms": response.ms,
                "headers": answer_headers(response.headers),
                **_body(response.body, mask),
            }
        ),
    }
    document["masked"] = bool(
        mask.json(sent) != sent or (request.body and mask.bytes(request.body) != request.body)
    )
    content = escape_json(json.dumps(document, indent=2, ensure_ascii=False)) + "\n"
    try:
        write_atomic(path, content.encode())
    except OSError as error:
        raise UsageError(
            f"cannot record into {path}: {error.strerror}", "name another file"
        ) from None


def answer_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of an answer that are kept; of cookies only the names, as the rest may open a session.

    What our gateway tells of the call itself belongs to that call only.
    """
    kept = {name: value for name, value in headers.items() if name != TRACE}
    if COOKIES in kept:
        names = (line.partition("=")[0].strip() for line in kept[COOKIES].split("\n"))
        kept[COOKIES] = "\n".join(f"{name}=***" for name in names)
    return kept


def _body(content: bytes | None, mask: SecretMask) -> dict[str, Json]:
    """As text where it is UTF-8, so that it can be read; else in base64."""
    if content is None:
        return {"body": None}
    content = mask.bytes(content)
    try:
        return {"body": content.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(content).decode()}
