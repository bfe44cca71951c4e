"""What came of the checks of an extension."""

from __future__ import annotations

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Where


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check that was made.

    `answer` is one phrase on what came back, `failures` say what was expected and did not come;
    without one the check has passed. `ms` is the time it took.
    """

    extension: str
    name: str
    about: str
    """What was asked, such as `POST /notes`."""
    answer: str
    ms: float
    failures: tuple[str, ...]
    details: tuple[str, ...]
    """Why it failed, as the gateway reports it: reason, last lines, hint."""
    where: Where

    @property
    def passed(self) -> bool:
        """True when everything expected came back."""
        return not self.failures
