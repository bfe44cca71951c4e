"""A snapshot of the content: what each resource of a plan finds in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from algaenv.bundle.layout import BundleKey, bundle_key, parse_bundle_key
from algaenv.bundle.value import dataclass, field
from algaenv.drivers.database import release_checks, schema
from algaenv.drivers.database.release_checks import drift
from algaenv.drivers.database.rows import InstallRow, RowSet
from algaenv.drivers.database.tenants import PRODUCT, TenantRow
from algaenv.drivers.object_store import StoredObject, handle_of
from algaenv.model.content import (
    BucketSpec,
    BundleSpec,
    ContentIds,
    ReleaseSpec,
    SchemaSpec,
    TenantSpec,
)
from algaenv.model.drift import Drift
from algaenv.model.kind import RELEASE, Address
from algaenv.model.problem import Problem
from algaenv.model.resource import Absent, Inputs, Observation, Present, Resource, fingerprint
from algaenv.model.secret import Secret
from algaenv.plan.desired import bundle_address

ExtensionKey = tuple[str, str]
"""Tenant and registry id: what an extension's rows and objects have in common."""


@dataclass(frozen=True, slots=True)
class ContentSnapshot:
    """What `ContentHost.snapshot` read. `objects` maps buckets to what is in them, None where the
    bucket is missing."""

    environment: str
    key: Secret = field(repr=False)
    """What secrets are digested with."""
    bucket: str
    ids: ContentIds
    rows: RowSet
    tenant: TenantRow | None
    columns: Mapping[str, Collection[str]]
    objects: Mapping[str, tuple[StoredObject, ...] | None]
    marks: Collection[BundleKey] | None = None
    """Beside an external database: the bundles that this environment has uploaded."""
    rows_known: bool = True
    """False: there may be rows that could not be read."""
    seeds: Mapping[Address, Present] = field(default_factory=dict)
    """What the seeds of this environment have made."""

    def observe(self, wanted: Sequence[Resource]) -> Mapping[Address, Observation]:
        """What is there of `wanted`, and all bundles and releases of this environment."""
        releases = {r.address: b for r in wanted if isinstance(b := r.body, ReleaseSpec)}
        names = self._names(releases)
        seen: dict[Address, Observation] = {
            address: self._release(install, address)
            for address, install in self._leftovers(releases, names)
        }
        blocked = self.blockers(wanted)
        stuck = {(b.tenant_id, b.registry_id) for it, b in releases.items() if it in blocked}
        seen |= self._bundles(names, stuck)
        seen |= self.seeds
        there = {(name, it.key): it for name, found in self.objects.items() for it in found or ()}
        for resource in wanted:
            seen[resource.address] = self._wanted(resource, there)
        return seen

    def blockers(self, wanted: Sequence[Resource]) -> Mapping[Address, Problem]:
        """What must not be written, and why: it would break something of others."""
        bodies = {r.address: b for r in wanted if isinstance(b := r.body, ReleaseSpec)}
        twins = release_checks.duplicate_problems(list(bodies.values()))
        found: dict[Address, Problem] = {}
        for address, body in bodies.items():
            objections = release_checks.release_problems(body, self.rows, self.environment)
            if body.extension in twins:
                found[address] = twins[body.extension]
            elif objections:
                found[address] = objections[0]
        return found

    def _wanted(
        self, resource: Resource, objects: Mapping[tuple[str, str], StoredObject]
    ) -> Observation:
        match resource.body:
            case BucketSpec(bucket):
                there = self.objects.get(bucket) is not None
                return self._kept(resource, bucket) if there else Absent()
            case SchemaSpec():
                return self._schema(resource)
            case TenantSpec():
                return self._tenant()
            case BundleSpec() as body:
                found = objects.get((body.bucket, body.key))
                return self._bundle(resource, body, found) if found else Absent()
            case ReleaseSpec() as body:
                install = self.rows.installed(body.tenant_id, body.registry_id)
                if install is None:
                    return Absent()
                name = f"{install.publisher}/{install.name}"
                renamed = Drift(
                    f"the registry row is called {name}",
                    "registry",
                    f"{body.publisher}/{body.manifest.name}",
                    name,
                )
                wrong = () if release_checks.has_manifest_name(install, body) else (renamed,)
                return self._release(install, resource.address, wrong)
            case _:
                return self.seeds.get(resource.address, Absent())

    def _kept(self, resource: Resource, handle: str, lost: tuple[Drift, ...] = ()) -> Present:
        """A resource of our own host that cannot carry a mark."""
        return Present(
            recorded=resource.fingerprint,
            inputs=resource.inputs,
            drift=lost,
            handle=handle,
            retained=True,
        )

    def _schema(self, resource: Resource) -> Observation:
        if not self.columns:
            return Absent()
        return self._kept(resource, "", schema.missing_parts(self.columns))

    def _tenant(self) -> Observation:
        row = self.tenant
        if row is None:
            return Absent()
        inputs: Inputs = {"id": row.id, "name": row.name}
        phrase = f"product_code is {row.product}, not {PRODUCT}"
        drifted = Drift(phrase, "product_code", PRODUCT, str(row.product))
        wrong = () if row.runs_extensions else (drifted,)
        return Present(fingerprint(inputs), inputs, wrong, handle=row.id, retained=True)

    def _bundle(self, resource: Resource, body: BundleSpec, found: StoredObject) -> Present:
        """An object under the wanted key is ours even without rows: its key names its content."""
        wrong: tuple[Drift, ...] = ()
        if found.size != body.size:
            phrase = f"the object has {found.size} bytes, not {body.size}"
            wrong = (Drift(phrase, "size", str(body.size), str(found.size), found.modified),)
        elif found.md5_differs(Path(body.archive)):
            phrase = "the object holds other bytes than the bundle"
            wrong = (Drift(phrase, "bytes", "the bundle", "other bytes", found.modified),)
        return Present(
            recorded=resource.fingerprint,
            inputs=resource.inputs,
            drift=wrong,
            handle=handle_of(body.bucket, body.key),
            note=found.modified,
        )

    def _object(self, found: StoredObject, *, stuck: bool, released: bool) -> Present:
        inputs: Inputs = {"bucket": self.bucket, "key": found.key, "size": found.size}
        handle = handle_of(self.bucket, found.key)
        note = found.modified if released else ""
        if stuck:
            note = "served for as long as the release cannot be written"
        return Present(fingerprint(inputs), inputs, handle=handle, note=note, retained=stuck)

    def _release(
        self, install: InstallRow, address: Address, wrong: tuple[Drift, ...] = ()
    ) -> Present:
        mark = install.mark
        version = f"version {install.version.version}"
        if mark is None or mark.environment != self.environment:
            maker = f"the environment {mark.environment}" if mark else "another tool"
            return Present(None, handle=install.id, note=f"{version}, made by {maker}")
        wrong = (*wrong, *drift(install, mark.inputs, self.key))
        if mark.address != str(address) and "~" not in address.name:
            phrase = f"recorded as {mark.address}"
            wrong = (*wrong, Drift(phrase, "address", str(address), mark.address))
        return Present(mark.fingerprint, mark.inputs, wrong, handle=install.id, note=version)

    def _names(self, releases: Mapping[Address, ReleaseSpec]) -> dict[ExtensionKey, str]:
        """TenantRow and registry id → the extension they belong to, for everything that is ours.

        What a wanted release does not claim keeps the name it was made under, with a part of its
        id where the spec has given that name to another extension since.
        """
        names = {(b.tenant_id, b.registry_id): b.extension for b in releases.values()}
        taken = set(names.values())
        for install in self.rows.installs:
            if install.extension_key in names or not install.made_by(self.environment):
                continue
            name = (install.mark.name if install.mark else "") or install.id
            names[install.extension_key] = f"{name}~{install.id[:8]}" if name in taken else name
            taken.add(names[install.extension_key])
        return names

    def _leftovers(
        self, releases: Mapping[Address, ReleaseSpec], names: Mapping[ExtensionKey, str]
    ) -> list[tuple[Address, InstallRow]]:
        """Installs of this environment that no wanted release claims."""
        claimed = {(b.tenant_id, b.registry_id) for b in releases.values()}
        return [
            (RELEASE.address(names[it.extension_key]), it)
            for it in self.rows.installs
            if it.made_by(self.environment) and it.extension_key not in claimed
        ]

    def _bundles(
        self, names: Mapping[ExtensionKey, str], stuck: Collection[ExtensionKey]
    ) -> dict[Address, Observation]:
        """The objects of extensions that are ours; those of others are never listed.

        What an install serves stays while its release is `stuck`: nothing takes its place.
        """
        names = dict(names)
        seen: dict[Address, Observation] = {}
        for key, found in self._found():
            extension_key = (key.tenant, key.registry)
            if extension_key not in names and self._is_orphan(key):
                names[extension_key] = _orphan_name(extension_key, names.values())
            if not self._is_ours(key, names):
                continue
            install = self.rows.installed(*extension_key) if extension_key in stuck else None
            served = bool(install and install.serves(key.digest.prefixed))
            address = bundle_address(names[extension_key], key.digest.short)
            seen[address] = self._object(found, stuck=served, released=self._is_released(key))
        return seen

    def _found(self) -> Iterator[tuple[BundleKey, StoredObject]]:
        """All bundles of the store, and those marked ones of which only the mark is left."""
        there = set()
        for found in self.objects.get(self.bucket) or ():
            if (key := parse_bundle_key(found.key)) is not None:
                there.add(key)
                yield key, found
        for key in sorted(set(self.marks or ()) - there):
            yield key, StoredObject(bundle_key(key.tenant, key.registry, key.digest), 0, "", "")

    def _is_orphan(self, key: BundleKey) -> bool:
        """Whether a run that was killed has left it: nothing wants it and no row names it.

        A store of ours beside a database of ours holds nothing else under such a key. Where the
        database is not ours, our own mark is asked as well.
        """
        if not self.rows_known or self.ids.problems:
            return False
        if self.marks is not None and key not in self.marks:
            return False
        tenants = {self.ids.tenant_id, *(it.extension_key[0] for it in self._ours())}
        named = self.rows.builds.get((key.registry, key.digest.prefixed), ())
        return (
            key.tenant in tenants
            and (key.tenant, key.registry) not in self.rows.held
            and (self.marks is not None or {None, key.tenant}.isdisjoint(named))
        )

    def _is_released(self, key: BundleKey) -> bool:
        """Whether rows have ever pointed to it; else it is nothing to go back to."""
        known = self.rows_known and (self.marks is None or key in self.marks)
        return not known or (key.registry, key.digest.prefixed) in self.rows.builds

    def _ours(self) -> list[InstallRow]:
        return [it for it in self.rows.installs if it.made_by(self.environment)]

    def _is_ours(self, key: BundleKey, names: Mapping[ExtensionKey, str]) -> bool:
        """A wanted extension that others have installed keeps the objects they serve."""
        install = self.rows.installed(key.tenant, key.registry)
        known = (key.tenant, key.registry) in names
        return known and (install is None or install.made_by(self.environment))


def _orphan_name(extension_key: ExtensionKey, taken: Collection[str]) -> str:
    """A name for what no row and no extension of the spec accounts for."""
    tenant, registry = extension_key
    short = f"orphan~{registry[:8]}"
    return f"orphan~{registry}~{tenant}" if short in taken else short
