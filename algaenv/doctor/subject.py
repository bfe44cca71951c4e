"""What the checks are about: a machine, and a spec with its environment where there is one.

What several checks need is read once, by the first that asks; the others wait for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from algaenv.bundle.value import replace
from algaenv.dependencies import Request, SavedState, tenant_of
from algaenv.model.intent import Intent
from algaenv.model.isolated import authored_spec
from algaenv.model.lock import Credentials, Environment, Lock
from algaenv.model.log import LogEntry, LogQuery
from algaenv.model.problem import AlgaenvError, NotReady, Problem
from algaenv.model.secret import Secret
from algaenv.model.secret_mask import SecretMask, secrets_in
from algaenv.model.status import Status
from algaenv.reconcile.log_records import entry_text
from algaenv.reconcile.protocols import Runtime
from algaenv.runtimes.docker.engine import EngineFacts, NoEngine
from algaenv.wiring import Container, build_application

Value = TypeVar("Value")
NOT_UP = Problem("not-up", "the environment has not been brought up", "run `algaenv up`")
_UNUSED = Secret("unused")


class Once(Generic[Value]):
    """A value that is made by the first thread that asks for it, errors included."""

    def __init__(self, make: Callable[[], Value]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: list[Value] = []
        self._error: AlgaenvError | None = None

    def __call__(self) -> Value:
        """The value. Raises the AlgaenvError that making it raised."""
        with self._lock:
            if self._error is not None:
                raise self._error
            if not self._made:
                try:
                    self._made.append(self._make())
                except AlgaenvError as error:
                    self._error = error
                    raise
            return self._made[0]


class Subject:
    """The machine, and the environment of `request`; None: there is no spec.

    `environ` is the environment of the command, before variables of clients were removed.
    """

    def __init__(self, request: Request | None, environ: Mapping[str, str]) -> None:
        self.request = request
        self.environ = environ
        self.container = Container(environ)
        self.loaded = Once(self._load)
        self.engine: Once[EngineFacts | NoEngine] = Once(self.container.engine)
        self.runtime = Once(self._choose_runtime)
        self.status = Once(self._read_status)

    @property
    def spec(self) -> Path | None:
        """The path of the author's spec, which need not exist; None without one."""
        return authored_spec(self.request.spec) if self.request else None

    @property
    def environment(self) -> Environment | None:
        """The environment of the spec; None without one."""
        if self.request is None:
            return None
        return self.container.identify(self.request.spec, self.request.spec.parent.name)

    @property
    def saved(self) -> SavedState | None:
        """What the last `up` saved; None when there was none, or it cannot be read."""
        try:
            return self.container.load_state(self.environment) if self.environment else None
        except AlgaenvError:
            return None

    @property
    def intent(self) -> Intent | None:
        """The spec if it is valid, else that of the last run; None without either."""
        try:
            return self.loaded()[0]
        except AlgaenvError:
            saved = self.saved
            return saved.intent if saved else None

    @property
    def wants_docker(self) -> bool:
        """Whether this environment can run with Docker only."""
        intent, saved = self.intent, self.saved
        wish = intent.runtime if intent else "auto"
        return "docker" in (wish, saved.runtime if saved and wish == "auto" else "")

    def lock(self) -> Lock | None:
        """The lock of the spec; None without one.

        Chooses no port and no secret: stand-ins are in the place of secrets that are not there.
        """
        environment, intent = self.environment, self.intent
        if environment is None or intent is None:
            return None
        saved = self.saved
        credentials = self.container.existing_credentials(environment, intent) or _stand_ins()
        from algaenv.drivers.state.settings import known_ports

        ports = known_ports(environment, intent)
        environment = replace(environment, name=intent.name)
        return Lock(environment, intent, ports, credentials, (), tenant_of(saved, intent))

    def mask(self) -> SecretMask:
        """Hides the secrets of spec and environment."""
        environment, intent = self.environment, self.intent
        found: list[Secret] = list(secrets_in(intent)) if intent else []
        if (saved := self.saved) is not None:
            found += secrets_in(saved.intent)
        if environment is not None and intent is not None:
            found += secrets_in(self.container.existing_credentials(environment, intent))
        return SecretMask(found)

    def log(self, name: str, last: int | None, since: float | None = None) -> Sequence[LogEntry]:
        """Entries of the log of a service, secrets hidden; none where it cannot be read."""
        if self.request is None:
            return ()
        query = LogQuery((name,), since=since, last=last)
        try:
            application = build_application(self.request)
            return tuple(application.logs(self.request, query, lambda: False))
        except AlgaenvError:
            return ()

    def last_lines(self, name: str, count: int = 5) -> tuple[str, ...]:
        """The last lines of the log of a service."""
        return tuple(entry_text(it) for it in self.log(name, count))

    def _load(self) -> tuple[Intent, Sequence[Problem]]:
        if self.request is None:
            raise NotReady(NOT_UP)
        home = self.container.identify(self.request.spec, "").home
        if home.is_dir():
            from algaenv.spec.cache import load_cached

            loaded = load_cached(self.request.spec, self.environ, home / "cache")
        else:  # Nothing is made by looking.
            from algaenv.spec.load import load

            loaded = load(self.request.spec, self.environ)
        intent = loaded.intent
        if self.request.runtime is not None:
            intent = replace(intent, runtime=self.request.runtime)
        if self.request.images is not None:
            intent = replace(intent, images=self.request.images)
        return intent, loaded.warnings

    def _choose_runtime(self) -> Runtime:
        environment, intent = self.environment, self.intent
        if self.request is None or environment is None or intent is None:
            raise NotReady(NOT_UP)
        return self.container.choose_runtime(self.request, environment, intent, self.saved)[0]

    def _read_status(self) -> Status:
        if self.request is None or self.saved is None:
            raise NotReady(NOT_UP)
        return build_application(self.request).status(self.request, lambda _: None)


def _stand_ins() -> Credentials:
    return Credentials(_UNUSED, _UNUSED, _UNUSED, _UNUSED, _UNUSED, _UNUSED, _UNUSED)
