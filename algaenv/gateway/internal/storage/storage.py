"""The storage of extensions: one route, five operations on JSON records.

Before every operation the product deletes what has expired, in the transaction of the operation.
Here reading passes over expired rows and they are deleted after it, which comes to the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from algaenv.gateway.internal.door import Call, Said
from algaenv.gateway.internal.moments import spelled
from algaenv.gateway.internal.refusal import Invalid, Refused, shaped
from algaenv.gateway.internal.storage import cursor, shape
from algaenv.gateway.internal.storage.asked import (
    BulkPut,
    Item,
    List,
    One,
    Operation,
    Put,
    check_bulk,
    check_item,
    check_key,
)
from algaenv.gateway.internal.storage.records import Records, Row, Schema, Unchecked, Written

if TYPE_CHECKING:
    from algaenv.gateway.faults import Faults

SKIPS = "storage-list-skips"
STAYS = "storage-expired-stays"
ARRAYS = "storage-array-schema"
VERSIONS = "storage-schema-version"

_ATTEMPTS = 5
"""Of a write whose namespace is given another schema each time."""

_SHAPES: Mapping[str, type[Operation]] = {
    "put": Put,
    "get": One,
    "delete": One,
    "list": List,
    "bulkPut": BulkPut,
}


class Storage:
    """Answers what runners ask for on behalf of a handler."""

    name = "storage"

    def __init__(self, records: Records, faults: Faults) -> None:
        self._records = records
        self._faults = faults

    async def answer(self, call: Call) -> Said:
        """See `door.Api`."""
        operation = shaped(Operation, call.body).operation
        try:
            asked = shaped(_SHAPES[operation], call.body)
        except Invalid:
            # An install that is not there, or disabled, is found out before the rest of the body.
            call.extension = (await self._records.state(call.install_id))["extension"]
            raise
        call.about = asked.namespace
        try:
            match asked:
                case Put():
                    return await self._put(call, asked)
                case BulkPut():
                    return await self._bulk_put(call, asked)
                case List():
                    return await self._list(call, asked)
                case One(operation="get"):
                    return await self._get(call, asked)
                case One():
                    return await self._delete(call, asked)
                case _:
                    raise AssertionError(operation)
        except Refused as error:
            raise await self._failed(call, error) from None

    def refusal(self, error: Refused | Invalid) -> Said:
        """See `door.Api`."""
        if isinstance(error, Invalid):
            return Said(400, {"error": "Validation error", "details": error.details})
        content = {"error": error.message, "code": error.code, "details": error.details}
        return Said(error.status, content, error.headers)

    async def _put(self, call: Call, asked: Put) -> Said:
        call.about = f"{asked.namespace}/{asked.key}"
        check_item(asked)
        lists = isinstance(asked.value, list)
        written, faults = await self._write(call, asked.namespace, [asked], lists=lists)
        return Said(200, {"namespace": asked.namespace, **_row(written.rows[0])}, faults)

    async def _bulk_put(self, call: Call, asked: BulkPut) -> Said:
        for item in asked.items:
            check_key(item.key)
        check_bulk(asked.items)
        for item in asked.items:
            check_item(item)
        written, faults = await self._write(call, asked.namespace, asked.items, lists=False)
        items = [
            {
                "key": it["key"],
                "revision": it["revision"],
                "ttlExpiresAt": spelled(it["ttl_expires_at"]),
            }
            for it in written.rows
        ]
        return Said(200, {"namespace": asked.namespace, "items": items}, faults)

    async def _write(
        self, call: Call, namespace: str, items: Sequence[Item], *, lists: bool
    ) -> tuple[Written, Mapping[str, str]]:
        """`lists`: the one value is an array, which the product takes for several values."""
        fits: Schema | None = None
        faults: Mapping[str, str] = {}
        for _ in range(_ATTEMPTS):
            done = await self._records.write(call.install_id, namespace, items, fits)
            call.extension = done.extension
            if isinstance(done, Written):
                return done, faults
            faults = self._fitting(done, items, lists=lists)
            fits = done.schema
        raise RuntimeError(f"the schema of {namespace} never rests")

    def _fitting(
        self, found: Unchecked, items: Sequence[Item], *, lists: bool
    ) -> Mapping[str, str]:
        """Hold the values against the schema; headers if a fault of the product let them pass."""
        if found.schema is None:
            return {}
        version = next((it.schemaVersion for it in items if it.schemaVersion), 0)
        if version not in {0, found.schema.version} and self._faults.reproduces(VERSIONS):
            return self._faults.announce(VERSIONS, extension=found.extension)
        values = [it.value for it in items]
        if not (lists and self._faults.reproduces(ARRAYS)):
            shape.check(found.schema.document, values)
            return {}
        headers = self._faults.announce(ARRAYS, extension=found.extension)
        try:
            shape.check(found.schema.document, values[0])
        except Refused as error:
            raise Refused(error.code, error.message, error.details, headers=headers) from None
        return headers

    async def _get(self, call: Call, asked: One) -> Said:
        row = await self._one(call, asked)
        if row["key"] is None:
            raise Refused("NOT_FOUND", "There is no such record")
        if asked.ifRevision not in {-1, row["revision"]}:
            raise Refused("REVISION_MISMATCH", "The record has another revision than ifRevision")
        if row["stale"]:
            await self._records.sweep(call.install_id)
        content = {"namespace": asked.namespace, **_row(row)}
        return Said(200, content | {"value": row["value"], "metadata": row["metadata"]})

    async def _delete(self, call: Call, asked: One) -> Said:
        row = await self._one(call, asked)
        if row["key"] is None:
            if row["stale"]:
                await self._records.sweep(call.install_id)
            return Said(200, {"success": False})
        if asked.ifRevision not in {-1, row["revision"]}:
            raise Refused("REVISION_MISMATCH", "The record has another revision than ifRevision")
        await self._records.remove(call.install_id, asked.namespace, asked.key)
        return Said(200, {"success": True})

    async def _one(self, call: Call, asked: One) -> Row:
        call.about = f"{asked.namespace}/{asked.key}"
        check_key(asked.key)
        row = await self._records.look(call.install_id, asked.namespace, asked.key)
        call.extension = row["extension"]
        return row

    async def _list(self, call: Call, asked: List) -> Said:
        state = await self._records.state(call.install_id)
        call.extension = state["extension"]
        found = await self._records.page(
            call.install_id,
            asked.namespace,
            after=cursor.decode_cursor(asked.cursor) or None,
            prefix=asked.keyPrefix,
            limit=asked.limit + 1,
            values=asked.includeValues,
            metadata=asked.includeMetadata,
        )
        if state["stale"]:
            await self._records.sweep(call.install_id)
        owner = {
            "tenantId": state["tenant_id"],
            "extensionInstallId": state["install"],
            "namespace": asked.namespace,
        }
        items = [owner | _item(row, asked) for row in found[: asked.limit]]
        if len(found) <= asked.limit:
            return Said(200, {"items": items, "nextCursor": None})
        if not self._faults.reproduces(SKIPS):
            return Said(200, {"items": items, "nextCursor": cursor.encode_cursor(items[-1]["key"])})
        headers = self._faults.announce(SKIPS, extension=call.extension)
        skipped = cursor.encode_cursor(found[-1]["key"])
        return Said(200, {"items": items, "nextCursor": skipped}, headers)

    async def _failed(self, call: Call, error: Refused) -> Refused:
        """The product rolls its clean-up back with the operation, so what has expired stays.

        It also looks for the install before all this, so that what is wrong with it goes first.
        """
        try:
            state = await self._records.state(call.install_id)
        except Refused as unusable:
            return unusable
        call.extension = state["extension"]
        if not state["stale"]:
            return error
        if not self._faults.reproduces(STAYS):
            await self._records.sweep(call.install_id)
            return error
        headers = self._faults.announce(STAYS, extension=call.extension)
        # One header; what made the operation fail is the better one.
        return Refused(
            error.code, error.message, error.details, headers={**headers, **error.headers}
        )


def _row(row: Row) -> dict[str, Any]:
    return {
        "key": row["key"],
        "revision": row["revision"],
        "ttlExpiresAt": spelled(row["ttl_expires_at"]),
        "createdAt": spelled(row["created_at"]),
        "updatedAt": spelled(row["updated_at"]),
    }


def _item(row: Row, asked: List) -> dict[str, Any]:
    item = _row(row)
    if asked.includeValues:
        item["value"] = row["value"]
    if asked.includeMetadata:
        item["metadata"] = row["metadata"]
    return item
