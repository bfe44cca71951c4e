"""Which tenant the extensions are for, and the row of a tenant in a managed database."""

# ruff: noqa: ARG002 - the signatures are the protocol's

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from algaenv.bundle.value import dataclass
from algaenv.drivers.database.session import DatabaseSession
from algaenv.drivers.retry import retry_unavailable
from algaenv.model.content import ContentIds, TenantSpec
from algaenv.model.intent import Intent, ManagedDatabase
from algaenv.model.kind import Address
from algaenv.model.problem import Problem
from algaenv.model.resource import Present, Resource, spec_as
from algaenv.reconcile.protocols import OnProgress

PRODUCT = "psa"
"""The product that runs extensions; a tenant of another one is refused by Alga."""


@dataclass(frozen=True, slots=True)
class TenantRow:
    """A row of `tenants`."""

    id: str
    name: str
    product: str | None

    @property
    def runs_extensions(self) -> bool:
        """A database from before products has no such column, and every tenant runs them."""
        return self.product in (None, PRODUCT)


def parse_tenants(answer: Sequence[Mapping[str, Any]]) -> tuple[TenantRow, ...]:
    """The tenants in the rows of a snapshot."""
    return tuple(TenantRow(it["id"], it["name"], it["product"]) for it in answer)


def tenant_query(intent: Intent, predicted: ContentIds) -> dict[str, str | None]:
    """The part of a snapshot query that is about tenants."""
    wanted = intent.tenant
    if isinstance(intent.database, ManagedDatabase):
        return {"id": wanted.id, "name": predicted.tenant_name, "predicted": predicted.tenant_id}
    return {"id": wanted.id, "name": wanted.name, "predicted": None}


def choose_tenant(
    intent: Intent, predicted: ContentIds, there: Sequence[TenantRow]
) -> TenantRow | Problem:
    """The tenant meant by the spec. In a managed database there always is one, made or to be made.

    There the row with the id wins, then the one with the name, then, where the spec names none,
    the only one there is: it was made under the environment's former name.
    """
    if isinstance(intent.database, ManagedDatabase):
        return _managed(intent, predicted, there)
    found = _external(intent, there)
    if isinstance(found, TenantRow) and not found.runs_extensions:
        return Problem(
            "tenant-product",
            f'cannot install extensions for the tenant "{found.name}" ({found.id}): its product is'
            f" {found.product}",
            f"name a tenant whose product_code is {PRODUCT}",
        )
    return found


def _managed(intent: Intent, predicted: ContentIds, there: Sequence[TenantRow]) -> TenantRow:
    name = predicted.tenant_name
    by_id = [it for it in there if it.id == predicted.tenant_id]
    by_name = [it for it in there if it.name == name] if intent.tenant.id is None else []
    unnamed = intent.tenant.id is None and intent.tenant.name is None
    former = list(there) if unnamed and len(there) == 1 else []
    row = next(iter((*by_id, *by_name, *former)), None)
    kept = name if row is None or intent.tenant.name or unnamed else row.name
    return TenantRow(row.id if row else predicted.tenant_id, kept, row.product if row else PRODUCT)


def _external(intent: Intent, there: Sequence[TenantRow]) -> TenantRow | Problem:
    wanted = intent.tenant
    if wanted.id is not None:
        found = [it for it in there if it.id == wanted.id]
    elif wanted.name is not None:
        found = [it for it in there if it.name == wanted.name]
    else:
        found = list(there)
    if len(found) == 1:
        return found[0]
    listing = tuple(f"{it.id}  {it.name}" for it in found or there)
    if found:
        which = f'"{wanted.name}"' if wanted.name is not None else "one"
        return Problem(
            "tenant-ambiguous",
            f"cannot tell which tenant is meant: the database has several, and the spec asks for"
            f" {which}",
            "write `tenant.id` into the spec",
            detail=listing,
        )
    if not there:
        return Problem(
            "tenant-missing",
            "cannot find a tenant: the table `tenants` is empty",
            "run Alga's seeds, or create a tenant in Alga",
        )
    meant = f"the id {wanted.id}" if wanted.id else f'the name "{wanted.name}"'
    return Problem(
        "tenant-missing",
        f"cannot find a tenant with {meant}",
        "write one of these into `tenant`",
        detail=listing,
    )


class TenantDriver:
    """The row of `tenants` in a managed database."""

    def __init__(self, database: DatabaseSession) -> None:
        self._database = database

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """Insert it; a row with that id is brought up to date."""
        body = spec_as(resource, TenantSpec)
        slug = re.sub(r"[^a-z0-9]+", "-", body.name.lower()).strip("-") or "tenant"
        values = (body.id, body.name, f"dev@{slug}.invalid", PRODUCT)

        def insert() -> None:
            with self._database.transaction() as connection:
                connection.execute(
                    "INSERT INTO tenants"
                    " (tenant, client_name, email, product_code, created_at, updated_at)"
                    " VALUES (%s, %s, %s, %s, clock_timestamp(), clock_timestamp())"
                    " ON CONFLICT (tenant) DO UPDATE SET client_name = excluded.client_name,"
                    " product_code = excluded.product_code, updated_at = excluded.updated_at",
                    values,
                )

        retry_unavailable(insert, on_progress)

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        """Its name, and the product that runs extensions; everything else stays."""
        self.create(resource, on_progress)

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Remove the row."""

        def remove() -> None:
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM tenants WHERE tenant::text = %s", (seen.handle,))

        retry_unavailable(remove, on_progress)
