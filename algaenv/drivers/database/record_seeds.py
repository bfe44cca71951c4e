"""Writes and removes records in the storage of extensions that the spec seeds."""

# ruff: noqa: ARG002 - the signatures are the protocol's

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from algaenv.bundle.value import dataclass
from algaenv.drivers.database.seed_marks import SeedMark, delete_mark, read_mark, write_mark
from algaenv.drivers.database.session import DatabaseSession
from algaenv.drivers.retry import retry_unavailable
from algaenv.model.content import RecordSeedSpec
from algaenv.model.kind import Address
from algaenv.model.problem import Conflict, Failed, Problem
from algaenv.model.resource import Inputs, Json, Present, Resource, spec_as
from algaenv.plan.seeds import value_digest
from algaenv.reconcile.protocols import OnProgress

if TYPE_CHECKING:
    from algaenv.drivers.database.session import Connection

_Place = tuple[str, str]
"""Namespace and key of a record."""


class RecordSeedDriver:
    """Records in the storage of extensions."""

    def __init__(self, database: DatabaseSession) -> None:
        self._database = database

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """Write the records that are new or changed, and remove those that the spec names no more.

        Raises Conflict (`seed-foreign`) for records that something else has made.
        """
        body = spec_as(resource, RecordSeedSpec)

        def apply() -> None:
            with self._database.transaction() as connection:
                _RecordTransaction(connection, resource, body).write()

        retry_unavailable(apply, on_progress)

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        """The same."""
        self.create(resource, on_progress)

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Remove the records that it has made."""

        def remove() -> None:
            with self._database.transaction() as connection:
                mark = read_mark(connection, address)
                if mark is not None:
                    _delete_records(connection, mark, _places(mark.inputs))
                    _count(connection, mark.made["install"])
                    delete_mark(connection, address)

        retry_unavailable(remove, on_progress)


@dataclass(frozen=True, slots=True)
class _RecordTransaction:
    connection: Connection
    resource: Resource
    body: RecordSeedSpec

    def write(self) -> None:
        mark = read_mark(self.connection, self.resource.address)
        install = self._install()
        same = mark is not None and mark.made["install"] == install
        recorded: Inputs = mark.inputs if mark is not None and same else {}
        ours = _places(recorded)
        wanted = {
            (namespace, key): value
            for namespace, records in self.body.records.items()
            for key, value in records.items()
        }
        changed = {
            place: value
            for place, value in wanted.items()
            if recorded.get(_field(place)) != value_digest(value)
        }
        self._refuse_foreign(install, {p: v for p, v in changed.items() if p not in ours})
        self._upsert(install, changed)
        if mark is not None:
            gone = ours - set(wanted) if same else _places(mark.inputs)
            _delete_records(self.connection, mark, gone)
        _count(self.connection, install)
        made = {"install": install, "tenant": self.body.tenant_id}
        address, inputs = self.resource.address, self.resource.inputs
        done = SeedMark(address, self.resource.fingerprint, inputs, made, finished=True)
        write_mark(self.connection, done)

    def _install(self) -> str:
        row = self.connection.execute(
            "SELECT id::text FROM tenant_extension_install"
            " WHERE registry_id = %s AND lower(btrim(tenant_id)) = %s",
            (self.body.registry_id, self.body.tenant_id),
        ).fetchone()
        if row is None:
            raise Failed(
                Problem(
                    "seed-install",
                    f"cannot seed records of {self.body.extension}: it is not installed",
                    "run `algaenv up` again, which installs it",
                )
            )
        return str(row[0])

    def _refuse_foreign(self, install: str, fresh: Mapping[_Place, Json]) -> None:
        """Records of the extension's own are data; what is there with the same value is taken."""
        rows = self.connection.execute(
            "SELECT r.namespace, r.key, r.value FROM ext_storage_records r"
            " JOIN unnest(%s::text[], %s::text[]) AS w(namespace, key)"
            " ON r.namespace = w.namespace AND r.key = w.key"
            " WHERE r.tenant = %s AND r.extension_install_id = %s",
            ([it[0] for it in fresh], [it[1] for it in fresh], self.body.tenant_id, install),
        ).fetchall()
        foreign = sorted((n, k) for n, k, value in rows if value != fresh[n, k])
        if foreign:
            raise Conflict(
                *(
                    Problem(
                        "seed-foreign",
                        f"cannot seed the record {key} in {namespace} of {self.body.extension}:"
                        " the extension has stored another value there",
                        "delete that record, or take it out of `seed`",
                    )
                    for namespace, key in foreign
                )
            )

    def _upsert(self, install: str, records: Mapping[_Place, Json]) -> None:
        from algaenv.gateway.javascript import dump_json

        with self.connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO ext_storage_records AS r (tenant, extension_install_id, namespace,"
                " key, value, value_size_bytes, metadata_size_bytes, created_at, updated_at)"
                " VALUES (%s, %s, %s, %s, %s::jsonb, %s, 2, now(), now())"
                " ON CONFLICT (tenant, extension_install_id, namespace, key) DO UPDATE SET"
                " revision = r.revision + 1, value = excluded.value, ttl_expires_at = NULL,"
                " value_size_bytes = excluded.value_size_bytes, updated_at = excluded.updated_at",
                [
                    (self.body.tenant_id, install, *place, json.dumps(value), len(dump_json(value)))
                    for place, value in records.items()
                ],
            )


def _field(place: _Place) -> str:
    return f"records.{place[0]}/{place[1]}"


def _places(inputs: Inputs) -> set[_Place]:
    """The records that the inputs of a seed name; no key holds a slash."""
    names = (it.removeprefix("records.").rpartition("/") for it in inputs)
    return {(namespace, key) for namespace, _, key in names}


def _delete_records(connection: Connection, mark: SeedMark, places: set[_Place]) -> None:
    for namespace, key in sorted(places):
        connection.execute(
            "DELETE FROM ext_storage_records WHERE tenant = %s AND extension_install_id = %s"
            " AND namespace = %s AND key = %s",
            (mark.made["tenant"], mark.made["install"], namespace, key),
        )


def _count(connection: Connection, install: str) -> None:
    """The usage of the install anew, as the gateway counts it."""
    from algaenv.gateway.apis.storage.records import UPDATE_USAGE

    connection.execute(UPDATE_USAGE, {"install": install})
