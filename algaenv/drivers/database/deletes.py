"""The statements that remove rows, in the order their references allow.

What other installations, of whatever tenant, still refer to stays. So do the values extensions
have stored for themselves: those are data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from algaenv.drivers.database.install_mark import parse_install_mark
from algaenv.drivers.database.queries import ENDPOINT_TABLE, STORAGE_TABLE, read_columns
from algaenv.drivers.database.session import lock_rows
from algaenv.model.problem import Conflict, Problem

if TYPE_CHECKING:
    from algaenv.drivers.database.session import Connection


def delete_install(
    connection: Connection, id_: str, environment: str, *, managed: bool
) -> tuple[str, ...]:
    """Remove an installation if this environment made it; what stays, in words."""
    there = connection.execute(
        "SELECT registry_id::text FROM tenant_extension_install WHERE id::text = %s", (id_,)
    ).fetchone()
    if there is None:
        return ()
    lock_rows(connection, there[0])
    row = connection.execute(
        "SELECT tenant_id, registry_id::text, runner_status -> 'algaenv'"
        " FROM tenant_extension_install WHERE id::text = %s FOR UPDATE",
        (id_,),
    ).fetchone()
    if row is None:
        return ()
    tenant, registry, found = row
    mark = parse_install_mark(found)
    if mark is None or mark.environment != environment:
        return (f"the install {id_} stays: another tool or environment has taken it over",)
    tables = read_columns(connection, [STORAGE_TABLE, ENDPOINT_TABLE])
    notes = _stored_values_note(connection, tenant, id_) if STORAGE_TABLE in tables else ()
    connection.execute("DELETE FROM tenant_extension_schedule WHERE install_id = %s", (id_,))
    connection.execute("DELETE FROM tenant_extension_install WHERE id = %s", (id_,))
    if not managed:
        kept = (
            f"the rows of registry id {registry} in extension_registry, extension_version,"
            " extension_bundle and extension_api_endpoint stay: the database is not ours",
        )
        return (*notes, *kept)
    unused = _unused_versions(connection, registry)
    _drop_versions(connection, unused, with_endpoints=ENDPOINT_TABLE in tables)
    connection.execute(
        "DELETE FROM extension_registry r WHERE r.id = %s"
        " AND NOT EXISTS (SELECT 1 FROM extension_version v WHERE v.registry_id = r.id)",
        (registry,),
    )
    return notes


def delete_bundle(
    connection: Connection,
    tenant: str,
    registry: str,
    digest: str,
    environment: str,
    *,
    managed: bool,
) -> None:
    """Remove the row of a build, and its version's when nothing is left of that.

    `digest` is spelled `sha256:…`. Raises Conflict while this tenant's install serves the build.
    A build that serves another tenant keeps its row.
    """
    lock_rows(connection, registry)
    serving = _serving(connection, registry, digest)
    if any(it.strip().lower() == tenant for it in serving):
        raise Conflict(
            Problem(
                "bundle-in-use",
                f"cannot remove the bundle {digest[:19]}: it is the one that is served",
                "run `algaenv up`, which moves the rows on first",
            )
        )
    made = _made_versions(connection, registry, environment)
    if serving or (made is None and not managed):
        return
    rows = connection.execute(
        "DELETE FROM extension_bundle WHERE content_hash = %s AND version_id IN"
        " (SELECT id FROM extension_version WHERE registry_id = %s) RETURNING version_id::text",
        (digest, registry),
    ).fetchall()
    touched = {row[0] for row in rows}
    ours = touched if managed else touched & set(made or ())
    unused = [
        version
        for version in _unused_versions(connection, registry)
        if version in ours and not _has_bundles(connection, version)
    ]
    there = read_columns(connection, [ENDPOINT_TABLE])
    _drop_versions(connection, unused, with_endpoints=ENDPOINT_TABLE in there)


def _serving(connection: Connection, registry: str, digest: str) -> list[str]:
    """Tenants whose installed version has this build as its newest."""
    rows = connection.execute(
        "SELECT i.tenant_id FROM tenant_extension_install i WHERE i.registry_id = %s"
        " AND (SELECT b.content_hash FROM extension_bundle b WHERE b.version_id = i.version_id"
        " ORDER BY b.created_at DESC NULLS FIRST, b.content_hash = %s DESC LIMIT 1) = %s",
        (registry, digest, digest),
    ).fetchall()
    return [row[0] for row in rows]


def _made_versions(
    connection: Connection, registry: str, environment: str
) -> tuple[str, ...] | None:
    """The versions that this environment's install says it made; None without an install."""
    rows = connection.execute(
        "SELECT runner_status -> 'algaenv' FROM tenant_extension_install"
        " WHERE registry_id = %s AND runner_status #>> '{algaenv,environment}' = %s",
        (registry, environment),
    ).fetchall()
    marks = [mark for row in rows if (mark := parse_install_mark(row[0])) is not None]
    return tuple(it for mark in marks for it in mark.made_versions) if marks else None


def _unused_versions(connection: Connection, registry: str) -> list[str]:
    """Versions of the extension that no installation points at."""
    rows = connection.execute(
        "SELECT v.id::text FROM extension_version v WHERE v.registry_id = %s AND NOT EXISTS"
        " (SELECT 1 FROM tenant_extension_install i WHERE i.version_id = v.id)",
        (registry,),
    ).fetchall()
    return [row[0] for row in rows]


def _has_bundles(connection: Connection, version: str) -> bool:
    row = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM extension_bundle WHERE version_id = %s)", (version,)
    ).fetchone()
    return bool(row and row[0])


def _drop_versions(
    connection: Connection, versions: Sequence[str], *, with_endpoints: bool
) -> None:
    """Versions with their bundles, which go by cascade, and their endpoints, which do not."""
    if not versions:
        return
    if with_endpoints:
        connection.execute(
            "DELETE FROM extension_api_endpoint WHERE version_id = ANY (%s::uuid[])",
            (list(versions),),
        )
    connection.execute(
        "DELETE FROM extension_version WHERE id = ANY (%s::uuid[])", (list(versions),)
    )


def _stored_values_note(connection: Connection, tenant: str, install_id: str) -> tuple[str, ...]:
    row = connection.execute(
        f"SELECT count(*) FROM {STORAGE_TABLE}"  # noqa: S608
        " WHERE tenant::text = %s AND extension_install_id = %s",
        (tenant.strip().lower(), install_id),
    ).fetchone()
    count = row[0] if row else 0
    if not count:
        return ()
    plural = "s" if count > 1 else ""
    return (f"{count} stored value{plural} of the install {install_id} stay in {STORAGE_TABLE}",)
