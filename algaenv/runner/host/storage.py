"""`storage`: values under a namespace and a key, one store an installation."""

from __future__ import annotations

from typing import Any

from algaenv.runner.execute.invocation import CAP_STORAGE, Invocation
from algaenv.runner.host import internal_api
from algaenv.runner.host.internal_api import (
    Fields,
    HostCallError,
    InternalApi,
    MalformedResponse,
    as_object,
    as_unsigned,
    list_field,
)
from algaenv.runner.host.settings import HostSettings
from algaenv.runner.outbound import Outbound
from algaenv.runner.wasm.wit import Err

NAMES = {401: "denied", 403: "denied", 404: "missing", 409: "conflict", 429: "denied"}
ENCODING = "base64-bytes"
"""Marks a value of ours; the store itself holds JSON."""

_Record = dict[str, Any]


class Storage:
    """Asks the application server; a value written by others is given as the bytes of its JSON."""

    def __init__(self, host_settings: HostSettings, outbound: Outbound) -> None:
        self._api = InternalApi("storage", NAMES, host_settings=host_settings, outbound=outbound)

    def get(self, invocation: Invocation, namespace: str, key: str) -> _Record | Err:
        """storage-entry; `missing` when there is none."""
        try:
            reply = self._call(invocation, "get", {"namespace": namespace, "key": key})
            return _entry(as_object(reply), namespace=namespace, key=key)
        except HostCallError as error:
            return Err(error.name)
        except MalformedResponse:
            return Err("internal")

    def put(self, invocation: Invocation, entry: _Record) -> _Record | Err:
        """The entry with its new revision; `conflict` when the old one is not as given."""
        fields: dict[str, object] = {
            "namespace": entry["namespace"],
            "key": entry["key"],
            "value": internal_api.encode_base64(entry["value"]),
            "metadata": {"encoding": ENCODING},
        }
        if entry["revision"] is not None:
            fields["ifRevision"] = entry["revision"]
        try:
            reply = self._call(invocation, "put", fields)
        except HostCallError as error:
            return Err(error.name)
        revision = as_unsigned(reply.get("revision")) if isinstance(reply, dict) else None
        return {**entry, "revision": revision}

    def delete(self, invocation: Invocation, namespace: str, key: str) -> Err | None:
        """None when it is gone; `conflict` when the server says that it is not."""
        try:
            reply = self._call(invocation, "delete", {"namespace": namespace, "key": key})
        except HostCallError as error:
            return Err(error.name)
        refused = isinstance(reply, dict) and reply.get("success") is False
        return Err("conflict") if refused else None

    def list_entries(
        self, invocation: Invocation, namespace: str, cursor: str | None
    ) -> list[_Record] | Err:
        """storage-entry of one page; the interface has no place for the cursor of the next."""
        fields: dict[str, object] = {
            "namespace": namespace,
            "includeValues": True,
            "includeMetadata": True,
        }
        if cursor is not None:
            fields["cursor"] = cursor
        try:
            reply = self._call(invocation, "list", fields)
            items = list_field(reply, "items") if isinstance(reply, dict) else []
            return [_entry(as_object(item)) for item in items]
        except HostCallError as error:
            return Err(error.name)
        except MalformedResponse:
            return Err("internal")

    def _call(self, invocation: Invocation, operation: str, fields: Fields) -> object:
        if CAP_STORAGE not in invocation.capabilities or not invocation.install:
            raise HostCallError("denied")
        log_extra = {
            name: mask(value)
            for name in ("namespace", "key")
            if isinstance(value := fields.get(name), str)
        }
        return self._api.call(invocation, operation, fields, log_extra=log_extra)


def mask(identifier: str) -> str:
    """Enough of a name to recognise it in a log: `secret` as `se…et`."""
    if not identifier:
        return "<empty>"
    if len(identifier.encode()) <= 4:
        return "***"
    return f"{identifier[:2]}…{identifier[-2:]}"


def _entry(fields: Fields, *, namespace: str | None = None, key: str | None = None) -> _Record:
    """A storage-entry; where it does not say what it is, it is what was asked for."""
    return {
        "namespace": _name(fields.get("namespace"), namespace),
        "key": _name(fields.get("key"), key),
        "value": _value(fields.get("value"), fields.get("metadata")),
        "revision": as_unsigned(fields.get("revision")),
    }


def _name(reply: object, asked: str | None) -> str:
    name = reply if isinstance(reply, str) else asked
    if name is None:
        raise MalformedResponse("name")
    return name


def _value(value: object, metadata: object) -> bytes:
    if isinstance(metadata, dict) and metadata.get("encoding") == ENCODING:
        return _decoded(value)
    if isinstance(value, dict) and isinstance(value.get("_bytes_b64"), str):
        return _decoded(value["_bytes_b64"])
    try:
        if not isinstance(value, str):
            return internal_api.dump_json(value).encode()
        return internal_api.decode_base64(value)
    except ValueError:
        if not isinstance(value, str):
            raise MalformedResponse("value") from None
        return value.encode()


def _decoded(value: object) -> bytes:
    if not isinstance(value, str):
        raise MalformedResponse("value")
    try:
        return internal_api.decode_base64(value)
    except ValueError:
        raise MalformedResponse("value") from None
