"""The use cases about the lock file: writing it, and comparing it with what would run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from algaenv.bundle.value import replace
from algaenv.dependencies import LockResult, Request
from algaenv.last_run import LastRun
from algaenv.model.event import Emit, Warned
from algaenv.model.intent import Intent
from algaenv.model.lock import Credentials, Environment, Lock, Ports
from algaenv.model.problem import AlgaenvError, LockDiffers, Problem, Refused
from algaenv.model.secret import Secret
from algaenv.reconcile.protocols import Runtime

if TYPE_CHECKING:
    from algaenv.model.pins import PinDifference, Pins

_RUNTIMES = ("docker", "process")
_NAMES = "name a service, a package, an extension or a tool, or leave it out for all of them"
_NOBODY = Credentials(*[Secret("")] * 7)
"""What would run depends on no secret, so none is generated for a question."""


class Pinning(LastRun):
    """The part of UseCases that reads and writes the lock file."""

    _compared: tuple[Intent, Pins] | None = None
    """What was compared last, for runs that follow each other in one process."""

    def write_lock(self, request: Request, update: Sequence[str] | None) -> LockResult:
        """See UseCases. Raises Refused (`lock-name-unknown`)."""
        from algaenv.model.pins import changes, merged, names_of, with_pins

        intent, environment = self._load(request, lambda _: None)
        before = self._dependencies.read_pins(request.spec)
        anew = frozenset(update or ()) if update is not None else frozenset[str]()
        everything = update is not None and not anew
        if before is None or everything:
            intent = replace(intent, image_pins={}, program_pins={})
        else:
            intent = with_pins(intent, before, self._dependencies.platform, anew)
        found, left_out = self._look_everywhere(environment, intent)
        _refuse_unknown(anew, names_of((found, *([before] if before else ()))))
        pins = merged(before, found, intent, None if everything else anew)
        changed = changes(before, pins)
        path = request.spec.with_suffix(".lock")
        if changed or before is None:
            self._dependencies.write_pins(request.spec, pins)
        return LockResult(path, pins, changed, left_out)

    def check_lock(self, request: Request) -> Sequence[PinDifference]:
        """See UseCases."""
        intent, environment = self._load(request, lambda _: None)
        locked = self._dependencies.read_pins(request.spec)
        if locked is None:
            raise LockDiffers(_missing(request))
        return self._differences(request, environment, intent, locked)

    def _require_pins(
        self, request: Request, environment: Environment, intent: Intent, emit: Emit
    ) -> None:
        """Warn of what differs from the lock file; with `--locked` raise LockDiffers instead."""
        locked = self._dependencies.read_pins(request.spec)
        if locked is None:
            if request.locked:
                raise LockDiffers(_missing(request))
            return
        if self._compared == (intent, locked):
            return
        found = self._differences(request, environment, intent, locked)
        if found and request.locked:
            raise LockDiffers(_differs(request, found, "cannot bring up what the lock file names"))
        if found:
            emit(Warned(_differs(request, found, "this is not all that the lock file names")))
        self._compared = intent, locked

    def _differences(
        self, request: Request, environment: Environment, intent: Intent, locked: Pins
    ) -> tuple[PinDifference, ...]:
        from algaenv.model.pins import differences, stale

        saved = self._dependencies.load_state(environment)
        runtime, _ = self._dependencies.choose_runtime(request, environment, intent, saved)
        old = stale(locked, intent, runtime.name, self._dependencies.platform)
        return (*old, *differences(locked, self._look(environment, intent, runtime)))

    def _look(self, environment: Environment, intent: Intent, runtime: Runtime) -> Pins:
        """What would run with one runtime."""
        lock = Lock(environment, intent, Ports(0, 0, 0, 0, 0, 0), _NOBODY, ())
        own = self._dependencies.own_pins(environment, intent, programs=runtime.name == "process")
        return replace(own, services=tuple(runtime.pins(lock)))

    def _look_everywhere(
        self, environment: Environment, intent: Intent
    ) -> tuple[Pins, dict[str, Problem]]:
        """What would run with each runtime that the spec allows; raises when that is none."""
        names = _RUNTIMES if intent.runtime == "auto" else (intent.runtime,)
        found: Pins | None = None
        left_out: dict[str, Problem] = {}
        errors: list[AlgaenvError] = []
        for name in names:
            try:
                pins = self._look(environment, intent, self._dependencies.runtime(name))
            except AlgaenvError as error:
                errors.append(error)
                left_out[name] = error.problem
                continue
            if found is not None:
                services = (*found.services, *pins.services)
                pins = replace(pins, services=services, packages=pins.packages or found.packages)
            found = pins
        if found is None:
            raise errors[0]
        return found, left_out


def _refuse_unknown(names: frozenset[str], known: Sequence[str]) -> None:
    from algaenv.spec.diagnostics import nearest

    unknown = [
        Problem(
            "lock-name-unknown",
            f"cannot update {name}: nothing of that name is locked",
            f"did you mean `{near}`?" if (near := nearest(name, known)) else _NAMES,
        )
        for name in sorted(names - set(known))
    ]
    if unknown:
        raise Refused(*unknown)


def _missing(request: Request) -> Problem:
    path = request.spec.with_suffix(".lock")
    summary = f"cannot find a lock file: there is no {path}"
    return Problem("lock-missing", summary, "write it with `algaenv lock`, and check it in")


def _differs(request: Request, found: Sequence[PinDifference], what: str) -> Problem:
    path = request.spec.with_suffix(".lock")
    many = f"{len(found)} difference{'s' * (len(found) > 1)} from {path.name}"
    return Problem(
        "lock-differs",
        f"{what}: {many}",
        "install what is locked, or lock what is here with `algaenv lock --update`",
        detail=tuple(map(str, found)),
    )
