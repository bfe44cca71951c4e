"""Calling handlers: `POST /v1/execute` with names that no other case has."""

from __future__ import annotations

import copy
import json
import uuid
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.runner.archives import Bundle

from .asking import Outcome, Runner
from .peers import Peers
from .stub import Reply

ALL = (
    "cap:context.read",
    "cap:secrets.get",
    "cap:http.fetch",
    "cap:storage.kv",
    "cap:log.emit",
    "cap:ui.proxy",
    "cap:user.read",
    "cap:scheduler.manage",
    "cap:invoice.manual.create",
    "cap:client.read",
    "cap:service.read",
)
DEFAULTS = ("cap:context.read", "cap:log.emit", "cap:user.read")
USER = {
    "user_id": "u-1",
    "user_email": "u@example.test",
    "user_name": "Uma",
    "user_type": "internal",
    "client_name": "Client & Co",
    "client_id": "c-1",
    "additional_fields": {"zeta": "1", "alpha": "2", "Beta": "3"},
}
Json = dict[str, Any]


def do(function: str, *arguments: object) -> Json:
    """One call of the guest's, in the language of `script`."""
    return {"fn": function, "args": list(arguments)}


def envelope(secrets: Mapping[str, object] | str, **more: object) -> Json:
    """Secrets in the clear, as the algorithm `inline/base64` has them; a string is taken as is."""
    text = secrets if isinstance(secrets, str) else b64(json.dumps(secrets))
    return {"ciphertext_b64": text, **more}


def b64(content: bytes | str) -> str:
    return b64encode(content.encode() if isinstance(content, str) else content).decode()


def snake(fields: Json) -> Json:
    """The same with its names in snake_case."""
    return {
        "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name): value
        for name, value in fields.items()
    }


def merged(fields: Json, changes: Mapping[str, object]) -> Json:
    """A copy with values set at dotted places; `...` takes a place away."""
    made = copy.deepcopy(fields)
    for place, value in changes.items():
        *parents, last = place.split(".")
        where = made
        for parent in parents:
            where = where[parent]
        if value is ...:
            where.pop(last, None)
        else:
            where[last] = value
    return made


@dataclass(frozen=True, slots=True)
class Caller:
    """One handler, one tenant, one installation."""

    runner: Runner
    peers: Peers
    bundle: Bundle
    tenant: str
    extension: str
    install: str
    request_id: str

    @classmethod
    def fresh(cls, runner: Runner, peers: Peers, bundle: Bundle) -> Caller:
        """New names, upper case included; the store holds the bundle for them."""
        name = uuid.uuid4().hex[:12]
        peers.store.on(bundle.digest.hex, Reply(body=bundle.archive))
        return cls(
            runner, peers, bundle, f"Tenant-{name}", f"Ext-{name}", f"inst-{name}", f"r-{name}"
        )

    def of(self, bundle: Bundle) -> Caller:
        """The same names for another handler."""
        self.peers.store.on(bundle.digest.hex, Reply(body=bundle.archive))
        return replace(self, bundle=bundle)

    @property
    def routing(self) -> dict[str, str]:
        return {"x-alga-tenant": self.tenant, "x-alga-extension": self.extension}

    @property
    def fields(self) -> Json:
        """A request that any runner takes."""
        return {
            "context": {
                "request_id": self.request_id,
                "tenant_id": self.tenant,
                "extension_id": self.extension,
                "install_id": self.install,
                "version_id": "v-1",
                "content_hash": self.bundle.digest.prefixed,
                "config": {},
            },
            "http": {"method": "POST", "path": "/run", "query": {}, "headers": {}},
            "limits": {"timeout_ms": 20_000, "memory_mb": 64},
            "providers": list(ALL),
        }

    def send(
        self,
        script: object = None,
        changes: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Call the handler; `changes` are made to the request, by dotted places."""
        fields = self.fields
        if script is not None:
            fields["http"]["body_b64"] = b64(json.dumps(script))
        answer = self.runner.post(
            "/v1/execute", merged(fields, changes or {}), {**self.routing, **(headers or {})}
        )
        assert answer.status == 200, answer
        return Outcome(answer.json)

    def does(self, *calls: Json, **changes: object) -> list[Any]:
        """Have the guest make these calls; what each gave: `{"ok": …}` or `{"err": …}`.

        Changes to the request are given by places, with `__` for the dot.
        """
        dotted = {place.replace("__", "."): value for place, value in changes.items()}
        outcome = self.send({"calls": list(calls)}, dotted)
        assert outcome.status == 200, outcome.fields
        results: list[Any] = outcome.json["results"]
        assert len(results) == len(calls), outcome.json
        return results

    def gets(self, call: Json, **changes: object) -> Any:
        """What one call gave."""
        return self.does(call, **changes)[0]

    def key(self, prefix: str = "ext-debug:") -> str:
        """The debug stream's key of this tenant and extension."""
        return f"{prefix}{self.tenant.lower()}:{self.extension.lower()}"
