"""Writes and removes the rows of an extension: registry, version, bundle, install and its company.

Every release is one transaction, so a crash leaves the rows as they were before or as they should
be, and never in between.
"""

# ruff: noqa: ARG002 - the signatures are the protocol's

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from algaenv.bundle.value import dataclass
from algaenv.drivers import catalog_guard, catalog_read, catalog_remove
from algaenv.drivers.bodies import body_as
from algaenv.drivers.catalog import Catalog, take_turn
from algaenv.drivers.catalog_mark import Mark
from algaenv.drivers.catalog_rows import Install, Rows, rows_of
from algaenv.drivers.catalog_shape import ENDPOINTS, NEEDED
from algaenv.drivers.catalog_write import Row, Writer
from algaenv.drivers.patience import patiently
from algaenv.model.address import Address
from algaenv.model.content import ReleaseSpec
from algaenv.model.problem import Conflict, Problem, Refused
from algaenv.model.resource import Present, Resource
from algaenv.reconcile.protocols import OnProgress

if TYPE_CHECKING:
    from algaenv.drivers.catalog import Connection


class ReleaseHands:
    """The rows of extensions, for one environment."""

    def __init__(self, catalog: Catalog, environment: str) -> None:
        self._catalog = catalog
        self._environment = environment

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """Write all rows. Raises Conflict when somebody else has installed the extension since."""
        self._write(resource, on_progress, may_take_over=False)

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        """Write all rows; what was made by others is taken over only if it was seen as such."""
        self._write(resource, on_progress, may_take_over=seen.recorded is None)

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Remove the install, and in a managed database all rows that nothing else refers to."""

        def remove() -> tuple[str, ...]:
            with self._catalog.transaction() as connection:
                return catalog_remove.install(
                    connection, seen.handle, self._environment, managed=self._catalog.managed
                )

        for note in patiently(remove, on_progress):
            on_progress(note)

    def _write(self, resource: Resource, on_progress: OnProgress, *, may_take_over: bool) -> None:
        body = body_as(resource, ReleaseSpec)

        def write() -> None:
            with self._catalog.transaction() as connection:
                _Release(connection, resource, body, self._environment).write(
                    may_take_over=may_take_over
                )

        patiently(write, on_progress)


@dataclass(frozen=True, slots=True)
class _Release:
    """One release being written inside a transaction."""

    connection: Connection
    resource: Resource
    body: ReleaseSpec
    environment: str

    def write(self, *, may_take_over: bool) -> None:
        take_turn(self.connection, self.body.registry_id)
        live = self._columns()
        rows = self._rows(with_endpoints=ENDPOINTS in live)
        before = rows.installed(self.body.tenant_id, self.body.registry_id)
        self._check(rows, before, may_take_over=may_take_over)
        writer = Writer(self.connection, self.body, self._now())
        if before is not None and not catalog_guard.is_named(before, self.body):
            writer.rename(before.registry)
        registry = writer.registry()
        self._check_registry(registry.id)
        version = writer.version(registry.id)
        writer.bundle(version.id)
        if before is not None and before.tenant != self.body.tenant_id:
            writer.respell(before.id)
        install = writer.install(
            registry.id, version.id, self._mark(registry, version, before).status()
        )
        writer.config(install)
        writer.secrets(install)
        if ENDPOINTS in live:
            _write_endpoints(writer, version.id, before)

    def _columns(self) -> dict[str, list[str]]:
        live = catalog_read.columns(self.connection, [*NEEDED, ENDPOINTS])
        lost = catalog_guard.lacking(live)
        if lost is not None:
            raise Refused(lost)
        return live

    def _rows(self, *, with_endpoints: bool) -> Rows:
        manifest = self.body.manifest
        question: dict[str, Any] = {
            "environment": self.environment,
            "extensions": [
                {
                    "publisher": self.body.publisher,
                    "name": manifest.name,
                    "version": manifest.version,
                }
            ],
        }
        answer = catalog_read.read_rows(
            self.connection,
            question,
            [self.body.tenant_id],
            with_endpoints=with_endpoints,
            only=[self.body.registry_id],
        )
        return rows_of(answer, with_endpoints=with_endpoints)

    def _check(self, rows: Rows, before: Install | None, *, may_take_over: bool) -> None:
        objections = catalog_guard.objections(self.body, rows, self.environment)
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

    def _mark(self, registry: Row, version: Row, before: Install | None) -> Mark:
        former = before.mark if before is not None else None
        made = former.made_versions if former else ()
        return Mark(
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


def _write_endpoints(writer: Writer, version: str, before: Install | None) -> None:
    endpoints = writer.endpoints(version)
    schedules = before.schedules if before else ()
    writer.schedules(
        (it.id, endpoints[it.method, it.path])
        for it in schedules
        if it.method is not None and it.path is not None and it.version != version
    )
    writer.drop_endpoints(version, list(endpoints.values()))
