"""The use cases about what the last run left: its addresses, versions, programs and logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from algaenv.bundle.value import replace
from algaenv.dependencies import Dependencies, Request, SavedState
from algaenv.model.event import Emit, Warned
from algaenv.model.intent import Intent, with_free_ports, with_named
from algaenv.model.isolated import isolated_name
from algaenv.model.lock import Environment, Lock
from algaenv.model.problem import NotReady, Problem, SpecError

if TYPE_CHECKING:
    from algaenv.model.log import LogEntry, LogQuery
    from algaenv.model.secret_mask import SecretMask
    from algaenv.model.status import ExtensionEndpoint, GatewayAddress
    from algaenv.reconcile.protocols import Lowered, ServiceProgram
    from algaenv.reconcile.rollback import KeptVersion


class LastRun:
    """The part of UseCases that starts and changes nothing, and so needs no spec that is right."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies

    def endpoint_of(self, request: Request, extension: str) -> ExtensionEndpoint:
        """See UseCases."""
        from algaenv.reconcile.endpoints import endpoint_of

        lock = self._lock_that_is_up(request, extension)
        return endpoint_of(lock, extension, self._dependencies.content_host(lock))

    def versions_of(self, request: Request, extension: str) -> tuple[KeptVersion, ...]:
        """See UseCases."""
        from algaenv.reconcile.resolve import refuse_unknown
        from algaenv.reconcile.rollback import kept_versions

        lock = self._lock_that_is_up(request, extension)
        refuse_unknown(lock.intent, (extension,))
        cache = lock.environment.home / "cache" / "kept"
        return kept_versions(lock, extension, self._dependencies.content_host(lock), cache)

    def program_in(
        self, request: Request, service: str, words: Sequence[str], *, tty: bool
    ) -> ServiceProgram:
        """See UseCases."""
        from algaenv.reconcile.service_program import service_program

        lock = self._lock_that_is_up(request, service)
        saved = self._dependencies.load_state(lock.environment)
        environment, intent = lock.environment, lock.intent
        runtime, _ = self._dependencies.choose_runtime(request, environment, intent, saved)
        return service_program(lock, runtime, service, words, tty=tty)

    def settings_of(self, request: Request) -> tuple[Lowered, str]:
        """See UseCases."""
        lock = self._lock_that_is_up(request, "the services")
        saved = self._dependencies.load_state(lock.environment)
        environment, intent = lock.environment, lock.intent
        runtime, _ = self._dependencies.choose_runtime(request, environment, intent, saved)
        return runtime.lower(lock, lambda _line: None), runtime.name

    def gateway_of(self, request: Request) -> GatewayAddress:
        """See UseCases."""
        from algaenv.model.status import GatewayAddress
        from algaenv.reconcile.endpoints import gateway_url

        lock = self._lock_that_is_up(request, "the gateway")
        names = self._registry_ids(request, lock.environment, lock.intent)
        return GatewayAddress(gateway_url(lock), names)

    def _registry_ids(
        self, request: Request, environment: Environment, intent: Intent
    ) -> Mapping[str, str]:
        """Registry id → name in the spec, by the manifests of the sources."""
        builder = self._dependencies.bundle_builder(environment, request.cancelled)
        ids = {builder.registry_id(it): it.name for it in intent.every_extension}
        return {id_: name for id_, name in ids.items() if id_ is not None}

    def secret_mask(self, request: Request) -> SecretMask:
        """See UseCases."""
        from algaenv.model.secret_mask import SecretMask, secrets_in

        environment = self._dependencies.identify(request.spec, request.spec.parent.name)
        saved = self._dependencies.load_state(environment)
        intent = saved.intent if saved is not None else self._load(request, lambda _: None)[0]
        credentials = self._dependencies.existing_credentials(environment, intent)
        return SecretMask((*secrets_in(intent), *secrets_in(credentials)))

    def logs(
        self, request: Request, query: LogQuery, stop: Callable[[], bool]
    ) -> Iterator[LogEntry]:
        """See UseCases."""
        from algaenv.reconcile import logs

        environment = self._dependencies.identify(request.spec, request.spec.parent.name)
        saved = self._dependencies.load_state(environment)
        if saved is None:
            raise self._not_up(request, "the logs")
        logs.select_sources(query.names, saved.intent)
        runtime, _ = self._dependencies.choose_runtime(request, environment, saved.intent, saved)
        names = self._registry_ids(request, environment, saved.intent)
        mask = self.secret_mask(request)
        readers = logs.readers_of(runtime, environment)
        merged = logs.MergedLog(readers, saved.intent, query, names, mask)
        return merged.entries(stop)

    def _lock_that_is_up(self, request: Request, what: str) -> Lock:
        """The lock of the last run; raises NotReady (`not-up`) when there was none."""
        environment = self._dependencies.identify(request.spec, request.spec.parent.name)
        lock = self._lock_of_last_run(environment, self._dependencies.load_state(environment))
        if lock is not None:
            return replace(lock, environment=replace(environment, name=lock.intent.name))
        raise self._not_up(request, what)

    def _not_up(self, request: Request, what: str) -> NotReady:
        intent, _ = self._load(request, lambda _: None)
        name = isolated_name(request.spec)
        option = f" --isolated={name}" if name else ""
        return NotReady(
            Problem(
                "not-up",
                f"cannot reach {what}: {intent.name} has not been brought up",
                f"bring it up with `algaenv up{option}`",
            )
        )

    def _load(self, request: Request, emit: Emit) -> tuple[Intent, Environment]:
        try:
            intent, warnings = self._dependencies.load_spec(request)
        except SpecError as error:
            for warning in error.warnings:
                emit(Warned(warning))
            raise
        for warning in warnings:
            emit(Warned(warning))
        if request.runtime is not None:
            intent = replace(intent, runtime=request.runtime)
        if request.images is not None:
            intent = replace(intent, images=request.images)
        if (pins := self._dependencies.read_pins(request.spec)) is not None:
            from algaenv.model.pins import with_pins

            intent = with_pins(intent, pins, self._dependencies.platform)
        if request.ephemeral_name is not None:
            intent = with_free_ports(intent, request.ephemeral_name)
        intent = with_named(intent, request.extensions)
        return intent, self._dependencies.identify(request.spec, intent.name)

    def _lock_of_last_run(self, environment: Environment, saved: SavedState | None) -> Lock | None:
        """The lock of the last run, to reach its content; None when its credentials are lost."""
        if saved is None:
            return None
        credentials = self._dependencies.existing_credentials(environment, saved.intent)
        if credentials is None:
            return None
        ports = self._dependencies.ports(environment, saved.intent)
        return Lock(environment, saved.intent, ports, credentials, (), saved.tenant_id)
