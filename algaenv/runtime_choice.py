"""Which runtime an environment has: the names of all of them, and what decides between them.

A new runtime has one line in `RuntimeChoice._runtime`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from algaenv.dependencies import Request, SavedState
from algaenv.drivers.state import state_dir
from algaenv.model.intent import Intent
from algaenv.model.kind import Address
from algaenv.model.lock import Environment
from algaenv.model.problem import Conflict, EngineGone, Problem
from algaenv.model.resource import Present
from algaenv.reconcile.protocols import Runtime

if TYPE_CHECKING:
    from algaenv.runtimes.docker.engine import EngineFacts, NoEngine


class RuntimeChoice:
    """The part of Dependencies that is about runtimes."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._facts: EngineFacts | NoEngine | None = None
        self._docker_runtime: Runtime | None = None
        self._process_runtime: Runtime | None = None

    @property
    def _cache(self) -> Path:
        from algaenv.runtimes.binaries import cache_home

        return cache_home(self._environ)

    def choose_runtime(
        self,
        request: Request,
        environment: Environment,
        intent: Intent,
        saved: SavedState | None,
    ) -> tuple[Runtime, str]:
        """The runtime that runs the environment or has its data; else Docker if an engine answers.

        Raises EngineGone when Docker is asked for, or holds the environment, and does not answer,
        and Conflict (`runtime-switch`) when the environment is still up under the other runtime.
        """
        wish = intent.runtime
        before = saved.runtime if saved else self._where_data_is(environment)
        if wish == "auto":
            return self._automatic(environment, before)
        if before is not None and before != wish and self._is_up(before, environment):
            raise Conflict(
                Problem(
                    code="runtime-switch",
                    summary=f"cannot bring {environment.name} up as {wish}: it is up as {before}",
                    hint=f"run `algaenv down` first, or keep `runtime: {before}`",
                )
            )
        asked = "--runtime" if request.runtime else "the spec"
        return self._runtime(wish), f"{asked} says so"

    def _automatic(self, environment: Environment, before: str | None) -> tuple[Runtime, str]:
        from algaenv.runtimes.docker.engine import NoEngine

        if before == "docker":
            engine = self.engine()
            if isinstance(engine, NoEngine):
                raise EngineGone(_engine_has_data(environment, engine))
            return self._runtime("docker"), "auto: the environment was last brought up with docker"
        if before is not None and self._is_up(before, environment):
            return self._runtime(before), f"auto: the environment already runs as {before}"
        if before is not None and self._data(before, environment):
            return self._runtime(before), f"auto: the data of the environment lies with {before}"
        engine = self.engine()
        if isinstance(engine, NoEngine):
            why = f"auto: no Docker engine answers ({engine.reason})"
            return self._runtime("process"), why
        return self._runtime("docker"), f"auto: Docker engine {engine.version} answers"

    def runtime_move_warning(
        self, environment: Environment, before: str, runtime: str
    ) -> Problem | None:
        """By the labels of volumes and the markers of folders.

        An engine that does not answer is assumed to have data.
        """
        silent = before == "docker" and not self.engine()
        data = () if silent else self._data(before, environment)
        if not silent and not data:
            return None
        what = ", ".join(data) if data else "an engine that does not answer"
        return Problem(
            "runtime-move",
            f"cannot bring {environment.name} up as {runtime} just so: its data lies with "
            f"{before} ({what}) and would stay there",
            f"keep it with `--runtime {before}`, or leave it behind with "
            f"`algaenv up --runtime {runtime} --yes`",
        )

    def runtimes_present(
        self, environment: Environment, saved: SavedState | None, *, data: bool
    ) -> Sequence[Runtime]:
        """The runtime of the last run, and with `data` those that still hold data.

        Without a saved state, every runtime that can be observed.
        """
        if saved is not None:
            others = saved.data_runtimes if data else ()
            return tuple(self._runtime(name) for name in (saved.runtime, *others))
        names = ["process"] if environment.home.exists() else []
        names += ["docker"] if self.engine() else []
        return tuple(self._runtime(name) for name in names)

    def observe(self, name: str, environment: Environment) -> Mapping[Address, Present]:
        """What a runtime holds of an environment, by its marks. Raises EngineGone."""
        seen = self._runtime(name).observer(environment).observe(())
        return {k: it for k, it in seen.items() if isinstance(it, Present) and it.recorded}

    def engine_environments(self) -> Sequence[tuple[Environment, str]]:
        """The environments that have something on the Docker engine, each with its age."""
        from algaenv.runtimes.docker.engine import NoEngine
        from algaenv.runtimes.docker.inventory import marked_environments

        engine = self.engine()
        if isinstance(engine, NoEngine):
            return ()
        found = []
        for mark, since in marked_environments(self._environ, engine):
            spec = Path(mark.spec)
            home = spec.parent / state_dir.STATE_ROOT / mark.environment
            found.append((Environment(mark.environment, mark.name, spec, home), since))
        return found

    def volume_sizes(self) -> Mapping[str, int]:
        """Environment id → bytes of its volumes; empty where the engine does not tell."""
        from algaenv.runtimes.docker.engine import NoEngine
        from algaenv.runtimes.docker.inventory import volume_sizes

        engine = self.engine()
        return {} if isinstance(engine, NoEngine) else volume_sizes(self._environ, engine)

    def _is_up(self, name: str, environment: Environment) -> bool:
        """True when a runtime holds more than kept data of the environment."""
        return any(not it.retained for it in self._ours(name, environment))

    def _data(self, name: str, environment: Environment) -> tuple[str, ...]:
        """The data that a runtime holds for the environment, by volume or path."""
        return tuple(it.note or it.handle for it in self._ours(name, environment) if it.retained)

    def _where_data_is(self, environment: Environment) -> str | None:
        """Without a saved state: looks at the disk, not at an engine."""
        has_folders = (environment.home / "data").is_dir()
        return "process" if has_folders and self._data("process", environment) else None

    def _ours(self, name: str, environment: Environment) -> list[Present]:
        if name == "docker" and not self.engine():
            return []
        seen = self._runtime(name).observer(environment).observe(())
        return [it for it in seen.values() if isinstance(it, Present) and it.recorded]

    def engine(self) -> EngineFacts | NoEngine:
        """The engine that the environment points to, or why there is none; asked once."""
        from algaenv.runtimes.docker.engine import probe_engine

        if self._facts is None:
            self._facts = probe_engine(self._environ)
        return self._facts

    def _runtime(self, name: str) -> Runtime:
        factories = {"docker": self._docker, "process": self._process}
        return factories.get(name, self._docker)()

    def _process(self) -> Runtime:
        from algaenv.runtimes.process.runtime import ProcessRuntime

        if self._process_runtime is None:
            self._process_runtime = ProcessRuntime(self._environ, self._cache)
        return self._process_runtime

    def _docker(self) -> Runtime:
        from algaenv.runtimes.docker.engine import NoEngine
        from algaenv.runtimes.docker.runtime import DockerRuntime

        engine = self.engine()
        if isinstance(engine, NoEngine):
            hint = engine.hint or _START_ENGINE
            raise EngineGone(Problem("engine-unreachable", engine.reason, hint))
        if self._docker_runtime is None:
            self._docker_runtime = DockerRuntime(self._environ, self._cache, engine)
        return self._docker_runtime


def _engine_has_data(environment: Environment, engine: NoEngine) -> Problem:
    return Problem(
        "engine-unreachable",
        f"cannot reach the Docker engine that {environment.name} and its data lie with: "
        f"{engine.reason}",
        f"{engine.hint or 'start the Docker engine'}; `--runtime process` would leave the data",
    )


_START_ENGINE = "start the Docker engine, or use `--runtime process`"
