"""What a plan and a write check of a release. Pure.

Drift: the rows of an installation are compared with the record in its mark, fact by fact, in words.

Preconditions: the rows of others that the write would break. Checked twice: on the snapshot, so
that a plan reports them, and inside the transaction.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence

from algaenv.bundle.manifest import capabilities
from algaenv.drivers.database.rows import InstallRow, RowSet, VersionRow
from algaenv.model.content import ReleaseSpec
from algaenv.model.drift import HIDDEN, Drift
from algaenv.model.problem import Problem
from algaenv.model.resource import Inputs, Json
from algaenv.model.secret import Secret, keyed_digest

INLINE_ALGORITHM = "inline/base64"
_CONFIG, _SECRETS = "config.", "secrets."
_LONGEST = 60


def drift(install: InstallRow, recorded: Inputs, key: Secret) -> tuple[Drift, ...]:
    """What no longer agrees with `recorded`; `key` is the one secrets were digested with."""
    return (
        *_fields(_plain_facts(install), _plain(recorded)),
        *_bundles(install, recorded),
        *_endpoint_rows(install, recorded),
        *_config(install, recorded),
        *_secrets(install, recorded, key),
        *_schedules(install),
    )


def encode_secrets(values: Mapping[str, str]) -> str:
    """Secrets as Alga stores them without a secret manager.

    The same values always give the same text.
    """
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return base64.b64encode(text.encode()).decode()


def decode_secrets(text: str) -> dict[str, str] | None:
    """The secrets in a ciphertext; None when they cannot be read."""
    try:
        values = json.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return None
    if not isinstance(values, dict):
        return None
    return {str(name): value for name, value in values.items() if isinstance(value, str)}


def _plain_facts(install: InstallRow) -> dict[str, Json]:
    version = install.version
    return {
        "manifest version": version.version,
        "tenant": install.tenant,
        "registry id": install.registry,
        "manifest runtime": version.runtime,
        "main entry": version.main_entry,
        "ui": version.ui,
        "endpoints": version.endpoints,
        "capabilities": version.capabilities,
        "granted": install.granted,
        "enabled": install.enabled and install.status == "enabled",
    }


def _plain(recorded: Inputs) -> dict[str, Json]:
    """The facts that stand in columns of their own."""
    elsewhere = (_CONFIG, _SECRETS, "bundle")
    return {name: value for name, value in recorded.items() if not name.startswith(elsewhere)}


def _fields(live: Mapping[str, Json], recorded: Mapping[str, Json]) -> Iterator[Drift]:
    for name in sorted({*live, *recorded}):
        if name not in recorded:
            now = _short(live[name])
            yield Drift(f"{name} is {now}, nothing recorded", name, "", now)
        elif name not in live:
            before = _short(recorded[name])
            yield Drift(f"{name} is missing, recorded {before}", name, before, "")
        elif not _same(live[name], recorded[name]):
            now, before = _short(live[name]), _short(recorded[name])
            yield Drift(f"{name} is {now}, recorded {before}", name, before, now)


def _bundles(install: InstallRow, recorded: Inputs) -> Iterator[Drift]:
    wanted = recorded.get("bundle")
    mine = next((it for it in install.bundles if it.digest == wanted), None)
    if mine is None:
        newest = install.bundles[0].digest if install.bundles else None
        instead = f", {_short(newest)} is served" if newest else ""
        phrase = f"the bundle row {_short(wanted)} is missing{instead}"
        yield Drift(phrase, "bundle", _short(wanted), _short(newest) if newest else "")
        return
    live: dict[str, Json] = {"bundle size": mine.size, "bundle address": mine.url}
    yield from _fields(live, {name: recorded.get(name) for name in live})
    undated = sum(not it.dated for it in install.bundles)
    if undated:
        phrase = f"{undated} bundle row{'s' * (undated > 1)} without created_at"
        yield Drift(phrase, "bundle", "created_at", "")
    ahead = [it for it in install.bundles if it is not mine and it.place <= mine.place]
    if ahead and mine.dated:
        newer = "newer than" if ahead[0].place < mine.place else "as new as"
        now, before = _short(ahead[0].digest), _short(wanted)
        yield Drift(f"bundle {now} is {newer} the recorded {before}", "bundle", before, now)


def _endpoint_rows(install: InstallRow, recorded: Inputs) -> Iterator[Drift]:
    listed = recorded.get("endpoints")
    if install.endpoints is None or not isinstance(listed, list):
        return
    wanted = {
        (str(it.get("method")), str(it.get("path"))): it.get("handler")
        for it in listed
        if isinstance(it, dict)
    }
    for method, path in sorted({*wanted, *install.endpoints}):
        address, row = f"{method} {path}", (method, path)
        if row not in install.endpoints:
            yield Drift(f"the endpoint row {address} is missing", "endpoints", address, "")
        elif row not in wanted:
            phrase = f"the endpoint row {address} is not in the record"
            yield Drift(phrase, "endpoints", "", address)
        elif install.endpoints[row] != wanted[row]:
            phrase = f"the endpoint row {address} names another handler"
            before, now = str(wanted[row]), install.endpoints[row]
            yield Drift(phrase, "endpoints", before, now)


def _config(install: InstallRow, recorded: Inputs) -> Iterator[Drift]:
    row = install.config
    if row is None:
        yield Drift("the config row is missing", "config", "present", "")
        return
    if row.tenant != install.tenant:
        phrase = f"the config row is for the tenant {_short(row.tenant)}"
        yield Drift(phrase, "config", install.tenant, row.tenant)
    if not isinstance(row.config, dict):
        phrase = f"config is {_short(row.config)}, not an object"
        yield Drift(phrase, "config", "an object", _short(row.config))
    else:
        live = {_CONFIG + name: value for name, value in row.config.items()}
        yield from _fields(live, _starting(_CONFIG, recorded))
    granted = recorded.get("granted")
    if isinstance(granted, list):
        providers: list[Json] = [*capabilities.effective(map(str, granted))]
        yield from _fields({"providers": row.providers}, {"providers": providers})


def _secrets(install: InstallRow, recorded: Inputs, key: Secret) -> Iterator[Drift]:
    wanted = _starting(_SECRETS, recorded)
    row = install.secrets
    if row is None:
        if wanted:
            yield Drift("the secrets row is missing", "secrets", "present", "")
        return
    if not wanted:
        yield Drift("there is a secrets row, none recorded", "secrets", "", "present")
        return
    if row.tenant != install.tenant:
        phrase = f"the secrets row is for the tenant {_short(row.tenant)}"
        yield Drift(phrase, "secrets", install.tenant, row.tenant)
    values = decode_secrets(row.ciphertext) if row.algorithm == INLINE_ALGORITHM else None
    if values is None:
        phrase = f"the secrets are kept as {row.algorithm} and cannot be read"
        yield Drift(phrase, "secrets", INLINE_ALGORITHM, row.algorithm)
        return
    live = {_SECRETS + name: keyed_digest(Secret(it), key) for name, it in values.items()}
    for name in sorted({*live, *wanted}):
        if name not in wanted:
            yield Drift(f"{name} is not in the record", name, "", HIDDEN)
        elif name not in live:
            yield Drift(f"{name} is missing", name, HIDDEN, "")
        elif live[name] != wanted[name]:
            yield Drift(f"{name} is another one than recorded", name, HIDDEN, HIDDEN)


def _schedules(install: InstallRow) -> Iterator[Drift]:
    for schedule in install.schedules:
        if schedule.method is not None and schedule.version != install.version.id:
            phrase = f"the schedule {schedule.display_name} calls an endpoint of another version"
            yield Drift(phrase, "schedules", install.version.id, schedule.version or "")


def _starting(prefix: str, recorded: Inputs) -> dict[str, Json]:
    return {name: value for name, value in recorded.items() if name.startswith(prefix)}


def _same(live: Json, recorded: Json) -> bool:
    """Equal as JSON, where true is not 1; most facts are text, which needs no detour."""
    if isinstance(live, str):
        return live == recorded
    return json.dumps(live, sort_keys=True) == json.dumps(recorded, sort_keys=True)


def _short(value: Json) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if text.startswith("sha256:"):
        return text[:19]
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


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
