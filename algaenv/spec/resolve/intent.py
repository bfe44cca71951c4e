"""Resolves the document to an Intent: paths absolute, secrets read, engines found.

The rules that need more than one value, the disk or the environment are checked on the way.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from algaenv.bundle.manifest.capabilities import effective, known
from algaenv.bundle.manifest.json_text import JsonError, load
from algaenv.bundle.value import dataclass, replace
from algaenv.model.intent import (
    BundledImage,
    Check,
    ContextImage,
    EndpointProbe,
    ExtensionIntent,
    ExternalDatabase,
    Intent,
    ManagedDatabase,
    NamedImage,
    OtelIntent,
    Profile,
    RedisIntent,
    RunnerIntent,
    StoreIntent,
    TenantIntent,
)
from algaenv.model.secret import Secret
from algaenv.spec import secrets
from algaenv.spec.diagnostics import Diagnostics, suggestion
from algaenv.spec.document import Document, ExtensionSpec
from algaenv.spec.extension_checks import resolve_checks
from algaenv.spec.nodes import NodePath, SourceMap
from algaenv.spec.paths import PathResolver, warn_broad_mount
from algaenv.spec.resolve.build import resolve_build
from algaenv.spec.resolve.checks import (
    check_port_conflicts,
    check_reserved_variable,
    parse_egress_entry,
    parse_otel_endpoint,
    parse_volume,
    port_of,
    warn_unbraced_variable,
)
from algaenv.spec.resolve.engines import EngineRegistry, Role
from algaenv.spec.resolve.gateway import (
    bundled_gateway,
    fixed_quirks,
    parse_dev_server,
    resolve_gateway,
)
from algaenv.spec.resolve.seed import resolve_seed
from algaenv.spec.resolve.services import ServiceResolver
from algaenv.spec.resolve.tasks import TaskResolver
from algaenv.spec.secrets import SecretReader
from algaenv.spec.services import BuiltImage, ExternalSpec, InlineEngine, ManagedSpec
from algaenv.spec.types import image_reference, parse_drift_rule

DEFAULT_USERS = ("msp", "client")
"""The users of a gateway whose spec names none."""
CAPABILITIES_UNION = "capabilities-union"
"""The fault of the product that takes nothing away."""
PROFILES: Final = "ALGAENV_PROFILES"
"""The variable that names the profiles asked for, with commas between them."""
EVERY: Final = "*"
"""In place of names: all profiles."""


def resolve_intent(
    document: Document, source_map: SourceMap, diagnostics: Diagnostics, cut: frozenset[NodePath]
) -> Intent | None:
    """The intent; None when a part of it could not be made, after an error.

    `cut` are the paths that were taken out as broken, so their defaults are not reported.
    """
    engines, found = EngineRegistry(diagnostics), SecretReader(diagnostics, source_map)
    return _IntentResolver(document, source_map, diagnostics, cut, engines, found).intent()


@dataclass(frozen=True, slots=True)
class _IntentResolver:
    document: Document
    source_map: SourceMap
    diagnostics: Diagnostics
    cut: frozenset[NodePath]
    engines: EngineRegistry
    secrets: SecretReader

    def intent(self) -> Intent | None:
        document = self.document
        store, redis, database = self._store(), self._redis(), self._database()
        active = self._active()
        runner, (extensions, inactive) = self._runner(), self._extensions(active)
        tasks = TaskResolver(
            document, self.source_map, self.diagnostics, self.secrets, active
        ).tasks()
        services = ServiceResolver(
            document, self.source_map, self.diagnostics, self.secrets
        ).services()
        gateway, app_url = resolve_gateway(document, self.source_map, self.diagnostics)
        check_port_conflicts(
            document,
            store,
            self.source_map,
            self.diagnostics,
            self.cut,
            gateway=bundled_gateway(document),
        )
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
            otel=self._otel(),
            drift_ignore=tuple(map(parse_drift_rule, document.drift.ignore)),
            seed=resolve_seed(document, self.source_map, self.diagnostics),
            inactive=inactive,
            tasks=tasks,
            services=services,
        )

    def _otel(self) -> OtelIntent | None:
        spec, path = self.document.otel, ("otel", "headers")
        if spec is None:
            return None
        endpoint = parse_otel_endpoint(spec.endpoint, self.source_map, self.diagnostics)
        headers = {
            name: value
            for name, form in spec.headers.items()
            if (value := self.secrets.read(form, (*path, name), secrets.HEADER)) is not None
        }
        return None if endpoint is None else OtelIntent(endpoint, headers)

    def _engine(
        self, engine: str | InlineEngine | None, default: str, role: Role
    ) -> Profile | None:
        path = (role, "engine")
        if isinstance(engine, InlineEngine):
            return self.engines.from_inline(engine, default, role, self.source_map, path)
        profile = self.engines.by_name(engine or default, role, self.source_map.value(path))
        if profile is not None and self.source_map.node(path) is not None:
            # A program that can stand in for the engine is not the one that the author names.
            return replace(profile, binaries=profile.binaries[:1])
        return profile

    def _is_named(self, engine: str | InlineEngine | None, role: Role) -> bool:
        """Whether the author says which engine it is, so that no other may take its place."""
        if isinstance(engine, InlineEngine):
            return engine.origin is not None
        return self.source_map.node((role, "engine")) is not None

    def _store(self) -> StoreIntent | None:
        spec = self.document.store
        profile = self._engine(spec.engine, "silo", "store")
        keys, path = spec.credentials, ("store", "credentials")
        access = self.secrets.read(keys.access_key, (*path, "access_key"), secrets.ACCESS_KEY)
        secret = self.secrets.read(keys.secret_key, (*path, "secret_key"), secrets.SECRET_KEY)
        if profile is None:
            return None
        if "console" not in profile.ports and "console_port" in spec.model_fields_set:
            self.diagnostics.add_warning(
                "spec-console-unused",
                f"use store.console_port: the engine {profile.name} has no console",
                "delete it",
                self.source_map.key(("store", "console_port")),
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
            self.diagnostics.add_error(
                "spec-database-version",
                "take both database.version and the name in database.engine",
                "delete one of them",
                self.source_map.key(("database", "engine")),
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
            check_reserved_variable(name, path, self.source_map, self.diagnostics)
            if isinstance(form, str):
                warn_unbraced_variable(self.source_map.value(path), self.diagnostics)
                environment[name] = form
            elif (value := self.secrets.read(form, path)) is not None:
                environment[name] = value
        volumes = []
        for index, text in enumerate(spec.volumes):
            where = self.source_map.value((*root, "volumes", index))
            if mount := parse_volume(text, where, self.diagnostics):
                warn_broad_mount(mount.partition(":")[0], "mount", where, self.diagnostics)
                volumes.append(mount)
        opened = []
        for index, text in enumerate(spec.local_egress):
            where = self.source_map.value((*root, "local_egress", index))
            if entry := parse_egress_entry(text, where, self.diagnostics):
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
            where = self.source_map.value(path)
            context = PathResolver(self.diagnostics).context(build.context, build.dockerfile, where)
            warn_broad_mount(context, "send the build context", where, self.diagnostics)
            return ContextImage(context, build.dockerfile, dict(build.args))
        return BundledImage() if image == "bundled" else NamedImage(image_reference(image))

    def _active(self) -> frozenset[str]:
        """The names of the extensions and tasks that count."""
        parts = {**self.document.extensions, **self.document.tasks}
        return _active_names(
            {name: [] if isinstance(it, str) else it.profiles for name, it in parts.items()},
            self.diagnostics,
        )

    def _extensions(
        self, active: frozenset[str]
    ) -> tuple[tuple[ExtensionIntent, ...], tuple[ExtensionIntent, ...]]:
        """Those that count, and those of other profiles."""
        intents: list[ExtensionIntent] = []
        first: dict[str, str] = {}
        for name, written in self.document.extensions.items():
            intent = self._extension(name, written)
            other = first.setdefault(os.path.realpath(intent.source), name)
            if other != name:
                self.diagnostics.add_error(
                    "spec-source-twice",
                    f"install {name} from the source of {other}: they would be one extension",
                    "delete one of them",
                    intent.where,
                )
            intents.append(intent)
        left = (it for it in intents if it.name not in active)
        return tuple(it for it in intents if it.name in active), tuple(left)

    def _extension(self, name: str, written: str | ExtensionSpec) -> ExtensionIntent:
        path: NodePath = ("extensions", name)
        at = path
        if isinstance(written, str):
            spec = ExtensionSpec(source=written)
        else:
            spec, at = written, (*path, "source")
        where = self.source_map.value(at)
        source = PathResolver(self.diagnostics).source(spec.source, where)
        hidden: dict[str, Secret] = {}
        for key, form in spec.secrets.items():
            secret = self.secrets.read(form, (*path, "secrets", key))
            if secret is not None:
                hidden[key] = secret
        return ExtensionIntent(
            name=name,
            source=source,
            build=resolve_build(
                spec.build, source, (*path, "build"), self.source_map, self.diagnostics
            ),
            config=spec.config,
            secrets=hidden,
            capabilities=self._granted(spec.capabilities, source, (*path, "capabilities")),
            enabled=spec.enabled,
            ui_dev_server=parse_dev_server(
                spec.ui_dev_server, (*path, "ui_dev_server"), self.source_map, self.diagnostics
            ),
            where=where,
            probes=self._probes(spec.probe, (*path, "probe")),
            checks=self._checks(spec, (*path, "checks")),
        )

    def _checks(self, spec: ExtensionSpec, path: NodePath) -> tuple[Check, ...]:
        gateway = bundled_gateway(self.document)
        if spec.checks and gateway is None:
            self.diagnostics.add_warning(
                "spec-check-unused",
                f"make what {'.'.join(map(str, path))} lists: there is no gateway to ask",
                "set `gateway: bundled`, or delete it",
                self.source_map.key(path),
            )
        users = [it.name for it in gateway.users] or DEFAULT_USERS if gateway else ()
        return resolve_checks(spec.checks, users, path, self.source_map, self.diagnostics)

    def _granted(
        self, written: list[str] | None, source: str, path: NodePath
    ) -> tuple[str, ...] | None:
        """The capabilities granted; says when the product would grant more."""
        granted = _deduplicated(written)
        gateway = bundled_gateway(self.document)
        if granted is None or (gateway is not None and CAPABILITIES_UNION in fixed_quirks(gateway)):
            return granted
        more = [it for it in self._declared(source) if it not in effective(granted)]
        if more:
            self.diagnostics.add_warning(
                "spec-capabilities-kept",
                f"take {', '.join(more)} away: the manifest declares it, and Alga grants that too",
                "remove it from the manifest, or write"
                f" `gateway: {{faults: [{CAPABILITIES_UNION}]}}`"
                " to have the gateway grant only what is listed",
                self.source_map.value(path),
            )
        return granted

    def _declared(self, source: str) -> tuple[str, ...]:
        """The known capabilities of a manifest; none of one that cannot be read, which the
        build reports."""
        try:
            raw = load(self.diagnostics.read(Path(source, "manifest.json")).decode()).value
        except (OSError, UnicodeDecodeError, JsonError):
            return ()
        listed = raw.get("capabilities") if isinstance(raw, dict) else None
        return known(it for it in listed if isinstance(it, str)) if isinstance(listed, list) else ()

    def _probes(self, probe: str | list[str] | None, path: NodePath) -> tuple[EndpointProbe, ...]:
        if probe is None:
            return ()
        if bundled_gateway(self.document) is None:
            self.diagnostics.add_warning(
                "spec-probe-unused",
                f"ask what {'.'.join(map(str, path))} names: there is no gateway to ask",
                "set `gateway: bundled`, or delete it",
                self.source_map.key(path),
            )
        written = [(probe, path)] if isinstance(probe, str) else []
        if isinstance(probe, list):
            written = [(each, (*path, index)) for index, each in enumerate(probe)]
        return tuple(
            EndpointProbe(text.removeprefix("GET").lstrip(), self.source_map.value(at))
            for text, at in written
        )


def _deduplicated(words: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if words is None else tuple(dict.fromkeys(words))


def _active_names(parts: Mapping[str, Sequence[str]], diagnostics: Diagnostics) -> frozenset[str]:
    """The names of those `parts` that count: of one of the profiles asked for, or of none.

    `parts` are name → profiles. Adds an error for a profile that no part belongs to.
    """
    known = sorted({profile for profiles in parts.values() for profile in profiles})
    diagnostics.variables[PROFILES] = None
    # A spec without profiles has no use for `.env`, which may not even be readable.
    written = diagnostics.variable(PROFILES) if known else diagnostics.environ.get(PROFILES)
    asked = {it for it in map(str.strip, (written or "").split(",")) if it}
    for name in sorted(asked - {EVERY, *known}):
        diagnostics.add_error(
            "spec-profile-unknown",
            f"use the profile {name}: nothing in the spec belongs to it",
            suggestion(name, known, f"add it to `profiles` of an extension, or unset {PROFILES}"),
            None,
        )
    return frozenset(
        name
        for name, profiles in parts.items()
        if not profiles or EVERY in asked or not asked.isdisjoint(profiles)
    )
