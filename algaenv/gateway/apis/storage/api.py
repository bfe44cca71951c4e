"""The storage API: one route, five operations on JSON records.

Before every operation the product deletes what has expired, in the transaction of the operation.
Here reads skip expired rows, which are deleted afterwards, with the same result.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from algaenv.gateway.apis.api_endpoint import (
    ApiCall,
    ApiError,
    ApiResponse,
    InvalidBody,
    InvalidJson,
    Refusal,
    internal_error,
    parse_body,
)
from algaenv.gateway.apis.storage import requests
from algaenv.gateway.apis.storage.records import (
    REVISION_MISMATCH,
    RecordRepository,
    RecordRow,
    Unchecked,
    Written,
)
from algaenv.gateway.apis.storage.requests import (
    BulkPutRequest,
    Item,
    ListRequest,
    PutRequest,
    RecordRequest,
    StorageOperation,
    check_bulk,
    check_item,
    check_key,
)
from algaenv.gateway.javascript import decode_base64, dump_json, iso_timestamp, parse_json

if TYPE_CHECKING:
    from algaenv.gateway.quirks import Quirks


def encode_cursor(key: str) -> str:
    """The cursor of a page that begins after this key."""
    return urlsafe_b64encode(dump_json({"key": key})).rstrip(b"=").decode()


def decode_cursor(cursor: str | None) -> str | None:
    """The key in a cursor; None without one. Raises ApiError for what is none of ours.

    Read as the product's `Buffer` does it: both alphabets, what is in neither is passed over, and
    bytes that are no UTF-8 are replaced.
    """
    if not cursor:
        return None
    content = decode_base64(cursor).decode(errors="replace")
    try:
        key = parse_json(content)["key"]
    except (ValueError, TypeError, KeyError, RecursionError):
        key = None
    if not isinstance(key, str):
        raise ApiError("VALIDATION_FAILED", "cursor is invalid or corrupted")
    return key


SKIP_QUIRK = "storage-list-skips"
EXPIRED_QUIRK = "storage-expired-stays"
ARRAY_QUIRK = "storage-array-schema"
VERSION_QUIRK = "storage-schema-version"

_BODIES: Mapping[str, type[StorageOperation]] = {
    "put": PutRequest,
    "get": RecordRequest,
    "delete": RecordRequest,
    "list": ListRequest,
    "bulkPut": BulkPutRequest,
}


class StorageApi:
    """Handles calls of runners on behalf of a handler."""

    name = "storage"

    def __init__(self, records: RecordRepository, quirks: Quirks) -> None:
        self._records = records
        self._quirks = quirks

    async def handle(self, call: ApiCall) -> ApiResponse:
        """See `Api`."""
        operation = parse_body(StorageOperation, call.body).operation
        try:
            request = parse_body(_BODIES[operation], call.body)
        except InvalidBody:
            # An install that is not there, or disabled, is found out before the rest of the body.
            call.extension = (await self._records.state(call.install_id))["extension"]
            raise
        call.subject = request.namespace
        try:
            match request:
                case PutRequest():
                    return await self._put(call, request)
                case BulkPutRequest():
                    return await self._bulk_put(call, request)
                case ListRequest():
                    return await self._list(call, request)
                case RecordRequest(operation="get"):
                    return await self._get(call, request)
                case RecordRequest():
                    return await self._delete(call, request)
                case _:
                    raise AssertionError(operation)
        except ApiError as error:
            raise await self._failed(call, error) from None

    def refusal(self, error: Refusal) -> ApiResponse:
        """See `Api`."""
        if isinstance(error, InvalidJson):
            return internal_error()
        if isinstance(error, InvalidBody):
            return ApiResponse(400, {"error": "Validation error", "details": error.details})
        content = {"error": error.message, "code": error.code, "details": error.details}
        return ApiResponse(error.status, content, error.headers)

    async def _put(self, call: ApiCall, request: PutRequest) -> ApiResponse:
        call.subject = f"{request.namespace}/{request.key}"
        check_item(request)
        lists = isinstance(request.value, list)
        written, headers = await self._write(call, request.namespace, [request], lists=lists)
        return ApiResponse(
            200, {"namespace": request.namespace, **_record_json(written.rows[0])}, headers
        )

    async def _bulk_put(self, call: ApiCall, request: BulkPutRequest) -> ApiResponse:
        check_bulk(request.items)
        written, headers = await self._write(call, request.namespace, request.items, lists=False)
        items = [
            {
                "key": it["key"],
                "revision": it["revision"],
                "ttlExpiresAt": iso_timestamp(it["ttl_expires_at"]),
            }
            for it in written.rows
        ]
        return ApiResponse(200, {"namespace": request.namespace, "items": items}, headers)

    async def _write(
        self, call: ApiCall, namespace: str, items: Sequence[Item], *, lists: bool
    ) -> tuple[Written, Mapping[str, str]]:
        """`lists`: the one value is an array, which the product takes for several values."""
        headers: Mapping[str, str] = {}

        def check(found: Unchecked) -> None:
            nonlocal headers
            call.extension = found.extension
            headers = self._fitting(found, items, lists=lists)

        written = await self._records.write_fitting(call.install_id, namespace, items, check)
        call.extension = written.extension
        return written, headers

    def _fitting(
        self, found: Unchecked, items: Sequence[Item], *, lists: bool
    ) -> Mapping[str, str]:
        """Hold the values against the schema; headers if a fault of the product let them pass."""
        if found.schema is None:
            return {}
        version = next((it.schemaVersion for it in items if it.schemaVersion), 0)
        if version not in {0, found.schema.version} and self._quirks.reproduces(VERSION_QUIRK):
            return self._quirks.announce(VERSION_QUIRK, extension=found.extension)
        values = [it.value for it in items]
        if not (lists and self._quirks.reproduces(ARRAY_QUIRK)):
            requests.check_schema(found.schema.document, values)
            return {}
        headers = self._quirks.announce(ARRAY_QUIRK, extension=found.extension)
        try:
            requests.check_schema(found.schema.document, values[0])
        except ApiError as error:
            raise ApiError(error.code, error.message, error.details, headers=headers) from None
        return headers

    async def _get(self, call: ApiCall, request: RecordRequest) -> ApiResponse:
        row = await self._one(call, request)
        if row["key"] is None:
            raise ApiError("NOT_FOUND", "record not found")
        if request.ifRevision not in {-1, row["revision"]}:
            raise ApiError("REVISION_MISMATCH", REVISION_MISMATCH)
        if row["stale"]:
            await self._records.sweep(call.install_id)
        content = {"namespace": request.namespace, **_record_json(row)}
        return ApiResponse(200, content | {"value": row["value"], "metadata": row["metadata"]})

    async def _delete(self, call: ApiCall, request: RecordRequest) -> ApiResponse:
        row = await self._one(call, request)
        if row["key"] is None:
            if row["stale"]:
                await self._records.sweep(call.install_id)
            return ApiResponse(200, {"success": False})
        if request.ifRevision not in {-1, row["revision"]}:
            raise ApiError("REVISION_MISMATCH", REVISION_MISMATCH)
        await self._records.remove(call.install_id, request.namespace, request.key)
        return ApiResponse(200, {"success": True})

    async def _one(self, call: ApiCall, request: RecordRequest) -> RecordRow:
        call.subject = f"{request.namespace}/{request.key}"
        check_key(request.key)
        row = await self._records.find(call.install_id, request.namespace, request.key)
        call.extension = row["extension"]
        return row

    async def _list(self, call: ApiCall, request: ListRequest) -> ApiResponse:
        state = await self._records.state(call.install_id)
        call.extension = state["extension"]
        found = await self._records.page(
            call.install_id,
            request.namespace,
            after=decode_cursor(request.cursor) or None,
            prefix=request.keyPrefix,
            limit=request.limit + 1,
            values=request.includeValues,
            metadata=request.includeMetadata,
        )
        if state["stale"]:
            await self._records.sweep(call.install_id)
        owner = {
            "tenantId": state["tenant_id"],
            "extensionInstallId": state["install"],
            "namespace": request.namespace,
        }
        items = [owner | _item_json(row, request) for row in found[: request.limit]]
        if len(found) <= request.limit:
            return ApiResponse(200, {"items": items, "nextCursor": None})
        if not self._quirks.reproduces(SKIP_QUIRK):
            return ApiResponse(200, {"items": items, "nextCursor": encode_cursor(items[-1]["key"])})
        headers = self._quirks.announce(SKIP_QUIRK, extension=call.extension)
        skipped = encode_cursor(found[-1]["key"])
        return ApiResponse(200, {"items": items, "nextCursor": skipped}, headers)

    async def _failed(self, call: ApiCall, error: ApiError) -> ApiError:
        """The product rolls its clean-up back with the operation, so what has expired stays.

        It also looks for the install before all this, so that what is wrong with it goes first.
        """
        try:
            state = await self._records.state(call.install_id)
        except ApiError as unusable:
            return unusable
        call.extension = state["extension"]
        if not state["stale"]:
            return error
        if not self._quirks.reproduces(EXPIRED_QUIRK):
            await self._records.sweep(call.install_id)
            return error
        headers = self._quirks.announce(EXPIRED_QUIRK, extension=call.extension)
        # One header; what made the operation fail is the better one.
        return ApiError(
            error.code, error.message, error.details, headers={**headers, **error.headers}
        )


def _record_json(row: RecordRow) -> dict[str, Any]:
    return {
        "key": row["key"],
        "revision": row["revision"],
        "ttlExpiresAt": iso_timestamp(row["ttl_expires_at"]),
        "createdAt": iso_timestamp(row["created_at"]),
        "updatedAt": iso_timestamp(row["updated_at"]),
    }


def _item_json(row: RecordRow, request: ListRequest) -> dict[str, Any]:
    item = _record_json(row)
    if request.includeValues:
        item["value"] = row["value"]
    if request.includeMetadata:
        item["metadata"] = row["metadata"]
    return item
