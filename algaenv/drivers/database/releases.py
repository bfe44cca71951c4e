"""Writes and removes the rows of an extension: registry, version, bundle, install and the rest.

Every release is one transaction, so a crash leaves the rows as they were before or as they should
be, and never in between.
"""

# ruff: noqa: ARG002 - the signatures are the protocol's

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from algaenv.bundle.value import dataclass
from algaenv.drivers.database import deletes, queries, release_checks, schema
from algaenv.drivers.database.install_mark import InstallMark
from algaenv.drivers.database.queries import ENDPOINT_TABLE, REQUIRED_COLUMNS
from algaenv.drivers.database.rows import InstallRow, RowSet, parse_rows
from algaenv.drivers.database.session import DatabaseSession, lock_rows
from algaenv.drivers.database.upserts import ReleaseWriter, UpsertedRow
from algaenv.drivers.retry import retry_unavailable
from algaenv.model.content import ReleaseSpec
from algaenv.model.kind import Address
from algaenv.model.problem import Conflict, Problem, Refused
from algaenv.model.resource import Present, Resource, spec_as
from algaenv.reconcile.protocols import OnProgress

if TYPE_CHECKING:
    from algaenv.drivers.database.session import Connection


class ReleaseDriver:
    """The rows of extensions, for one environment."""

    def __init__(self, database: DatabaseSession, environment: str) -> None:
        self._database = database
        self._environment = environment

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """Write all rows. Raises Conflict when another tool has installed the extension since."""
        self._write(resource, on_progress, may_take_over=False)

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        """Write all rows; what was made by others is taken over only if it was seen as such."""
        self._write(resource, on_progress, may_take_over=seen.recorded is None)

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Remove the install, and in a managed database all rows that nothing else refers to."""

        def remove() -> tuple[str, ...]:
            with self._database.transaction() as connection:
                return deletes.delete_install(
                    connection, seen.handle, self._environment, managed=self._database.managed
                )

        for note in retry_unavailable(remove, on_progress):
            on_progress(note)

    def _write(self, resource: Resource, on_progress: OnProgress, *, may_take_over: bool) -> None:
        body = spec_as(resource, ReleaseSpec)

        def write() -> None:
            with self._database.transaction() as connection:
                _ReleaseTransaction(connection, resource, body, self._environment).write(
                    may_take_over=may_take_over
                )

        retry_unavailable(write, on_progress)


@dataclass(frozen=True, slots=True)
class _ReleaseTransaction:
    """One release being written inside a transaction."""

    connection: Connection
    resource: Resource
    body: ReleaseSpec
    environment: str

    def write(self, *, may_take_over: bool) -> None:
        lock_rows(self.connection, self.body.registry_id)
        live = self._columns()
        rows = self._rows(with_endpoints=ENDPOINT_TABLE in live)
        before = rows.installed(self.body.tenant_id, self.body.registry_id)
        self._check(rows, before, may_take_over=may_take_over)
        writer = ReleaseWriter(self.connection, self.body, self._now())
        if before is not None and not release_checks.has_manifest_name(before, self.body):
            writer.rename(before.registry)
        registry = writer.registry()
        self._check_registry(registry.id)
        version = writer.version(registry.id)
        writer.bundle(version.id)
        if before is not None and before.tenant != self.body.tenant_id:
            writer.canonicalize_tenant(before.id)
        install = writer.install(
            registry.id, version.id, self._mark(registry, version, before).status()
        )
        writer.config(install)
        writer.secrets(install)
        if ENDPOINT_TABLE in live:
            _write_endpoints(writer, version.id, before)

    def _columns(self) -> dict[str, list[str]]:
        live = queries.read_columns(self.connection, [*REQUIRED_COLUMNS, ENDPOINT_TABLE])
        lost = schema.schema_problem(live)
        if lost is not None:
            raise Refused(lost)
        return live

    def _rows(self, *, with_endpoints: bool) -> RowSet:
        manifest = self.body.manifest
        query: dict[str, Any] = {
            "environment": self.environment,
            "extensions": [
                {
                    "publisher": self.body.publisher,
                    "name": manifest.name,
                    "version": manifest.version,
                }
            ],
        }
        answer = queries.read_rows(
            self.connection,
            query,
            [self.body.tenant_id],
            with_endpoints=with_endpoints,
            only=[self.body.registry_id],
        )
        return parse_rows(answer, with_endpoints=with_endpoints)

    def _check(self, rows: RowSet, before: InstallRow | None, *, may_take_over: bool) -> None:
        objections = release_checks.release_problems(self.body, rows, self.environment)
        if objections:
            raise Conflict(*objections)
        ours = before is None or before.made_by(self.environment)
        if not ours and not may_take_over:
            raise Conflict(
                Problem(
                    "not-ours",
                    f"cannot install {self.body.extension}: another tool or environment has"
                    " installed it in the meantime",
                    "run `algaenv up --adopt` to take it over, or remove it with the tool that"
                    " made it",
                )
            )

    def _check_registry(self, registry: str) -> None:
        """The object's key holds the id that was planned with, and must go on to hold."""
        if registry != self.body.registry_id:
            raise Conflict(
                Problem(
                    "registry-moved",
                    f"cannot install {self.body.extension}: its registry id was"
                    f" {self.body.registry_id} and has become {registry}",
                    "run `algaenv up` again",
                )
            )

    def _mark(
        self, registry: UpsertedRow, version: UpsertedRow, before: InstallRow | None
    ) -> InstallMark:
        former = before.mark if before is not None else None
        made = former.made_versions if former else ()
        return InstallMark(
            environment=self.environment,
            address=str(self.resource.address),
            fingerprint=self.resource.fingerprint,
            inputs=self.resource.inputs,
            made_registry=registry.made or bool(former and former.made_registry),
            made_versions=(*made, version.id) if version.made else made,
        )

    def _now(self) -> Any:
        row = self.connection.execute("SELECT clock_timestamp()").fetchone()
        return row[0] if row else None


def _write_endpoints(writer: ReleaseWriter, version: str, before: InstallRow | None) -> None:
    endpoints = writer.endpoints(version)
    schedules = before.schedules if before else ()
    writer.schedules(
        (it.id, endpoints[it.method, it.path])
        for it in schedules
        if it.method is not None and it.path is not None and it.version != version
    )
    writer.drop_endpoints(version, list(endpoints.values()))
