"""A gateway in front of a database and of a stub of the runner."""

from __future__ import annotations

import json
import threading
import uuid
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from algaenv.bundle.digest import Digest
from algaenv.gateway.events import EventBus
from algaenv.gateway.settings import GatewayConfig
from tests.drivers import alga
from tests.runner.observability.fake_redis import Server
from tests.servers import Database, free_port

ROOT = Path(__file__).parents[3]
KEEP_ALIVE_SECONDS = 75
"""As long as the runner keeps an idle connection: longer than the gateway uses one."""
EXTENSIONS = Path(__file__).parent / "extensions"
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'"
)
KINDS = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css"}
TOKEN = "storage-token"
CLIENT = {"clientId": "3f0c1c52-5d0e-4b53-9a53-6f1f7a9b2c10", "clientName": "Emerald City"}
SERVICE = {"serviceId": "8b9a1de4-27c3-4d0a-8f5e-02a4c6d1e7f3", "serviceName": "Polishing"}
MARKUP = '<img src="x" onerror="document.title = 1">'


@dataclass(frozen=True, slots=True)
class Extension:
    """What is installed; `ui` is the folder of its page."""

    name: str
    ui: Path | None
    app_menu: str | None = None
    client_portal_menu: str | None = None
    endpoints: tuple[str, ...] = ()
    publisher: str = "algaenv"
    status: str = "enabled"
    bundled: bool = True

    @property
    def registry_id(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.publisher}/{self.name}"))

    def install_id(self, tenant: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{tenant}/{self.publisher}/{self.name}"))

    @property
    def digest(self) -> Digest:
        return Digest.of(self.name.encode())

    def row(self) -> str:
        labels = {"appMenu": self.app_menu, "clientPortalMenu": self.client_portal_menu}
        hooks = {menu: {"label": label} for menu, label in labels.items() if label}
        return json.dumps({"type": "iframe", "entry": "ui/index.html", "hooks": hooks})


HELLO = Extension("hello", ROOT / "stacks/hello-world/extension/ui", "Hello World")
NOTES = Extension(
    "notes",
    ROOT / "stacks/samples/notes/ui",
    "Notes",
    "My notes",
    ("GET /notes", "POST /notes", "DELETE /notes/:id"),
)
TROUBLE = Extension(
    "trouble", EXTENSIONS / "trouble", "Trouble", endpoints=("POST /echo", "GET /trap")
)
SILENT = Extension("silent", EXTENSIONS / "silent", "Silent")
OFF = Extension("off", None, "Switched off", status="disabled")
BARE = Extension("bare", None, bundled=False)
NASTY = Extension(f"nasty {MARKUP}", None, f"\"'>{MARKUP}", publisher=f"<b>{MARKUP}</b>")
SERVED = Extension("served", None, "From a server", endpoints=("POST /echo",))
ALL = (HELLO, NOTES, TROUBLE, SILENT, OFF, BARE, NASTY, SERVED)


@dataclass(slots=True)
class Runner:
    """Serves pages and answers calls, and remembers them."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, str]] = field(default_factory=list)
    bundles: dict[tuple[str, str], Path] = field(default_factory=dict)
    """Registry id and prefixed digest → `ui` of a bundle beside those of `ALL`."""

    def application(self) -> ASGIApp:
        return Starlette(
            routes=[
                Route("/ext-ui/{extension}/{content}/{tail:path}", self._page),
                Route("/v1/execute", self._execute, methods=["POST"]),
            ]
        )

    async def _page(self, request: Request) -> Response:
        asked = request.path_params
        if published := self.bundles.get((asked["extension"], asked["content"])):
            return _file(published, asked["tail"])
        for it in ALL:
            if it.registry_id == asked["extension"] and it.digest.prefixed == asked["content"]:
                return _file(it.ui, asked["tail"])
        return JSONResponse({"error": "not here"}, 404)

    async def _execute(self, request: Request) -> Response:
        call = await request.json()
        self.calls.append(call)
        http = call["http"]
        body = b64decode(http.get("body_b64") or "")
        match (http["method"], http["path"]):
            case ("POST", "/notes"):
                note = json.loads(body)
                author = call["user"]["user_name"]
                self.notes.append(
                    {"id": "1", "text": note["text"], "at": note["at"]} | {"author": author}
                )
                return _answered(json.dumps(self.notes).encode())
            case ("GET", "/notes"):
                return _answered(json.dumps(self.notes).encode())
            case (_, "/trap"):
                failure = {
                    "kind": "trap",
                    "reason": "unreachable was reached",
                    "causes": [],
                    "stderr": ["about to give up"],
                }
                error = "execute_failed: the handler gave up"
                return JSONResponse(
                    {"status": 500, "headers": {}, "error": error} | {"failure": failure}
                )
            case _:
                return _answered(body)


def _answered(body: bytes) -> Response:
    return JSONResponse({"status": 200, "headers": {}, "body_b64": b64encode(body).decode()})


def _file(folder: Path | None, tail: str) -> Response:
    file = folder / tail if folder else None
    if file is None or not file.is_file():
        return JSONResponse({"error": "not in the bundle"}, 404)
    headers = {
        "content-type": KINDS[file.suffix],
        "cache-control": "public, max-age=31536000, immutable",
        "x-content-type-options": "nosniff",
    }
    if file.suffix == ".html":
        headers["content-security-policy"] = POLICY
    return Response(file.read_bytes(), headers=headers)


@dataclass(frozen=True, slots=True)
class Site:
    """All of it, running."""

    port: int
    tenant: str
    runner: Runner
    variables: Mapping[str, str]
    redis: Server | None
    """Where runners write what guests log; None where no server is installed."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def page(self, extension: Extension, portal: str = "msp", query: str = "") -> str:
        return f"{self.url}/{portal}/extensions/{extension.registry_id}{query}"


@contextmanager
def start_site(database: Database, settings: Path, redis: Server | None) -> Iterator[Site]:
    """A tenant with every extension, a runner, a server for development, and the gateway."""
    from algaenv.gateway.app import create_app

    alga.migrate(database)
    tenant = alga.tenant(database, "Example")
    for extension in ALL:
        _install(database, tenant, extension)
    runner = Runner()
    events = EventBus()

    async def served(request: Request) -> Response:
        return _file(EXTENSIONS / "trouble", request.path_params["tail"] or "index.html")

    with (
        serving(runner.application()) as behind,
        serving(Starlette(routes=[Route("/{tail:path}", served)])) as vite,
    ):
        extensions = {SERVED.registry_id: {"ui_dev_server": f"http://127.0.0.1:{vite}"}}
        made = {"extensions": extensions, "clients": [CLIENT], "services": [SERVICE]}
        settings.write_text(json.dumps(made))
        settings.chmod(0o600)
        variables = {
            "DATABASE_URL": database.url,
            "TENANT_ID": tenant,
            "RUNNER_BASE_URL": f"http://127.0.0.1:{behind}",
            "RUNNER_STORAGE_API_TOKEN": TOKEN,
            "GATEWAY_SETTINGS": str(settings),
            "RUNNER_DEBUG_REDIS_URL": redis.url if redis else "",
        }
        with serving(create_app(GatewayConfig.read(variables), events), events) as port:
            yield Site(port, tenant, runner, variables, redis)


def _install(database: Database, tenant: str, extension: Extension) -> None:
    alga.install(
        database,
        tenant,
        publisher=extension.publisher,
        name=extension.name,
        digest=extension.digest.prefixed,
    )
    declared = [
        dict(zip(("method", "path"), it.split(), strict=True), handler="dist/main")
        for it in extension.endpoints
    ]
    database.sql(
        "UPDATE extension_version SET ui = %s, api_endpoints = %s WHERE registry_id = %s",
        extension.row() if extension.app_menu else None,
        json.dumps(declared),
        extension.registry_id,
    )
    database.sql(
        "UPDATE tenant_extension_install SET status = %s, is_enabled = %s, granted_caps ="
        " '[\"cap:invoice.manual.create\"]' WHERE registry_id = %s",
        extension.status,
        extension.status == "enabled",
        extension.registry_id,
    )
    if not extension.bundled:
        database.sql(
            "DELETE FROM extension_bundle WHERE content_hash = %s", extension.digest.prefixed
        )


@contextmanager
def serving(
    app: ASGIApp, events: EventBus | None = None, *, port: int | None = None
) -> Iterator[int]:
    """The port of an application that runs in a thread of its own; a free one if none is named."""
    port = port or free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=port,
            log_level="error",
            timeout_graceful_shutdown=2,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            thread.join(0.01)
        yield port
    finally:
        if events is not None:
            events.close()
        server.should_exit = True
        thread.join(20)
