"""Makes the checks side by side, each within its time, and repairs what may be repaired."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from algaenv.doctor import installed, machine, services, sources, state
from algaenv.doctor.finding import Check, CheckFinding, Finding
from algaenv.doctor.subject import Subject
from algaenv.model.problem import AlgaenvError

FIRST: Final = (
    Check(
        "state-directory",
        "it holds the secrets, and every run writes to it",
        state.directory,
    ),
    Check("secrets", "who reads them can use every service of the environment", state.secrets),
)
"""Before all others, which close what is open when they read it."""
CHECKS: Final = (
    Check("python", "other systems and versions are not supported", machine.python),
    Check("engine", "containers need one that answers; processes do not", services.engine),
    Check("architecture", "programs of one processor do not run on another", services.architecture),
    Check("disk", "without room nothing is built, pulled or written", machine.disk),
    Check("clock", "the store refuses requests of another time, and tokens expire", machine.clock),
    Check("kernel", "a service or the loop ends with an obscure error there", machine.kernel),
    Check("proxy", "browsers and tools ask the proxy for services of this machine", machine.proxy),
    Check("spec", "nothing is brought up from a spec with errors", sources.spec),
    Check("schema-line", "editors check and complete the spec by it", sources.schema_line),
    Check("manifests", "what breaks the rules of Alga is not installed", sources.manifests),
    Check("tools", "a build stops where its program is missing", sources.tools, 30.0),
    Check("runtime", "each service needs an image or a program", services.runtime, 30.0),
    Check("ports", "a service cannot start on a port of another program", services.ports),
    Check("tenant", "extensions are installed for one that is there", sources.tenant),
    Check("gitignore", "secrets and data would go into the repository", state.gitignore),
    Check("lock", "a run that was killed leaves things half done", state.lock),
    Check("leftovers", "half-written files may hold secrets", state.leftovers),
    Check("services", "nothing works without them", installed.services, 30.0),
    Check("installs", "what is not installed cannot be called or shown", installed.installs, 30.0),
    Check("handlers", "a call that no endpoint is declared for gets 404", installed.handlers, 30.0),
    Check("traps", "a call of a handler that traps gets 502", installed.traps, 30.0),
    Check(
        "pages", "a page that is not served, or blocked, is a blank iframe", installed.pages, 30.0
    ),
    Check("menu", "people reach a page by the sidebar only", installed.menu),
    Check("product", "other products have no extensions", installed.tenant_product, 30.0),
)


def examine(
    subject: Subject,
    checks: Sequence[Check] = CHECKS,
    first: Sequence[Check] = FIRST,
    *,
    most: float | None = None,
) -> tuple[CheckFinding, ...]:
    """The findings of all checks, in their order; never raises for what a check meets.

    With `most` no check gets more than so many seconds.
    """
    found = [it for check in first for it in _made(check, subject)]
    results: list[list[CheckFinding] | None] = [None for _ in checks]

    def make(place: int) -> None:
        results[place] = _made(checks[place], subject)

    began = time.monotonic()
    threads = [
        threading.Thread(target=make, args=(place,), name=check.id, daemon=True)
        for place, check in enumerate(checks)
    ]
    for thread in threads:
        thread.start()
    for place, (check, thread) in enumerate(zip(checks, threads, strict=True)):
        seconds = check.seconds if most is None else min(most, check.seconds)
        thread.join(max(0.0, began + seconds - time.monotonic()))
        made = results[place]
        late = Finding("warning", f"no result within {seconds:g} s", "run it again")
        found += [CheckFinding(check, late)] if made is None else made
    return tuple(found)


def _made(check: Check, subject: Subject) -> list[CheckFinding]:
    try:
        return [CheckFinding(check, it) for it in check.run(subject)]
    except AlgaenvError as error:
        problem = error.problem
        return [CheckFinding(check, Finding("failed", problem.summary, problem.hint))]
    except Exception as error:  # A bug in one check must not hide the others.
        why = f"{type(error).__name__}: {error}".partition("\n")[0]
        hint = "report it, with the line shown"
        return [CheckFinding(check, Finding("warning", f"cannot make this check: {why}", hint))]


def repair(found: Sequence[CheckFinding]) -> tuple[CheckFinding, ...]:
    """Repair what can be repaired, one after the other; the findings with what was done."""
    return tuple(_repaired(it) for it in found)


def _repaired(one: CheckFinding) -> CheckFinding:
    if one.finding.repair is None:
        return one
    try:
        return CheckFinding(one.check, one.finding, one.finding.repair())
    except AlgaenvError as error:
        why = error.problem.summary
    except OSError as error:
        why = f"cannot repair it: {error.strerror or error}"
    finding = one.finding
    return CheckFinding(
        one.check, Finding("failed", finding.summary, finding.hint, (*finding.detail, why))
    )


def is_failed(one: CheckFinding) -> bool:
    """Whether it makes the command fail: what was repaired does not."""
    return one.finding.state == "failed" and not one.repaired
