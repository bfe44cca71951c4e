"""The use cases about snapshots: the store and the database of an environment under a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from algaenv.dependencies import Request
from algaenv.last_run import LastRun
from algaenv.model.intent import ManagedDatabase
from algaenv.model.lock import Lock
from algaenv.model.problem import Problem, Refused
from algaenv.reconcile.service_program import service_program

if TYPE_CHECKING:
    from algaenv.model.stored_snapshot import StoredSnapshot
    from algaenv.reconcile.protocols import OnProgress, ServiceProgram, SnapshotHost


class Snapshots(LastRun):
    """The part of UseCases that saves and restores what the last run left."""

    def snapshots(self, request: Request) -> Sequence[StoredSnapshot]:
        """See UseCases."""
        environment = self._dependencies.identify(request.spec, request.spec.parent.name)
        return self._dependencies.snapshots(environment)

    def save_snapshot(
        self, request: Request, name: str, on_progress: OnProgress, *, replace: bool
    ) -> StoredSnapshot:
        """See UseCases."""
        with self._host(request, "snapshot save") as host:
            return host.save(name, on_progress, replace=replace)

    def restore_snapshot(
        self, request: Request, name: str, on_progress: OnProgress
    ) -> StoredSnapshot:
        """See UseCases."""
        environment = self._dependencies.identify(request.spec, request.spec.parent.name)
        self._dependencies.require_snapshot(environment, name)
        with self._host(request, "snapshot restore") as host:
            return host.restore(name, on_progress)

    def delete_snapshot(self, request: Request, name: str) -> StoredSnapshot:
        """See UseCases."""
        environment = self._dependencies.identify(request.spec, request.spec.parent.name)
        self._dependencies.require_snapshot(environment, name)
        wait, cancelled = request.lock_seconds, request.cancelled
        lock_environment = self._dependencies.lock_environment
        with lock_environment(environment, "snapshot delete", wait=wait, cancelled=cancelled):
            return self._dependencies.delete_snapshot(environment, name)

    @contextmanager
    def _host(self, request: Request, command: str) -> Iterator[SnapshotHost]:
        """What saves and restores, while nothing else changes the environment."""
        lock = self._lock_that_is_up(request, "the store and the database")
        _refuse_external(lock)
        environment, intent = lock.environment, lock.intent
        wait, cancelled = request.lock_seconds, request.cancelled
        lock_environment = self._dependencies.lock_environment
        with lock_environment(environment, command, wait=wait, cancelled=cancelled):
            saved = self._dependencies.load_state(environment)
            runtime, _ = self._dependencies.choose_runtime(request, environment, intent, saved)
            run_beside: Callable[[Sequence[str]], ServiceProgram] = lambda words: service_program(  # noqa: E731
                lock, runtime, "database", words, tty=False
            )
            yield self._dependencies.snapshot_host(lock, runtime.name, run_beside)


def _refuse_external(lock: Lock) -> None:
    if not isinstance(lock.intent.database, ManagedDatabase):
        raise Refused(
            Problem(
                "snapshot-external",
                "cannot save or restore an external database: it is not one of this environment",
                "use its own tools, pg_dump and pg_restore",
            )
        )
