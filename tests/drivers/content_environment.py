"""A store, a database and a spec in one value: what content tests converge, break and look at."""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from algaenv.bundle.digest import Digest
from algaenv.bundle.manifest.model import parse
from algaenv.drivers.content_host import StoreAndDatabase
from algaenv.drivers.content_snapshot import ContentSnapshot
from algaenv.drivers.seed_files import read_seed_files
from algaenv.model.intent import (
    ExtensionIntent,
    ExternalDatabase,
    ManagedDatabase,
    SeedIntent,
    TenantIntent,
)
from algaenv.model.kind import Address
from algaenv.model.lock import Lock, LockedExtension, Ports
from algaenv.model.plan import Change, Decision, Plan, Same, Verb
from algaenv.model.problem import Where
from algaenv.model.resource import Json, Observation, Present, Resource
from algaenv.model.secret import Secret
from algaenv.plan.desired import desired_content
from algaenv.plan.diff import decide_all, decide_destroy
from algaenv.plan.order import build_plan, retain_recent
from algaenv.reconcile.protocols import ResourceDriver
from tests.runtimes.locks import POSTGRES, make_lock
from tests.servers import Database, ObjectStore

ENDPOINT = {"method": "get", "path": "api/ping", "handler": "dist/main"}


@dataclass(frozen=True, slots=True)
class ExtensionFixture:
    """One extension of the spec. `build` stands for the content of its bundle."""

    name: str = "com.example.hello"
    publisher: str = "Example"
    version: str = "0.1.0"
    build: str = "first"
    endpoints: tuple[Mapping[str, str], ...] = (ENDPOINT,)
    capabilities: tuple[str, ...] = ("cap:http.fetch", "cap:log.emit")
    granted: tuple[str, ...] | None = None
    config: Mapping[str, Json] = field(default_factory=lambda: {"region": "eu"})
    secrets: Mapping[str, str] = field(default_factory=lambda: {"api_key": "s3cr3t-value"})
    enabled: bool = True

    def manifest(self) -> str:
        """Its manifest.json."""
        return json.dumps(
            {
                "name": self.name,
                "publisher": self.publisher,
                "version": self.version,
                "runtime": "wasm-js@1",
                "capabilities": list(self.capabilities),
                "ui": {
                    "type": "iframe",
                    "entry": "ui/index.html",
                    "hooks": {"appMenu": {"label": "Hello"}},
                },
                "api": {"endpoints": [dict(it) for it in self.endpoints]},
            }
        )


@dataclass
class ContentEnvironment:
    """Everything a lock needs, and shortcuts to what an `up` does with it."""

    database: Database
    store: ObjectStore
    root: Path
    extensions: dict[str, ExtensionFixture] = field(
        default_factory=lambda: {"hello": ExtensionFixture()}
    )
    tenant: TenantIntent = field(default_factory=lambda: TenantIntent(None, None))
    name: str = "demo"
    environment: str = field(default_factory=lambda: secrets.token_hex(5))
    buckets: tuple[str, ...] = field(
        default_factory=lambda: (f"extensions-{secrets.token_hex(4)}",)
    )
    external: bool = False
    keep_versions: int = 1
    password: str | None = None
    url: str | None = None
    store_port: int | None = None
    messages: list[str] = field(default_factory=list)
    seed: SeedIntent = field(default_factory=SeedIntent)

    @property
    def bucket(self) -> str:
        return self.buckets[0]

    def lock(self) -> Lock:
        server = self.database.server
        database: Any = ExternalDatabase(Secret(self.url or self.database.url))
        made = make_lock(
            self.root,
            name=self.name,
            database=database if self.external else POSTGRES,
            ports=Ports(self.store_port or self.store.port, 0, 0, server.port, 18085, 0),
        )
        intent = made.intent
        if isinstance(intent.database, ManagedDatabase):
            database = dataclasses.replace(
                intent.database, user=server.user, database=self.database.name
            )
        return dataclasses.replace(
            made,
            environment=dataclasses.replace(made.environment, id=self.environment),
            intent=dataclasses.replace(
                intent,
                database=database,
                tenant=self.tenant,
                seed=self.seed,
                keep_versions=self.keep_versions,
                store=dataclasses.replace(
                    intent.store, bucket=self.bucket, buckets=self.buckets, region="us-east-1"
                ),
            ),
            credentials=dataclasses.replace(
                made.credentials,
                access_key=Secret(self.store.access_key),
                secret_key=Secret(self.store.secret_key),
                database_password=Secret(self.password or server.password),
                fingerprint_key=Secret("fixed"),
            ),
            extensions=tuple(self._locked(name, it) for name, it in self.extensions.items()),
            seed_files=read_seed_files(self.seed),
        )

    def snapshot(self) -> ContentSnapshot:
        lock = self.lock()
        return StoreAndDatabase(lock).snapshot(lock)

    def wanted(self, snapshot: ContentSnapshot | None = None) -> tuple[Resource, ...]:
        return desired_content(self.lock(), (snapshot or self.snapshot()).ids, {})

    def resource(self, address: str) -> Resource:
        (found,) = [it for it in self.wanted() if str(it.address) == address]
        return found

    def seen(self) -> Mapping[Address, Observation]:
        snapshot = self.snapshot()
        return snapshot.observe(self.wanted(snapshot))

    def present(self, address: str) -> Present:
        found = self.seen()[Address.parse(address)]
        assert isinstance(found, Present), found
        return found

    def release(self, name: str = "hello") -> Present:
        return self.present(f"release/{name}")

    def decisions(self, *, adopt: bool = False) -> tuple[Decision, ...]:
        snapshot = self.snapshot()
        assert snapshot.ids.problems == (), snapshot.ids.problems
        wanted = self.wanted(snapshot)
        seen = snapshot.observe(wanted)
        decided = decide_all(wanted, seen, adopt=adopt, blockers=snapshot.blockers(wanted))
        return retain_recent(decided, seen, self.extensions, self.keep_versions)

    def plan(self, *, adopt: bool = False) -> str:
        return str(self._ordered(self.decisions(adopt=adopt)))

    def up(self, *, adopt: bool = False) -> list[str]:
        """Converge; the changes as `verb address`."""
        return self._walk(self._ordered(self.decisions(adopt=adopt)))

    def down(self) -> list[str]:
        return self._walk(build_plan(decide_destroy(self.snapshot().observe(()))))

    def settled(self) -> bool:
        """Whether nothing would be changed, and nothing has drifted."""
        return all(isinstance(it, Same) for it in self.decisions())

    def drivers(self) -> Mapping[str, ResourceDriver]:
        return StoreAndDatabase(self.lock()).drivers()

    def objects(self) -> list[str]:
        listed = self.store.s3().list_objects_v2(Bucket=self.bucket)
        return sorted(it["Key"] for it in listed.get("Contents", ()))

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self.database.sql(statement, *values)

    def other(self, **changes: Any) -> ContentEnvironment:
        """Another environment on the same database, with a bucket of its own."""
        fresh: dict[str, Any] = {
            "environment": secrets.token_hex(5),
            "buckets": (f"extensions-{secrets.token_hex(4)}",),
            "extensions": dict(self.extensions),
            "messages": [],
        }
        return dataclasses.replace(self, **{**fresh, **changes})

    def change(self, **changes: Any) -> None:
        """Edit the extension `hello` of the spec."""
        self.extensions["hello"] = dataclasses.replace(self.extensions["hello"], **changes)

    def _ordered(self, decisions: tuple[Decision, ...]) -> Plan:
        return build_plan(decisions)

    def _walk(self, ordered: Plan) -> list[str]:
        drivers = StoreAndDatabase(self.lock()).drivers()
        done = []
        for step in ordered.changes:
            change = step.change
            assert isinstance(change, Change)
            hand = drivers[step.address.kind]
            if change.verb is Verb.DELETE:
                assert change.seen
                hand.delete(step.address, change.seen, self.messages.append)
            elif change.seen is None:
                assert change.resource
                hand.create(change.resource, self.messages.append)
            else:
                assert change.resource
                hand.update(change.resource, change.seen, self.messages.append)
            done.append(f"{step.verb} {step.address}")
        return done

    def _locked(self, name: str, wanted: ExtensionFixture) -> LockedExtension:
        manifest = parse(wanted.manifest()).manifest
        content = f"{wanted.manifest()}{wanted.build}".encode() * 50
        digest = Digest.of(content)
        archive = self.root / f"{digest.hex}.tar.zst"
        archive.write_bytes(content)
        return LockedExtension(
            intent=ExtensionIntent(
                name=name,
                source=str(self.root),
                build=None,
                config=wanted.config,
                secrets={key: Secret(value) for key, value in wanted.secrets.items()},
                capabilities=wanted.granted,
                enabled=wanted.enabled,
                ui_dev_server=None,
                where=Where("algaenv.yaml", 1, 1),
            ),
            manifest=manifest,
            digest=digest,
            size=len(content),
            archive=archive,
            page_sha256=None,
        )
