"""The rows of a snapshot as values: what is installed, and what belongs to each installation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from algaenv.bundle.value import dataclass, field
from algaenv.drivers.database.install_mark import InstallMark, parse_install_mark


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A row of `extension_version`; the JSON columns as they are."""

    id: str
    registry: str
    version: str
    runtime: str
    main_entry: str
    ui: Any
    capabilities: Any
    endpoints: Any


@dataclass(frozen=True, slots=True)
class BundleRow:
    """A row of `extension_bundle`. `place` is 1 for the newest; equal ages share a place."""

    digest: str
    url: str | None
    size: int | None
    place: int
    dated: bool


@dataclass(frozen=True, slots=True)
class ConfigRow:
    """The row of `tenant_extension_install_config`."""

    tenant: str
    config: Any
    providers: Any


@dataclass(frozen=True, slots=True)
class SecretRow:
    """The row of `tenant_extension_install_secrets`; `ciphertext` is only encoded."""

    tenant: str
    ciphertext: str
    algorithm: str

    def __repr__(self) -> str:
        return f"SecretRow({self.tenant!r}, {self.algorithm!r})"


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A schedule, and the endpoint it calls; without a `method` that endpoint's row is gone."""

    id: str
    name: str | None
    version: str | None
    method: str | None
    path: str | None

    @property
    def display_name(self) -> str:
        """How it is called in messages."""
        return f'"{self.name}"' if self.name else self.id


@dataclass(frozen=True, slots=True)
class OtherInstalls:
    """Installs of a version that are none of ours: how many, and the tenant of one of them."""

    installs: int
    tenant: str


@dataclass(frozen=True, slots=True)
class InstallRow:
    """A row of `tenant_extension_install` with all that hangs on it.

    `bundles` are those of the installed version, newest first. `endpoints` maps method and path to
    the handler in the table of endpoints; None without that table. `publisher` and `name` are those
    of its registry row.
    """

    id: str
    tenant: str
    registry: str
    publisher: str
    name: str
    granted: Any
    enabled: bool
    status: str
    mark: InstallMark | None
    version: VersionRow
    bundles: tuple[BundleRow, ...]
    endpoints: Mapping[tuple[str, str], str] | None
    config: ConfigRow | None
    secrets: SecretRow | None
    schedules: tuple[ScheduleRow, ...]

    @property
    def extension_key(self) -> tuple[str, str]:
        """Tenant and registry id, the tenant spelled as it should be."""
        return self.tenant.strip().lower(), self.registry

    def serves(self, digest: str) -> bool:
        """Whether this build, spelled `sha256:…`, is the one that its pages come from."""
        return bool(self.bundles) and self.bundles[0].digest == digest

    def made_by(self, environment: str) -> bool:
        """Whether it carries the mark of this environment."""
        return self.mark is not None and self.mark.environment == environment


@dataclass(frozen=True, slots=True)
class RowSet:
    """`registries` maps publisher and name to the id; `versions` also holds wanted versions that
    are not installed, by registry id and version. `bundles`, `running` and `others` go by version
    id; `homes` by tenant and registry id, where an install spelled canonically comes first.

    `held` are the tenants and registry ids that have an install of whatever maker. `builds` maps
    registry id and digest, spelled `sha256:…`, to the tenants in the addresses of the bundle rows,
    None for an address that names none.
    """

    registries: Mapping[tuple[str, str], str]
    installs: tuple[InstallRow, ...]
    versions: Mapping[tuple[str, str], VersionRow]
    bundles: Mapping[str, tuple[BundleRow, ...]]
    others: Mapping[str, OtherInstalls]
    installs_by_key: Mapping[tuple[str, str], InstallRow]
    running: Mapping[str, Sequence[InstallRow]]
    held: Collection[tuple[str, str]] = frozenset()
    builds: Mapping[tuple[str, str], Collection[str | None]] = field(default_factory=dict)

    def installed(self, tenant: str, registry: str) -> InstallRow | None:
        """The install of an extension in a tenant."""
        return self.installs_by_key.get((tenant, registry))


EMPTY_ROWS = RowSet({}, (), {}, {}, {}, {}, {})


def parse_rows(
    answer: Mapping[str, Sequence[Mapping[str, Any]]], *, with_endpoints: bool
) -> RowSet:
    """The values in the result of `queries.read_rows`."""
    versions = {row["id"]: _version(row) for row in answer["version"]}
    owners = {row["id"]: row for row in answer["owner"]}
    bundles = _grouped(answer["bundle"], "version_id")
    endpoints = _grouped(answer["endpoint"], "version_id")
    configs = {row["install_id"]: row for row in answer["config"]}
    secrets = {row["install_id"]: row for row in answer["secret"]}
    schedules = _grouped(answer["schedule"], "install_id")
    newest_first = {
        version: tuple(sorted(map(_bundle, found), key=lambda it: it.place))
        for version, found in bundles.items()
    }

    def install(row: Mapping[str, Any]) -> InstallRow:
        id_, version, owner = row["id"], row["version_id"], owners[row["registry_id"]]
        listed = {(it["method"], it["path"]): it["handler"] for it in endpoints[version]}
        config, secret = configs.get(id_), secrets.get(id_)
        return InstallRow(
            id=id_,
            tenant=row["tenant_id"],
            registry=row["registry_id"],
            publisher=owner["publisher"],
            name=owner["name"],
            granted=row["granted_caps"],
            enabled=row["is_enabled"],
            status=row["status"],
            mark=parse_install_mark(row["mark"]),
            version=versions[version],
            bundles=newest_first.get(version, ()),
            endpoints=listed if with_endpoints else None,
            config=ConfigRow(config["tenant_id"], config["config"], config["providers"])
            if config
            else None,
            secrets=SecretRow(secret["tenant_id"], secret["ciphertext"], secret["algorithm"])
            if secret
            else None,
            schedules=tuple(map(_schedule, schedules[id_])),
        )

    installs = tuple(sorted(map(install, answer["install"]), key=lambda it: it.id))
    installs_by_key: dict[tuple[str, str], InstallRow] = {}
    running: defaultdict[str, list[InstallRow]] = defaultdict(list)
    for it in installs:
        running[it.version.id].append(it)
        if it.extension_key not in installs_by_key or it.tenant == it.extension_key[0]:
            installs_by_key[it.extension_key] = it
    builds: defaultdict[tuple[str, str], set[str | None]] = defaultdict(set)
    for row in answer["build"]:
        builds[row["registry_id"], row["content_hash"]].add(row["tenant"])
    return RowSet(
        registries={(row["publisher"], row["name"]): row["id"] for row in answer["registry"]},
        installs=installs,
        versions={(it.registry, it.version): it for it in versions.values()},
        bundles=newest_first,
        others={
            row["version_id"]: OtherInstalls(row["installs"], row["tenant"])
            for row in answer["other"]
        },
        installs_by_key=installs_by_key,
        running=dict(running),
        held=frozenset((row["tenant"], row["registry_id"]) for row in answer["holder"]),
        builds=dict(builds),
    )


def _grouped(
    rows: Iterable[Mapping[str, Any]], key: str
) -> defaultdict[str, list[Mapping[str, Any]]]:
    found: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row[key]].append(row)
    return found


def _version(row: Mapping[str, Any]) -> VersionRow:
    return VersionRow(
        id=row["id"],
        registry=row["registry_id"],
        version=row["version"],
        runtime=row["runtime"],
        main_entry=row["main_entry"],
        ui=row["ui"],
        capabilities=row["capabilities"],
        endpoints=row["api_endpoints"],
    )


def _bundle(row: Mapping[str, Any]) -> BundleRow:
    return BundleRow(
        digest=row["content_hash"],
        url=row["storage_url"],
        size=row["size_bytes"],
        place=row["place"],
        dated=row["dated"],
    )


def _schedule(row: Mapping[str, Any]) -> ScheduleRow:
    return ScheduleRow(
        id=row["id"],
        name=row["name"],
        version=row["version_id"],
        method=row["method"],
        path=row["path"],
    )
