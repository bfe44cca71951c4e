"""One call on its way through a gateway: what is known of it, and who is told."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field

from starlette.responses import Response
from starlette.types import Scope

from algaenv.gateway.answers import shown
from algaenv.gateway.audit import Audit, Entry
from algaenv.gateway.execution import Road
from algaenv.gateway.feed import Feed
from algaenv.gateway.installs import Install
from algaenv.gateway.journal import LINE, Line
from algaenv.gateway.problem import Problem
from algaenv.gateway.relay import Answered, Relayed
from algaenv.gateway.users import User

_LONGEST_ID = 200
_LONGEST = 300


@dataclass(slots=True)
class Call:
    """Filled in as it goes on; `end` writes all of it down."""

    road: Road
    request_id: str
    method: str
    path: str
    started: float = field(default_factory=time.perf_counter)
    user: User | None = None
    install: Install | None = None
    relayed: Relayed | None = None
    problem: Problem | None = None
    entry: Entry | None = None
    """Its row in the audit, from the moment that one is there."""

    def begin(self, feed: Feed) -> None:
        """Say that it goes to the runner."""
        feed.say({"type": "call-started", **self._told()})

    def end(self, scope: Scope, response: Response, feed: Feed, audit: Audit) -> None:
        """Say how it ended: in the headers of the answer, in feed, journal and audit."""
        headers = response.headers
        headers["x-algaenv-request-id"] = shown(self.request_id)
        relayed, problem = self.relayed, self.problem
        ms = round((time.perf_counter() - self.started) * 1000, 2)
        event: dict[str, object] = {
            "type": "call-ended",
            **self._told(),
            "status": response.status_code,
            "ms": ms,
        }
        if relayed is not None:
            headers["x-algaenv-runner-ms"] = f"{relayed.ms:g}"
            event["runner_ms"] = relayed.ms
        if problem is not None:
            event.update(problem.fields)
        if isinstance(relayed, Answered) and relayed.error is not None:
            headers["x-algaenv-error"] = shown(relayed.error)
            event["error"] = relayed.error
            if relayed.failure is not None:
                headers["x-algaenv-reason"] = shown(relayed.failure.reason)
                event["reason"] = relayed.failure.reason
                if relayed.failure.host_call:
                    headers["x-algaenv-host-call"] = shown(relayed.failure.host_call)
                if relayed.failure.hint:
                    headers["x-algaenv-hint"] = shown(relayed.failure.hint)
                if relayed.failure.stderr:
                    headers["x-algaenv-stderr"] = shown(relayed.failure.stderr[-1])
                self._tell_failure(feed, relayed)
        feed.say(event)
        self._write(scope, relayed)
        if self.entry is not None:
            audit.end(self.entry, relayed, status=response.status_code, ms=ms)

    def _tell_failure(self, feed: Feed, answered: Answered) -> None:
        if (failure := answered.failure) is not None:
            feed.say(
                {
                    "type": "guest-failure",
                    **self._told(),
                    "kind": failure.kind,
                    "reason": failure.reason,
                    "causes": failure.causes,
                    "stderr": failure.stderr,
                    "hint": failure.hint,
                    "host_call": failure.host_call,
                }
            )

    def _write(self, scope: Scope, relayed: Relayed | None) -> None:
        line: Line | None = scope.get(LINE)
        if line is None:
            return
        line.request_id = self.request_id
        line.extension = self.install.slug if self.install else None
        line.user = self.user.key if self.user else None
        line.runner_ms = relayed.ms if relayed else None
        line.why = f"{self.problem.code}: {self.problem.summary}" if self.problem else None

    def _told(self) -> dict[str, object]:
        return {
            "extension": self.install.registry_id if self.install else None,
            "request_id": self.request_id,
            "gateway": self.road.value,
            "method": self.method,
            "path": self.path[:_LONGEST],
            "user": self.user.key if self.user else None,
        }


def request_id(given: str | None) -> str:
    """The caller's own, if it can be one; else a new one."""
    if given and len(given) <= _LONGEST_ID and given.isascii() and given.isprintable():
        return given
    return str(uuid.uuid4())
