"""A Python guest: JSON of what it saw, and of the calls that `?call=a,b` in the URL asks for."""

# mypy: ignore-errors
# Its imports are there only while it is made a component.

import base64
import json
import os
import sys
import time
from pathlib import Path

import wit_world
from componentize_py_types import Err
from wit_world.imports import context, logging, secrets, storage, user
from wit_world.imports.types import ExecuteRequest, ExecuteResponse, HttpHeader


def _plain(value: object) -> object:
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case list():
            return [_plain(item) for item in value]
        case None | str() | int() | float():
            return value
        case _:
            return {name: _plain(field) for name, field in vars(value).items()}


CALLS = {
    "context.get-context": context.get_context,
    "secrets.get": lambda: secrets.get("ALGA_API_KEY"),
    "secrets.list-keys": secrets.list_keys,
    "storage.get": lambda: storage.get("settings", "theme"),
    "user.get-user": user.get_user,
    "logging.log-info": lambda: logging.log_info("from python"),
}


def _call(name: str) -> object:
    if name not in CALLS:
        return {"bad": f"there is no function {name}"}
    try:
        return {"ok": _plain(CALLS[name]())}
    except Err as error:
        return {"err": error.value.name.lower().replace("_", "-")}


def _files() -> list[str] | str:
    try:
        return [str(path) for path in Path("/").iterdir()]
    except OSError as error:
        return str(error)


class WitWorld(wit_world.WitWorld):
    def handler(self, request: ExecuteRequest) -> ExecuteResponse:
        path, _, asked = request.http.url.partition("?call=")
        match path:
            case "/throw":
                raise RuntimeError("as it was asked to")
            case "/loop":
                while True:
                    pass
            case "/print":
                sys.stdout.write("out of python\n")
                sys.stderr.write("wrong in python\n")
            case "/exit":
                sys.exit(3)
        details = {
            "context": _plain(request.context),
            "request": _plain(request.http),
            "results": [_call(name) for name in asked.split(",") if name],
        }
        if path == "/wasi":
            details["environment"] = dict(os.environ)
            details["files"] = _files()
            details["time"] = time.time()
        body = json.dumps(details).encode()
        return ExecuteResponse(200, [HttpHeader("content-type", "application/json")], body)
