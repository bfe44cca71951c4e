"""Puts the gateway to a recorded case: rows, a runner, the request, and what came of it."""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.gateway.recorded_cases import Case, ids_in, with_placeholders, world
from tests.gateway.stub_runner import ReceivedCall, StubResponse, StubRunner

TOKEN = "runner-token"
CHANGED_BY_CASES = (
    "extension_execution_log",
    "ext_storage_records",
    "ext_storage_usage",
    "ext_storage_schemas",
    "tenant_extension_schedule",
    "extension_api_endpoint",
)
COMPARED_HEADERS = frozenset(
    [
        "content-type",
        "cache-control",
        "etag",
        "retry-after",
        "location",
        "x-ext-warning",
        "x-ext-request-id",
        "x-other",
        "set-cookie",
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "vary",
    ]
)
QUERIES = {
    "audit": "SELECT status, error, metrics, request_id, finished_at IS NOT NULL AS finished,"
    " registry_id, version_id FROM extension_execution_log ORDER BY started_at",
    "schedules": "SELECT s.name, s.cron, s.timezone, s.enabled, s.payload_json, s.last_run_status,"
    " s.last_error, s.last_run_at IS NOT NULL AS has_run, e.method || ' ' || e.path AS endpoint"
    " FROM tenant_extension_schedule s LEFT JOIN extension_api_endpoint e ON e.id = s.endpoint_id"
    " ORDER BY s.created_at, s.id",
    "storage": "SELECT namespace, key, revision, value, metadata, value_size_bytes,"
    " metadata_size_bytes, ttl_expires_at IS NOT NULL AS expires FROM ext_storage_records"
    ' WHERE namespace !~ \'^(full|ns[0-9]+)$\' ORDER BY namespace COLLATE "C", key COLLATE "C"',
    "usage": "SELECT bytes_used, keys_count, namespaces_count FROM ext_storage_usage",
}
AUDIT_SECONDS = 5.0
"""For the row of a call to be finished, which happens after its answer."""
QUIET_SECONDS = 0.3
"""For a row that should not come."""


class Stage:
    """Rows, a runner and a gateway, for one case after the other."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        runner: StubRunner,
        port: int,
        redis: Any | None = None,
    ) -> None:
        self.connection, self.runner, self.port, self.redis = connection, runner, port, redis
        base = world()["fixtures"]["base"]
        names = sql.SQL(", ").join(map(sql.Identifier, [*base, *CHANGED_BY_CASES]))
        connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(names))
        self._insert(base)
        self._known = frozenset(ids_in(world()["fixtures"], world()["settings"], world()["tenant"]))
        self._known |= {
            each for rows in base.values() for row in rows for each in ids_in(list(_repeated(row)))
        }

    def play(self, case: Case) -> dict[str, Any]:
        """What came of a case, as the record of the product has it."""
        for table in CHANGED_BY_CASES:
            self.connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
        for name in case.get("fixture", ()):
            self._insert(world()["fixtures"][name])
        self.runner.answer = _answering(world()["answers"]["ok"])
        for request in case.get("before", ()):
            ask(self.port, request)
        chosen = case.get("runner", "ok")
        chosen = world()["answers"][chosen] if isinstance(chosen, str) else chosen
        self.runner.answer = _answering(chosen)
        self.runner.asked.clear()
        answer = ask(self.port, case["request"], case.get("read_for"))
        rows = {name: self._rows(name, case) for name in case.get("looks_at", ())}
        asked = [_shown(it) for it in self.runner.asked if it.target != "/healthz"]
        names = _new_names(asked)
        known = self._known | set(ids_in(case["request"], case.get("before", ())))
        seen = with_placeholders({**answer, "runner": asked, "rows": rows}, known, names)
        for path in case.get("leaves_out", ()):
            _drop(seen, path.split("."))
        if "shows" in case:
            return {path: _at(seen, path.split(".")) for path in case["shows"]}
        return cast("dict[str, Any]", seen)

    def _insert(self, fixture: Mapping[str, Any]) -> None:
        for table, rows in fixture.items():
            if table == "$redis":
                self._fill_streams(rows)
                continue
            for row in rows:
                columns = [it for it in row if not it.startswith("$")]
                statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                    sql.Identifier(table),
                    sql.SQL(", ").join(map(sql.Identifier, columns)),
                    sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
                )
                values = [[_column(it[name]) for name in columns] for it in _repeated(row)]
                with self.connection.cursor() as cursor:
                    cursor.executemany(statement, values)

    def _fill_streams(self, streams: Mapping[str, Any]) -> None:
        assert self.redis is not None
        for key, entries in streams.items():
            self.redis.delete(key)
            for entry in entries:
                for fields in _repeated(entry):
                    self.redis.xadd(key, {k: v for k, v in fields.items() if k != "$times"})

    def _rows(self, name: str, case: Case) -> list[dict[str, Any]]:
        """The rows of a table. The row of a call is finished after its answer: it is waited for."""
        expected = case["product"].get("rows", {}).get(name)
        deadline = time.monotonic() + (AUDIT_SECONDS if expected else QUIET_SECONDS)
        while True:
            with self.connection.cursor(row_factory=dict_row) as cursor:
                found = cursor.execute(sql.SQL(QUERIES[name])).fetchall()
            settled = (
                expected
                and len(found) >= len(expected)
                and all(it["finished"] for it in found if "finished" in it)
            )
            if name != "audit" or settled or time.monotonic() > deadline:
                return [{key: _plain(it) for key, it in row.items()} for row in found]
            time.sleep(0.01)


def ask(port: int, request: Mapping[str, Any], read_for: float | None = None) -> dict[str, Any]:
    """Status, compared headers and body of an answer; a stream is read for so many seconds.

    No header is sent but those of the case. Status 0: there was no answer.
    """
    seconds = 40.0 if read_for is None else read_for + 5
    body = _body(request.get("body"))
    headers = {"accept": "*/*", **request.get("headers", {})}
    if body is not None and request.get("json"):
        headers.setdefault("content-type", "application/json")
    if body is not None or request["method"] in ("POST", "PUT", "PATCH"):
        headers["content-length"] = str(len(body or b""))
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)) as link:
        try:
            link.putrequest(request["method"], request["path"], skip_accept_encoding=True)
            for name, value in headers.items():
                link.putheader(name, value.encode())
            link.endheaders(body)
            answer = link.getresponse()
            streamed = read_for is not None and answer.status == 200
            content = _read_for(link, answer, read_for or 0) if streamed else answer.read()
        except (OSError, http.client.HTTPException) as error:
            silent = read_for is not None and isinstance(error, TimeoutError)
            return {"status": 0, "headers": {}, "body": [] if silent else type(error).__name__}
    kept = {name.lower(): value for name, value in answer.getheaders()}
    kept = {name: value for name, value in kept.items() if name in COMPARED_HEADERS}
    if streamed:
        return {"status": answer.status, "headers": kept, "body": _events(content)}
    return {"status": answer.status, "headers": kept, "body": _read(content)}


def _body(given: Any) -> bytes | None:
    """A text, pieces of `[text, times]`, or `{"base64": …}`."""
    if isinstance(given, list):
        return b"".join(text.encode() * times for text, times in given)
    if isinstance(given, dict):
        return base64.b64decode(given["base64"])
    return None if given is None else str(given).encode()


def _read(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")


def _read_for(
    link: http.client.HTTPConnection, answer: http.client.HTTPResponse, seconds: float
) -> bytes:
    content, deadline = b"", time.monotonic() + seconds
    with suppress(OSError):
        while (left := deadline - time.monotonic()) > 0 and link.sock is not None:
            link.sock.settimeout(left)
            more = answer.read1(65536)
            if not more:
                break
            content += more
    return content


def _events(content: bytes) -> list[Any]:
    found = []
    for block in content.decode(errors="replace").split("\n\n"):
        data = [line[5:].lstrip() for line in block.splitlines() if line.startswith("data:")]
        if data:
            found.append(_read("\n".join(data).encode()))
    return found


def _answering(chosen: Mapping[str, Any]) -> Any:
    """The function that answers as the runner of a case does; pages are answered by their path."""

    def answer(call: ReceivedCall) -> StubResponse:
        if call.target == "/healthz":
            return StubResponse(200, b"ok", {"content-type": "text/plain"})
        if call.target != "/v1/execute":
            headers = {"content-type": "text/html", "x-ext-warning": "of the page"}
            return StubResponse(200, f"page {call.target}".encode(), headers)
        text = chosen["text"] if "text" in chosen else json.dumps(chosen.get("json"))
        headers = {
            "content-type": "application/json",
            "cache-control": "public, max-age=31536000, immutable",
            **chosen.get("headers", {}),
        }
        return StubResponse(
            chosen.get("status", 200),
            text.encode(),
            headers,
            drop=chosen.get("drop", False),
            seconds=chosen.get("seconds", 0.0),
        )

    return answer


def _shown(call: ReceivedCall) -> dict[str, Any]:
    if call.target != "/v1/execute":
        return {"path": call.target, "method": call.method}
    kept = {
        name: value
        for name, value in call.headers.items()
        if name.startswith("x-") or name in ("content-type", "authorization")
    }
    return {"headers": kept, "body": _read(call.body)}


def _new_names(asked: list[dict[str, Any]]) -> dict[str, str]:
    names: dict[str, str] = {}
    for each in asked:
        if isinstance(each.get("body"), dict):
            names.setdefault(each["body"].get("context", {}).get("request_id"), "<request id>")
            names.setdefault(each["headers"].get("x-idempotency-key"), "<idempotency key>")
    return names


def _repeated(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The rows that one with `$times` stands for."""
    if "$times" not in row:
        yield row
        return
    for number in range(1, int(row["$times"]) + 1):
        yield {
            name: it.replace("{n3}", f"{number:03}").replace("{n}", str(number))
            if isinstance(it, str)
            else it
            for name, it in row.items()
        }


def _column(value: Any) -> Any:
    if isinstance(value, dict) and "$ago" in value:
        return datetime.now(UTC) - timedelta(seconds=value["$ago"])
    if isinstance(value, dict) and "$json" in value:
        return Jsonb(value["$json"], dumps=str)
    return Jsonb(value) if isinstance(value, dict | list) else value


def _plain(value: Any) -> Any:
    kept = (int, float, bool, type(None), dict, list)
    return value if isinstance(value, kept) else str(value)


def _drop(value: Any, path: list[str]) -> None:
    head, *rest = path
    if isinstance(value, list):
        for item in value if head == "*" else value[int(head) : int(head) + 1]:
            _drop(item, rest)
    elif isinstance(value, dict) and head in value:
        if rest:
            _drop(value[head], rest)
        else:
            del value[head]


def _at(value: Any, path: list[str]) -> Any:
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value
