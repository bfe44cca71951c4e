"""Handlers as the field builds them, through the whole service: each tool chain once."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.guests import built
from tests.guests.native import put_native_code

from .archives import EXTENSION, TENANT, Bundle, bundle
from .conftest import Start
from .peers import Files
from .service import Service

ROUTING = {"x-alga-tenant": TENANT, "x-alga-extension": EXTENSION}
CONTEXT = {"calls": [{"fn": "context.get-context", "args": []}]}


class Handlers:
    """Any guest, behind one runner."""

    def __init__(
        self, service: Service, files: Files, granted: Sequence[str] = ("cap:secrets.get",)
    ) -> None:
        self.service, self._files, self._granted = service, files, granted
        self.headers: Mapping[str, str] = {}
        """Of the last answer."""

    def call(self, guest: str, path: str = "/", body: object = None, **headers: str) -> Any:
        component = built(guest)
        put_native_code(self.service.cache_root, component)
        made = bundle({"dist/main.wasm": component.read_bytes()}, note=guest)
        return self.call_bundle(made, path, body, 20_000, **headers)

    def call_bundle(
        self,
        made: Bundle,
        path: str = "/",
        body: object = None,
        timeout_ms: int = 20_000,
        **headers: str,
    ) -> Any:
        self._files.objects[made.key] = made.archive
        content = None if body is None else base64.b64encode(json.dumps(body).encode()).decode()
        call = {
            "context": {
                "request_id": "r-1",
                "tenant_id": TENANT,
                "extension_id": EXTENSION,
                "install_id": "i-1",
                "content_hash": made.digest.prefixed,
            },
            "http": {
                "method": "GET" if body is None else "POST",
                "path": path,
                "headers": headers,
                "body_b64": content,
            },
            "limits": {"timeout_ms": timeout_ms},
            "providers": list(self._granted),
        }
        answer = self.service.post("/v1/execute", call, ROUTING)
        assert answer.status == 200
        self.headers = answer.headers
        return answer.json


@pytest.fixture
def handlers(reuse: Start, files: Files) -> Handlers:
    return Handlers(reuse(), files)


def _text(outcome: Any) -> str:
    return base64.b64decode(outcome["body_b64"]).decode()


def test_written_by_hand(handlers: Handlers) -> None:
    assert _text(handlers.call("minimal")) == "minimal"


@pytest.mark.parametrize("guest", ["script", "everything-js", "plain-js"])
def test_compiled_from_rust_and_from_javascript(handlers: Handlers, guest: str) -> None:
    outcome = handlers.call(guest, body=CONTEXT)
    assert outcome["error"] is None, outcome
    (result,) = json.loads(_text(outcome))["results"]
    assert result["ok"]["tenant_id"] == TENANT
    assert result["ok"]["install_id"] == "i-1"


@pytest.mark.parametrize("guest", ["everything-js", "plain-js"])
def test_a_typical_call_of_javascript(handlers: Handlers, guest: str) -> None:
    outcome = handlers.call(guest, "/typical")
    assert outcome["status"] == 200, outcome
    text = json.loads(_text(outcome))
    assert (text["tenant"], text["secret"], text["storage"]) == (TENANT, "missing", "denied")


@pytest.mark.parametrize("guest", ["python", "python-stub"])
def test_compiled_from_python(handlers: Handlers, guest: str) -> None:
    outcome = handlers.call(guest, "/x", CONTEXT)
    assert outcome["error"] is None, outcome
    assert outcome["status"] == 200


def test_http_of_javascript_itself_is_refused(handlers: Handlers) -> None:
    headers = {"x-fetch-url": "http://127.0.0.1:9/"}
    outcome = handlers.call("fetch-js", "/", **headers)
    assert outcome["error"].startswith("execute_failed: "), outcome
    assert outcome["failure"]["kind"] == "refused"
    assert "EXT_EGRESS_ALLOWLIST" in outcome["failure"]["reason"]


@pytest.mark.parametrize(
    ("sample", "path"), [("sample-capabilities", "/report"), ("sample-notes", "/notes")]
)
def test_the_samples_answer(handlers: Handlers, sample: str, path: str) -> None:
    outcome = handlers.call(sample, path)
    assert outcome["error"] is None, outcome
    json.loads(_text(outcome))
