"""From what the author wrote to what the author wants: paths absolute, secrets read, engines found.

The rules that need more than one value, the disk or the environment are checked on the way.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path as File

from algaenv.bundle.manifest.capabilities import effective, known
from algaenv.bundle.manifest.json_text import JsonError, load
from algaenv.bundle.value import dataclass
from algaenv.model.intent import (
    BuildIntent,
    BundledImage,
    ContextImage,
    EndpointProbe,
    ExtensionIntent,
    ExternalDatabase,
    Intent,
    ManagedDatabase,
    NamedImage,
    Profile,
    RedisIntent,
    RunnerIntent,
    StoreIntent,
    TenantIntent,
)
from algaenv.model.secret import Secret
from algaenv.spec import secrets
from algaenv.spec.document import BuildSpec, Document, ExtensionSpec
from algaenv.spec.engines import Engines, Role
from algaenv.spec.gateway_intent import bundled, dev_server, faults_fixed, gateway_of
from algaenv.spec.image_words import image_reference
from algaenv.spec.ledger import Ledger
from algaenv.spec.paths import Paths
from algaenv.spec.rules import (
    egress_entry,
    port_of,
    ports_apart,
    reserved,
    volume,
    warn_of_bare,
)
from algaenv.spec.secrets import Secrets
from algaenv.spec.services import BuiltImage, ExternalSpec, InlineEngine, ManagedSpec
from algaenv.spec.tree import Path, Places
from algaenv.spec.trust import judge_mount

UNION = "capabilities-union"
"""The fault of the product that takes nothing away."""


def settle(
    document: Document, places: Places, ledger: Ledger, cut: frozenset[Path]
) -> Intent | None:
    """The intent; None when a part of it could not be made, which has its complaint then.

    `cut` are the paths that were taken out as broken, so nothing is said of their defaults.
    """
    engines, found = Engines(ledger), Secrets(ledger, places)
    return _Settling(document, places, ledger, cut, engines, found).intent()


@dataclass(frozen=True, slots=True)
class _Settling:
    document: Document
    places: Places
    ledger: Ledger
    cut: frozenset[Path]
    engines: Engines
    secrets: Secrets

    def intent(self) -> Intent | None:
        document = self.document
        store, redis, database = self._store(), self._redis(), self._database()
        runner, extensions = self._runner(), self._extensions()
        gateway, app_url = gateway_of(document, self.places, self.ledger)
        ports_apart(document, store, self.places, self.ledger, self.cut, gateway=bundled(document))
        if store is None or redis is None or database is None or app_url is None:
            return None
        return Intent(
            version=document.version,
            name=document.name,
            runtime=document.runtime,
            images=document.images,
            store=store,
            redis=redis,
            database=database,
            runner=runner,
            gateway=gateway,
            tenant=TenantIntent(document.tenant.id, document.tenant.name),
            extensions=extensions,
            keep_versions=document.keep_versions,
            ready_timeout=document.ready_timeout,
            limits=document.limits.flat,
            app_url=app_url,
        )

    def _engine(
        self, engine: str | InlineEngine | None, default: str, role: Role
    ) -> Profile | None:
        path = (role, "engine")
        if isinstance(engine, InlineEngine):
            return self.engines.made(engine, default, role, self.places, path)
        profile = self.engines.named(engine or default, role, self.places.value(path))
        if profile is not None and self.places.node(path) is not None:
            # A program that can stand in for the engine is not the one that the author names.
            return replace(profile, binaries=profile.binaries[:1])
        return profile

    def _is_named(self, engine: str | InlineEngine | None, role: Role) -> bool:
        """Whether the author says which engine it is, so that no other may take its place."""
        if isinstance(engine, InlineEngine):
            return engine.origin is not None
        return self.places.node((role, "engine")) is not None

    def _store(self) -> StoreIntent | None:
        spec = self.document.store
        profile = self._engine(spec.engine, "silo", "store")
        keys, path = spec.credentials, ("store", "credentials")
        access = self.secrets.read(keys.access_key, (*path, "access_key"), secrets.ACCESS_KEY)
        secret = self.secrets.read(keys.secret_key, (*path, "secret_key"), secrets.SECRET_KEY)
        if profile is None:
            return None
        if "console" not in profile.ports and "console_port" in spec.model_fields_set:
            self.ledger.warn(
                "spec-console-unused",
                f"use store.console_port: the engine {profile.name} has no console",
                "delete it",
                self.places.key(("store", "console_port")),
            )
        alone = (profile,) if profile.binaries else ()
        return StoreIntent(
            profile=profile,
            local=alone if self._is_named(spec.engine, "store") else self.engines.local(profile),
            bucket=spec.bucket,
            buckets=tuple(dict.fromkeys((spec.bucket, *spec.buckets))),
            port=port_of(self.document, spec),
            console_port=port_of(self.document, spec, "console_port"),
            region=spec.region,
            access_key=access,
            secret_key=secret,
        )

    def _redis(self) -> RedisIntent | None:
        spec = self.document.redis
        profile = self._engine(spec.engine, "valkey", "redis")
        password = self.secrets.read(spec.password, ("redis", "password"), secrets.REDIS_PASSWORD)
        if profile is None:
            return None
        return RedisIntent(profile, port_of(self.document, spec), password, spec.persistent)

    def _database(self) -> ManagedDatabase | ExternalDatabase | None:
        spec = self.document.database
        if isinstance(spec, ExternalSpec):
            url = self.secrets.url(spec.url, ("database", "url"))
            return ExternalDatabase(url) if url else None
        return self._managed(spec)

    def _managed(self, spec: ManagedSpec) -> ManagedDatabase | None:
        shipped = f"postgres-{spec.version}"
        profile = self._engine(spec.engine, shipped, "database")
        if isinstance(spec.engine, str) and "version" in spec.model_fields_set:
            self.ledger.complain(
                "spec-database-version",
                "take both database.version and the name in database.engine",
                "delete one of them",
                self.places.key(("database", "engine")),
            )
        password = self.secrets.read(
            spec.password, ("database", "password"), secrets.DATABASE_PASSWORD
        )
        if profile is None:
            return None
        return ManagedDatabase(
            profile, port_of(self.document, spec), spec.user, spec.name, password
        )

    def _runner(self) -> RunnerIntent:
        spec, root = self.document.runner, ("runner",)
        environment: dict[str, str | Secret] = {}
        for name, form in spec.environment.items():
            path = (*root, "environment", name)
            reserved(name, path, self.places, self.ledger)
            if isinstance(form, str):
                warn_of_bare(self.places.value(path), self.ledger)
                environment[name] = form
            elif (value := self.secrets.read(form, path)) is not None:
                environment[name] = value
        volumes = []
        for index, text in enumerate(spec.volumes):
            where = self.places.value((*root, "volumes", index))
            if mount := volume(text, where, self.ledger):
                judge_mount(mount.partition(":")[0], "mount", where, self.ledger)
                volumes.append(mount)
        opened = []
        for index, text in enumerate(spec.local_egress):
            where = self.places.value((*root, "local_egress", index))
            if entry := egress_entry(text, where, self.ledger):
                opened.append(entry)
        return RunnerIntent(
            self._runner_image(spec.image),
            port_of(self.document, spec),
            environment,
            tuple(volumes),
            tuple(opened),
        )

    def _runner_image(self, image: str | BuiltImage) -> BundledImage | NamedImage | ContextImage:
        if isinstance(image, BuiltImage):
            build, path = image.build, ("runner", "image", "build", "context")
            where = self.places.value(path)
            context = Paths(self.ledger).context(build.context, build.dockerfile, where)
            judge_mount(context, "send the build context", where, self.ledger)
            return ContextImage(context, build.dockerfile, dict(build.args))
        return BundledImage() if image == "bundled" else NamedImage(image_reference(image))

    def _extensions(self) -> tuple[ExtensionIntent, ...]:
        intents: list[ExtensionIntent] = []
        first: dict[str, str] = {}
        for name, written in self.document.extensions.items():
            intent = self._extension(name, written)
            other = first.setdefault(os.path.realpath(intent.source), name)
            if other != name:
                self.ledger.complain(
                    "spec-source-twice",
                    f"install {name} from the source of {other}: they would be one extension",
                    "delete one of them",
                    intent.where,
                )
            intents.append(intent)
        return tuple(intents)

    def _extension(self, name: str, written: str | ExtensionSpec) -> ExtensionIntent:
        path: Path = ("extensions", name)
        at = path
        if isinstance(written, str):
            spec = ExtensionSpec(source=written)
        else:
            spec, at = written, (*path, "source")
        where = self.places.value(at)
        source = Paths(self.ledger).source(spec.source, where)
        hidden: dict[str, Secret] = {}
        for key, form in spec.secrets.items():
            secret = self.secrets.read(form, (*path, "secrets", key))
            if secret is not None:
                hidden[key] = secret
        return ExtensionIntent(
            name=name,
            source=source,
            build=self._build(spec.build, source, (*path, "build")),
            config=spec.config,
            secrets=hidden,
            capabilities=self._granted(spec.capabilities, source, (*path, "capabilities")),
            enabled=spec.enabled,
            ui_dev_server=dev_server(
                spec.ui_dev_server, (*path, "ui_dev_server"), self.places, self.ledger
            ),
            where=where,
            probes=self._probes(spec.probe, (*path, "probe")),
        )

    def _granted(
        self, written: list[str] | None, source: str, path: Path
    ) -> tuple[str, ...] | None:
        """The capabilities granted; says when the product would grant more."""
        granted = _once(written)
        gateway = bundled(self.document)
        if granted is None or (gateway is not None and UNION in faults_fixed(gateway)):
            return granted
        more = [it for it in self._declared(source) if it not in effective(granted)]
        if more:
            self.ledger.warn(
                "spec-capabilities-kept",
                f"take {', '.join(more)} away: the manifest declares it, and Alga grants that too",
                f"remove it from the manifest, or write `gateway: {{faults: [{UNION}]}}`"
                " to have the gateway grant only what is listed",
                self.places.value(path),
            )
        return granted

    def _declared(self, source: str) -> tuple[str, ...]:
        """The known capabilities of a manifest; none of one that cannot be read, which is told
        when it is built."""
        try:
            raw = load(self.ledger.read(File(source, "manifest.json")).decode()).value
        except (OSError, UnicodeDecodeError, JsonError):
            return ()
        listed = raw.get("capabilities") if isinstance(raw, dict) else None
        return known(it for it in listed if isinstance(it, str)) if isinstance(listed, list) else ()

    def _probes(self, probe: str | list[str] | None, path: Path) -> tuple[EndpointProbe, ...]:
        if probe is None:
            return ()
        if bundled(self.document) is None:
            self.ledger.warn(
                "spec-probe-unused",
                f"ask what {'.'.join(map(str, path))} names: there is no gateway to ask",
                "set `gateway: bundled`, or delete it",
                self.places.key(path),
            )
        written = [(probe, path)] if isinstance(probe, str) else []
        if isinstance(probe, list):
            written = [(each, (*path, index)) for index, each in enumerate(probe)]
        return tuple(
            EndpointProbe(text.removeprefix("GET").lstrip(), self.places.value(at))
            for text, at in written
        )

    def _build(
        self, build: str | list[str] | BuildSpec | None, source: str, path: Path
    ) -> BuildIntent | None:
        match build:
            case None:
                return None
            case BuildSpec():
                spec = build
            case _:
                spec = BuildSpec(command=build)
        workspace = source
        if spec.workspace is not None:
            where = self.places.value((*path, "workspace"))
            workspace = Paths(self.ledger).workspace(spec.workspace, source, where)
        for name in spec.environment:
            where = self.places.value((*path, "environment", name))
            if where is not None:
                warn_of_bare(where, self.ledger)
        shell = isinstance(spec.command, str)
        return BuildIntent(
            command=(spec.command,) if isinstance(spec.command, str) else tuple(spec.command),
            shell=shell,
            workspace=workspace,
            environment=dict(spec.environment),
            timeout=spec.timeout,
        )


def _once(words: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if words is None else tuple(dict.fromkeys(words))
