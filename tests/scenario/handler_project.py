"""An extension with a handler whose component is another program: the two are told apart."""

from __future__ import annotations

import urllib.error
import urllib.request

from tests import guests
from tests.scenario.project import Project

RUNS_FROM = "x-algaenv-runs-from"
_HANDLER = """import { body } from "./body";

export function handler(request: { http: { url: string } }) {
  return { status: 200, headers: [{ name: "content-type", value: "text/plain" }], body: body() };
}
"""
_BODY = 'export const body = () => new TextEncoder().encode("ANSWER");\n'
_ENDPOINTS = [{"method": "GET", "path": "/x", "handler": "dist/main"}]
_COMMAND = """cp main.wasm dist/
printf '\\000\\015\\004note' >> dist/main.wasm
sha256sum src/body.ts | head -c 8 >> dist/main.wasm"""
"""The component gets a section with the digest of the source, so that each edit makes another."""
_STEPS = [{"name": "component", "command": _COMMAND, "outputs": ["dist/main.wasm"]}]


def add_handler(project: Project, answer: str) -> None:
    """Give `hello` a handler whose source answers so; its build is a copy, which takes no time."""
    source = project.root / "hello"
    for name in ("src", "dist"):
        (source / name).mkdir(exist_ok=True)
    (source / "main.wasm").write_bytes(guests.built("script").read_bytes())
    (source / "dist/kept").write_text("")
    (source / "src/handler.ts").write_text(_HANDLER)
    write_answer(project, answer)
    project.spec["extensions"]["hello"]["build"] = {"steps": _STEPS}
    project.extension(runtime="wasm-js@1", api={"endpoints": _ENDPOINTS})


def write_answer(project: Project, answer: str) -> None:
    """Edit the source of the handler."""
    (project.root / "hello/src/body.ts").write_text(_BODY.replace("ANSWER", answer))


def ask(project: Project, path: str, name: str = "hello") -> tuple[int, str, bool]:
    """Status and body of a call through the gateway, and whether it ran from source."""
    found = next(it for it in project.status()["extensions"] if it["name"] == name)
    try:
        with urllib.request.urlopen(found["call_url"] + path, timeout=60) as answer:
            return answer.status, answer.read().decode(), answer.headers[RUNS_FROM] == "source"
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers[RUNS_FROM] == "source"
