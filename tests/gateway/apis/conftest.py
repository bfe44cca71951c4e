"""Two gateways before one database: as the product is, and with every fault mended."""

from __future__ import annotations

import http.client
import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from algaenv.gateway.quirks import QUIRKS
from tests.drivers.alga import OZ, migrate, tenant
from tests.gateway.gateway_process import AUTH_KEY, TOKEN, Answer, Gateway, gateway, settings_file
from tests.gateway.seed import Extension, install
from tests.gateway.stub_runner import StubRunner, start_stub_runner
from tests.servers import Database, Postgres, new_database

CAPABILITIES = (
    "cap:storage.kv",
    "cap:client.read",
    "cap:service.read",
    "cap:invoice.manual.create",
)


@dataclass(frozen=True, slots=True)
class Gateways:
    """What a module's tests share; every test installs an extension of its own."""

    database: Database
    runner: StubRunner
    faithful: Gateway
    fixed: Gateway
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def install(self, **more: Any) -> Extension:
        fields = {"capabilities": CAPABILITIES, "name": f"Test.{next(self.numbers)}", **more}
        return install(self.database, OZ, **fields)


@dataclass(frozen=True, slots=True)
class Api:
    """One internal API of one install."""

    gateway: Gateway
    name: str
    install: str

    def __call__(self, body: object, *, token: str | None = TOKEN) -> Answer:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        shown = {} if token is None else {"x-runner-auth": token}
        return self.gateway.ask(
            f"/api/internal/ext-{self.name}/install/{self.install}",
            {"content-type": "application/json", **shown},
            method="POST",
            body=text,
        )

    def ok(self, operation: str, **fields: object) -> Any:
        answer = self({"operation": operation, **fields})
        assert answer.status in {200, 201}, answer
        return answer.json

    def fault(self, operation: str, **fields: object) -> str | None:
        """The fault of the product that an answer announces."""
        answer = self({"operation": operation, **fields})
        return answer.headers.get("x-algaenv-product-fault")


def find_event(gateway: Gateway, extension: Extension, kind: str) -> Any:
    """The first published event of this type about an extension."""
    with closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)) as link:
        link.request("GET", f"/algaenv/events?extension={extension.registry}")
        answer = link.getresponse()
        while line := answer.readline():
            if line.startswith(b"data:"):
                event = json.loads(line.removeprefix(b"data:"))
                if event["type"] == kind and event["extension"] == extension.registry:
                    return event
    raise AssertionError("the stream ended")


@pytest.fixture(scope="module")
def gateways(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    folder = tmp_path_factory.mktemp("settings")
    with ExitStack() as stack:
        database = stack.enter_context(new_database(postgres, shared=True))
        migrate(database)
        tenant(database, "Oz", OZ)
        runner = stack.enter_context(start_stub_runner())
        env = {
            "DATABASE_URL": database.url,
            "TENANT_ID": OZ,
            "RUNNER_BASE_URL": runner.url,
            "RUNNER_STORAGE_API_TOKEN": TOKEN,
            "RUNNER_SERVICE_TOKEN": "service-token",
            "ALGA_AUTH_KEY": AUTH_KEY,
        }
        mended: Mapping[str, object] = {"faults_fixed": [fault.name for fault in QUIRKS]}
        faithful = stack.enter_context(gateway(env))
        fixed = stack.enter_context(
            gateway({**env, "GATEWAY_SETTINGS": settings_file(folder, mended)})
        )
        yield Gateways(database, runner, faithful, fixed)


@pytest.fixture
def extension(gateways: Gateways) -> Extension:
    return gateways.install()
