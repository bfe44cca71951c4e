"""The gateway and its own description: any request is answered as described."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from jsonschema.validators import Draft202012Validator
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route

from algaenv.gateway.apis.invoicing import InvalidFields, parse_invoice
from algaenv.gateway.apis.storage import requests
from algaenv.gateway.app import PrefixRoute, create_app
from algaenv.gateway.openapi import build_document
from algaenv.gateway.openapi.components import MAX_DESCRIPTION, MAX_LENGTHS, MAX_PO_NUMBER
from algaenv.gateway.settings import GatewayConfig
from tests.drivers.alga import OZ
from tests.gateway.gateway_process import AUTH_KEY, TOKEN, Gateway
from tests.gateway.seed import Extension, install
from tests.gateway.stub_runner import StubRunner, envelope
from tests.servers import Database

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

from schemathesis import Case, GenerationMode  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

DOCUMENT = build_document()
ENDLESS = "events"
"""Its 200 does not end."""
QUICK = {
    "proxy-post",
    "runner-get",
    "internal-scheduler",
    "lookup-by-host",
    "page-msp",
    "storage-form",
    "schedules",
}
"""One operation of each group; `make test-slow` has the others."""
CAPABILITIES = (
    "cap:storage.kv",
    "cap:client.read",
    "cap:service.read",
    "cap:invoice.manual.create",
)
CONFORMING = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
OPERATIONS = [
    (path, method, operation["operationId"])
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
]


# The document itself


def test_it_is_openapi(service: Gateway) -> None:
    answer = service.call("/algaenv/openapi.json")
    assert answer.status == 200
    assert answer.json == json.loads(json.dumps(DOCUMENT))
    schemathesis.openapi.from_dict(DOCUMENT).validate()
    for name, schema in DOCUMENT["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert name[0].isupper()


def test_every_reference_leads_somewhere() -> None:
    found = set(re.findall(r'"#/components/(\w+)/([^"]+)"', json.dumps(DOCUMENT)))
    components = DOCUMENT["components"]
    assert len(found) > 20
    assert {(kind, name) for kind, name in found if name not in components[kind]} == set()
    used = {name for kind, name in found if kind == "schemas"}
    assert set(components["schemas"]) == used


def test_operations_have_names_of_their_own() -> None:
    names = [name for _, _, name in OPERATIONS]
    assert len(set(names)) == len(names) > 30


def test_it_has_every_route_and_no_other() -> None:
    application: Any = create_app(
        GatewayConfig.read({"DATABASE_URL": "postgresql://h/d", "TENANT_ID": OZ})
    )
    while not isinstance(application, Starlette):
        application = vars(application)["_app"]
    served = {path: methods for route in application.routes for path, methods in routed(route)}
    listed: dict[str, set[str]] = {}
    for path, method, _ in OPERATIONS:
        listed.setdefault(path, set()).add(method.upper())
    assert served == {path: served[path] and methods for path, methods in listed.items()}


def routed(route: BaseRoute) -> Iterator[tuple[str, set[str]]]:
    """The path as the document spells it, with its methods; none for an application."""
    if isinstance(route, Mount):
        yield f"{route.path}/{{file}}", {"GET"}
        return
    if isinstance(route, PrefixRoute):
        named = "{path}" if route.prefix == "/runner/" else "{extension}/{path}"
        yield route.prefix + named, set(route.methods or ())
        return
    assert isinstance(route, Route)
    yield route.path, set(route.methods or ()) - {"HEAD"}


@pytest.mark.parametrize("name", MAX_LENGTHS)
def test_lengths_are_those_of_the_models(name: str) -> None:
    model: type[BaseModel] = requests.ListRequest if name == "keyPrefix" else requests.PutRequest
    fields = {"operation": "put", "namespace": "n", "key": "k"}
    model.model_validate({**fields, name: "x" * MAX_LENGTHS[name]})
    with pytest.raises(ValidationError):
        model.model_validate({**fields, name: "x" * (MAX_LENGTHS[name] + 1)})
    if name != "keyPrefix":
        with pytest.raises(ValidationError):
            model.model_validate({**fields, name: ""})


@pytest.mark.parametrize(
    ("field", "most"),
    [("items[0].description", MAX_DESCRIPTION), ("poNumber", MAX_PO_NUMBER)],
)
def test_lengths_are_those_of_invoices(field: str, most: int) -> None:
    def complaints(length: int) -> set[str]:
        text = "x" * length
        with pytest.raises(InvalidFields) as caught:
            parse_invoice({"poNumber": text, "items": [{"description": text}]})
        return set(caught.value.errors)

    assert field not in complaints(most)
    assert field in complaints(most + 1)


# The gateway


@dataclass(frozen=True, slots=True)
class There:
    """What calls can find, one extension after the other: the changes of one are counted."""

    extensions: Iterator[Extension]
    schedule: str
    client: str
    service: str
    call: str
    """Its request id."""


@pytest.fixture
def there(
    service: Gateway, tables: Database, runner: StubRunner, monkeypatch: pytest.MonkeyPatch
) -> There:
    """Everything that a call may name."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    runner.respond_with(envelope(200, b"{}", {"content-type": "application/json"}))
    hooks = {"appMenu": {"label": "a"}, "clientPortalMenu": {"label": "b"}}
    run = secrets.token_hex(4)  # the gateway counts changes longer than a test lasts
    made = [
        install(
            tables,
            OZ,
            name=f"Described.{run}.{number}",
            capabilities=CAPABILITIES,
            hooks=hooks,
            domain=f"described-{number}.example",
            endpoints=[(method, "/hello") for method in ("GET", "POST", "PUT", "PATCH", "DELETE")],
        )
        for number in range(20)
    ]

    def api(name: str, operation: str, **fields: object) -> Any:
        response = service.post(
            f"/api/internal/ext-{name}/install/{made[-1].install}",
            {"operation": operation, **fields},
            {"x-runner-auth": TOKEN},
        )
        assert response.status < 300, response
        return response.json

    called = service.call(f"/api/ext-proxy/{made[-1].registry}/hello")
    return There(
        itertools.cycle(made),
        api("scheduler", "create", endpoint="/hello", cron="0 0 1 1 *")["scheduleId"],
        api("clients", "list")["items"][0]["clientId"],
        api("services", "list")["items"][0]["serviceId"],
        called.headers["x-algaenv-request-id"],
    )


def strict() -> Any:
    """The document without "or any other answer", as the runner here always answers the same."""
    document = json.loads(json.dumps(DOCUMENT))
    for path, method, _ in OPERATIONS:
        document["paths"][path][method]["responses"].pop("default", None)
    return schemathesis.openapi.from_dict(document)


SCHEMA = strict()
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


@pytest.mark.parametrize(
    ("path", "method", "name"),
    [
        pytest.param(*each, id=each[-1], marks=() if each[-1] in QUICK else pytest.mark.slow)
        for each in OPERATIONS
        if each[-1] != ENDLESS
    ],
)
def test_it_does_what_it_says(
    *, service: Gateway, there: There, path: str, method: str, name: str
) -> None:
    operation = SCHEMA[path][method.upper()]
    seen: set[int] = set()

    @seed(0)
    @settings(
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in MODES)), st.data())
    def ask(case: Case[Any], data: st.DataObject) -> None:
        lead(case, name, there, everywhere=data.draw(st.booleans()))
        answer = case.call(
            base_url=f"http://127.0.0.1:{service.port}",
            headers={
                "authorization": f"Bearer {TOKEN}",
                "x-runner-auth": TOKEN,
                "x-api-key": AUTH_KEY,
                "accept": "*/*",
            },
            timeout=20,
            allow_redirects=False,
        )
        seen.add(answer.status_code)
        assert answer.status_code != 500 or is_the_products(case, answer), answer.text
        case.validate_response(answer, checks=CONFORMING)

    ask()
    # Neither has a Redis here.
    assert min(seen) < 400 or name in {"debug-stream", "debug-poll"}, seen


def lead(case: Case[Any], name: str, there: There, *, everywhere: bool) -> None:
    """Lead a call to an extension, and if `everywhere` to whatever else must be there."""
    extension = next(there.extensions)
    named = {
        "install_id": extension.install,
        "extension": extension.registry,
        "path": "hello",
        "file": "panel.js",
        "schedule_id": there.schedule if everywhere else case.path_parameters.get("schedule_id"),
    }
    for parameter in case.path_parameters.keys() & named.keys():
        case.path_parameters[parameter] = named[parameter]
    if not everywhere:
        return
    if name == "call-page":
        case.path_parameters["call"] = there.call
    if name == "storage-form":
        case.query["extension"] = extension.registry
        case.body = {"action": "put", "namespace": "n", "key": "k", "value": "1"}
    if name == "lookup-by-host":
        case.query["host"] = "described-1.example"
    if name == "internal-install-config" and isinstance(case.body, dict):
        case.body.update(tenantId=OZ, extensionId=extension.slug)
    if name == "internal-invoicing":
        item: Any = {"serviceId": there.service, "quantity": 1.5, "description": "d", "rate": 250}
        case.body = {"operation": "createManualInvoice", "clientId": there.client, "items": [item]}


def is_the_products(case: Case[Any], answer: Any) -> bool:
    """The 500s that the product has too: no JSON, no text for a database, searching clients."""
    response = answer.json()
    if response.get("code") != "INTERNAL_ERROR" and response != {"error": "internal_error"}:
        return False
    if isinstance(case.body, bytes):
        return True
    search = answer.headers.get("x-algaenv-product-fault") == ["clients-search"]
    return search or re.search(r"\\u0000|\\ud[89a-f]", json.dumps(case.body)) is not None


def test_the_stream_that_does_not_end(service: Gateway) -> None:
    ((path, _, _),) = [each for each in OPERATIONS if each[-1] == ENDLESS]
    (kind,) = DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"]
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)) as link:
        link.request("GET", path)
        answer = link.getresponse()
        assert answer.status == 200
        assert (answer.getheader("content-type") or "").startswith(kind)
