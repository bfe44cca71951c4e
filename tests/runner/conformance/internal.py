"""The application server's internal APIs, as one installation's calls meet them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .calls import Caller, Json
from .stub import Reply, Request, said


@dataclass(frozen=True, slots=True)
class Api:
    """One of the five (`ext-storage`), for the installation of a caller."""

    caller: Caller
    name: str

    @property
    def path(self) -> str:
        return f"/api/internal/{self.name}/install/{self.caller.install}"

    def answers(self, *answers: object) -> None:
        """In turn; what is not an answer yet is said as JSON."""
        made = [answer if isinstance(answer, Reply) else said(answer) for answer in answers]
        self.caller.peers.app.on(self.path, *made)

    @property
    def asked(self) -> list[Request]:
        return self.caller.peers.app.seen(self.path)

    @property
    def bodies(self) -> list[Any]:
        return [request.json for request in self.asked]

    def gives(self, answer: object, call: Json, **changes: object) -> Any:
        """What the guest's call gives when the server answers so."""
        self.answers(answer)
        return self.caller.gets(call, **changes)
