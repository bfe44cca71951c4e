"""Compares the rows of an installation with the record in its mark, fact by fact, in words."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping

from algaenv.bundle.manifest import capabilities
from algaenv.drivers.database.rows import InstallRow
from algaenv.model.resource import Inputs, Json
from algaenv.model.secret import Secret, keyed_digest

INLINE_ALGORITHM = "inline/base64"
_CONFIG, _SECRETS = "config.", "secrets."
_LONGEST = 60


def drift(install: InstallRow, recorded: Inputs, key: Secret) -> tuple[str, ...]:
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


def _fields(live: Mapping[str, Json], recorded: Mapping[str, Json]) -> Iterator[str]:
    for name in sorted({*live, *recorded}):
        if name not in recorded:
            yield f"{name} is {_short(live[name])}, nothing recorded"
        elif name not in live:
            yield f"{name} is missing, recorded {_short(recorded[name])}"
        elif not _same(live[name], recorded[name]):
            yield f"{name} is {_short(live[name])}, recorded {_short(recorded[name])}"


def _bundles(install: InstallRow, recorded: Inputs) -> Iterator[str]:
    wanted = recorded.get("bundle")
    mine = next((it for it in install.bundles if it.digest == wanted), None)
    if mine is None:
        newest = install.bundles[0].digest if install.bundles else None
        instead = f", {_short(newest)} is served" if newest else ""
        yield f"the bundle row {_short(wanted)} is missing{instead}"
        return
    live: dict[str, Json] = {"bundle size": mine.size, "bundle address": mine.url}
    yield from _fields(live, {name: recorded.get(name) for name in live})
    undated = sum(not it.dated for it in install.bundles)
    if undated:
        yield f"{undated} bundle row{'s' * (undated > 1)} without created_at"
    ahead = [it for it in install.bundles if it is not mine and it.place <= mine.place]
    if ahead and mine.dated:
        newer = "newer than" if ahead[0].place < mine.place else "as new as"
        yield f"bundle {_short(ahead[0].digest)} is {newer} the recorded {_short(wanted)}"


def _endpoint_rows(install: InstallRow, recorded: Inputs) -> Iterator[str]:
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
            yield f"the endpoint row {address} is missing"
        elif row not in wanted:
            yield f"the endpoint row {address} is not in the record"
        elif install.endpoints[row] != wanted[row]:
            yield f"the endpoint row {address} names another handler"


def _config(install: InstallRow, recorded: Inputs) -> Iterator[str]:
    row = install.config
    if row is None:
        yield "the config row is missing"
        return
    if row.tenant != install.tenant:
        yield f"the config row is for the tenant {_short(row.tenant)}"
    if not isinstance(row.config, dict):
        yield f"config is {_short(row.config)}, not an object"
    else:
        live = {_CONFIG + name: value for name, value in row.config.items()}
        yield from _fields(live, _starting(_CONFIG, recorded))
    granted = recorded.get("granted")
    if isinstance(granted, list):
        providers: list[Json] = [*capabilities.effective(map(str, granted))]
        yield from _fields({"providers": row.providers}, {"providers": providers})


def _secrets(install: InstallRow, recorded: Inputs, key: Secret) -> Iterator[str]:
    wanted = _starting(_SECRETS, recorded)
    row = install.secrets
    if row is None:
        if wanted:
            yield "the secrets row is missing"
        return
    if not wanted:
        yield "there is a secrets row, none recorded"
        return
    if row.tenant != install.tenant:
        yield f"the secrets row is for the tenant {_short(row.tenant)}"
    values = decode_secrets(row.ciphertext) if row.algorithm == INLINE_ALGORITHM else None
    if values is None:
        yield f"the secrets are kept as {row.algorithm} and cannot be read"
        return
    live = {_SECRETS + name: keyed_digest(Secret(it), key) for name, it in values.items()}
    for name in sorted({*live, *wanted}):
        if name not in wanted:
            yield f"{name} is not in the record"
        elif name not in live:
            yield f"{name} is missing"
        elif live[name] != wanted[name]:
            yield f"{name} is another one than recorded"


def _schedules(install: InstallRow) -> Iterator[str]:
    for schedule in install.schedules:
        if schedule.method is not None and schedule.version != install.version.id:
            yield f"the schedule {schedule.display_name} calls an endpoint of another version"


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
