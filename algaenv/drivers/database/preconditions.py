"""Preconditions of writing a release: the rows of others that the write would break.

Checked twice: on the snapshot, so that a plan reports them, and inside the transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from algaenv.drivers.database.queries import REQUIRED_COLUMNS
from algaenv.drivers.database.rows import InstallRow, RowSet, VersionRow
from algaenv.model.content import ReleaseSpec
from algaenv.model.problem import Problem


def release_problems(body: ReleaseSpec, rows: RowSet, environment: str) -> tuple[Problem, ...]:
    """Why this release must not be written; empty when it may."""
    install = rows.installed(body.tenant_id, body.registry_id)
    found = list(_shared_version_problems(body, rows, install, environment))
    if install is not None:
        found += _lost_endpoint_problems(body, install)
    return tuple(found)


def has_manifest_name(install: InstallRow, body: ReleaseSpec) -> bool:
    """Whether the registry row still has the publisher and name of the manifest."""
    return (install.publisher, install.name) == (body.publisher, body.manifest.name)


def schema_problem(live: Mapping[str, Collection[str]]) -> Problem | None:
    """Which tables and columns the database lacks, all at once; `live` maps tables to columns."""
    lost = [table for table in REQUIRED_COLUMNS if table not in live]
    lost += [
        f"{table}.{column}"
        for table, needed in REQUIRED_COLUMNS.items()
        for column in needed
        if table in live and column not in live[table]
    ]
    if not lost:
        return None
    return Problem(
        "schema-missing",
        f"cannot install extensions into the database: it lacks {', '.join(lost)}",
        "run Alga's EE migrations: `npm run migrate:ee` in its server/ directory",
    )


def duplicate_problems(bodies: Sequence[ReleaseSpec]) -> dict[str, Problem]:
    """Extensions of the spec that would fight for the same rows, by extension."""
    first: dict[tuple[str, str], str] = {}
    found: dict[str, Problem] = {}
    for body in bodies:
        name = (body.publisher, body.manifest.name)
        if name in first:
            found[body.extension] = Problem(
                "extension-twice",
                f"cannot install {body.extension}: its manifest has the publisher and name of"
                f" {first[name]} ({body.publisher}/{body.manifest.name})",
                "give one of them another name, or take it out of the spec",
            )
        first.setdefault(name, body.extension)
    return found


def _lost_endpoint_problems(body: ReleaseSpec, install: InstallRow) -> Iterator[Problem]:
    offered = {(it.method, it.path) for it in body.manifest.endpoints}
    lost = [
        f"the schedule {it.display_name} calls {it.method} {it.path}"
        for it in install.schedules
        if it.method is not None and (it.method, it.path) not in offered
    ]
    if lost:
        yield Problem(
            "schedule-endpoint-gone",
            f"cannot install {body.extension} {body.manifest.version}: {'; '.join(lost)}, which"
            " its manifest no longer has",
            "put the endpoint back into manifest.json, or remove the schedule in Alga",
            detail=tuple(lost),
        )


def _shared_version_problems(
    body: ReleaseSpec, rows: RowSet, install: InstallRow | None, environment: str
) -> Iterator[Problem]:
    version = rows.versions.get((body.registry_id, body.manifest.version))
    if version is None:
        return
    tenants = [
        it.tenant
        for it in rows.running.get(version.id, ())
        if it is not install and not it.made_by(environment)
    ]
    outside = rows.others.get(version.id)
    count = len(tenants) + (outside.installs if outside else 0)
    if count == 0 or _serves(version, rows, body):
        return
    tenant = outside.tenant if outside else tenants[0]
    more = f" and {count - 1} more" if count > 1 else ""
    yield Problem(
        "version-shared",
        f"cannot overwrite version {version.version} of {body.publisher}/{body.manifest.name}:"
        f" the tenant {tenant}{more} runs another build of it",
        'give this build a "version" of its own in manifest.json',
    )


def _serves(version: VersionRow, rows: RowSet, body: ReleaseSpec) -> bool:
    """Whether the version's newest bundle already is ours, and so its manifest is too.

    A version without a bundle serves no tenant, so nothing can be taken from others.
    """
    bundles = rows.bundles.get(version.id, ())
    return not bundles or bundles[0].digest == body.digest.prefixed
