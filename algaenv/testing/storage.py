"""The records of one extension in one tenant, as its handler has them."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode, urlsafe_b64encode
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from algaenv.testing.gateway import GatewayRefused

if TYPE_CHECKING:
    from algaenv.testing.gateway import TenantGateway

_BYTES = "base64-bytes"
"""How a record says that its value stands for bytes; handlers write all of theirs so."""
_PAGE = 100


class Storage:
    """A namespace. Values are what JSON has; a handler reads and writes them as bytes of JSON."""

    def __init__(self, gateway: TenantGateway, install: str, namespace: str) -> None:
        self._gateway = gateway
        self._path = f"/algaenv/tenants/{gateway.tenant}/storage/{install}"
        self._namespace = namespace

    def get(self, key: str) -> Any:
        """The value, bytes if the handler wrote what is no JSON. Raises KeyError without one."""
        try:
            return _decoded(self._ask("get", key=key))
        except GatewayRefused as error:
            if error.status == HTTPStatus.NOT_FOUND:
                raise KeyError(key) from None
            raise

    def put(self, key: str, value: Any) -> None:
        """Write a value, or bytes. Limits and schemas of the product apply: GatewayRefused."""
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        encoded = b64encode(content).decode()
        self._ask("put", key=key, value=encoded, metadata={"encoding": _BYTES})

    def delete(self, key: str) -> None:
        """Delete a record. Raises KeyError without one."""
        try:
            self._ask("delete", key=key)
        except GatewayRefused as error:
            if error.status == HTTPStatus.NOT_FOUND:
                raise KeyError(key) from None
            raise

    def list(self, prefix: str = "") -> dict[str, Any]:
        """Key → value of all records whose keys begin so, by key."""
        found: dict[str, Any] = {}
        more: dict[str, object] = {}
        while True:
            page = self._ask(
                "list",
                keyPrefix=prefix,
                limit=_PAGE,
                includeValues=True,
                includeMetadata=True,
                **more,
            )
            found |= {it["key"]: _decoded(it) for it in page["items"]}
            if len(page["items"]) < _PAGE:
                return found
            # The cursor that the product gives may skip a record.
            more = {"cursor": _cursor(page["items"][-1]["key"])}

    def _ask(self, operation: str, **fields: object) -> Any:
        body = {"operation": operation, "namespace": self._namespace, **fields}
        return self._gateway.request("POST", self._path, body)


def _cursor(key: str) -> str:
    """Of the page that begins after this key, as the storage API has it."""
    return urlsafe_b64encode(json.dumps({"key": key}).encode()).rstrip(b"=").decode()


def _decoded(record: Any) -> Any:
    value, metadata = record.get("value"), record.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("encoding") != _BYTES:
        return value
    content = b64decode(value)
    try:
        return json.loads(content)
    except ValueError:
        return content
