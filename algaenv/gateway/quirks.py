"""Faults of the product that extensions meet in production: reproduced, announced, or fixed.

And differences from the product on purpose, which are announced once, when the gateway starts.

Code that reproduces one asks `reproduces` first and calls `announce` when the fault has shown.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from algaenv.gateway.events import EventBus

QUIRK_HEADER = "x-algaenv-product-fault"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Quirk:
    """One of them: its stable name, what happens, and what an author can do about it."""

    name: str
    summary: str
    advice: str


QUIRKS = (
    Quirk(
        "storage-list-skips",
        "list loses one record at every page boundary",
        "ask for pages of 100, or keep an index of your keys in one record",
    ),
    Quirk(
        "storage-expired-stays",
        "an expired record keeps its row and its share of the quota while operations fail",
        "do not rely on expiry to make room; delete what you no longer need",
    ),
    Quirk(
        "storage-array-schema",
        "an array is validated against the schema element by element, so [] always passes",
        "store objects",
    ),
    Quirk(
        "storage-schema-version",
        "a schemaVersion other than the active one switches validation off",
        "leave schemaVersion out",
    ),
    Quirk(
        "scheduler-array-payload",
        "a schedule cannot be created with an array as its payload: the database refuses it",
        "wrap the array in an object",
    ),
    Quirk(
        "scheduler-update-erases",
        "an update of a schedule erases its name and its payload unless both are sent",
        "send name and payload with every update",
    ),
    Quirk(
        "scheduler-version-change",
        "schedules fail once the installed version has changed under them",
        "update schedules after every change of version",
    ),
    Quirk(
        "clients-search",
        "searching clients fails: the database cannot compare a uuid with a pattern",
        "list clients without search and filter them yourself",
    ),
    Quirk(
        "direct-cacheable",
        "answers of /api/ext may be cached for a year and are always called JSON",
        "add a query that changes, or call through /api/ext-proxy",
    ),
    Quirk(
        "bodiless-body",
        "an answer with 204, 205 or 304 that has a body fails, through the proxy also an empty one",
        "answer such a status without any body, or answer 200",
    ),
    Quirk(
        "client-name",
        "the handler gets the tenant's own name in place of that of the user's client",
        "look the client up by its client_id",
    ),
    Quirk(
        "capabilities-union",
        "a handler has what its manifest declares, however little it was granted",
        "declare no more in the manifest than every install may have",
    ),
)


class Quirks:
    """The quirks that are reproduced: all but those named in `fixed`."""

    def __init__(self, fixed: Collection[str], events: EventBus) -> None:
        self._fixed = frozenset(fixed)
        self._events = events
        self._by_name = {quirk.name: quirk for quirk in QUIRKS}

    def reproduces(self, name: str) -> bool:
        """Whether this quirk is reproduced. Raises KeyError for an unknown name."""
        return self._by_name[name].name not in self._fixed

    def announce(
        self, name: str, *, extension: str | None, request_id: str | None = None
    ) -> dict[str, str]:
        """Publish and log that the fault has shown; returns a header for the response."""
        quirk = self._by_name[name]
        event = {
            "type": "product-fault",
            "extension": extension,
            "request_id": request_id,
            "name": name,
            "summary": quirk.summary,
            "advice": quirk.advice,
        }
        self._events.publish(event)
        _log.warning("product fault", extra={"fields": event})
        return self.header(name)

    def header(self, name: str) -> dict[str, str]:
        """The header alone, for what was announced before."""
        return {QUIRK_HEADER: self._by_name[name].name}


def unknown_quirks(names: Collection[str]) -> list[str]:
    """Those that name no fault."""
    return sorted(set(names) - {quirk.name for quirk in QUIRKS})


DIFFERENCES = {
    "headers-for-authors": "answers have x-algaenv-… headers, and problem+json for who accepts it",
    "users-are-selected": "users are selected and not signed in; pages of other sites are refused",
    "scratch-tenants": "a request may name the tenant of a test, which is cut off from servers",
    "bodies-are-bounded": "bodies through the proxy and answers of the runner end at 64 MiB",
    "slow-and-large-requests": "a body that does not come is 408, a head above 64 KiB 431",
    "paths-that-are-no-text": "a path that is no UTF-8 is 404",
    "redirects-of-the-runner": "a redirect of the runner itself is not followed",
    "installs-are-read-once": "an install is read in one statement and cannot change in between",
    "audit-is-short-and-later": "rows of the audit are shortened and end after the answer",
    "debug-stream-without-redis": "the debug stream without Redis is 503",
    "debug-stream-goes-on": "the debug stream has ids, a tail and Last-Event-ID",
    "database-that-does-not-answer": "a runner is told 503 when the database does not answer",
    "slow-bodies-of-runners": "a body of a runner that does not come is 408",
    "cron-without-meaning": "an enabled schedule whose cron means nothing is 400",
    "time-zones": "time zones are those of this machine's database",
    "retries-of-runs": "retries of failed runs are kept in memory",
    "no-job-rows": "schedules have no rows of a job queue",
    "large-answers-of-runs": "an answer to a run ends at 64 MiB",
    "clients-and-services-of-the-settings": "clients and services are those of the settings",
    "invoices-are-not-booked": "invoices are added up, never taxed or booked",
    "sums-beyond-the-database": "sums too large for the database are 400 with a sentence",
    "words-of-schemas": "some schema keywords refuse in other words",
    "patterns-of-schemas": "patterns of schemas may use only what Python knows",
    "dot-segments": "paths of pages with dot segments are 404",
    "slash-at-the-end": "a slash at the end of a page's path goes on to the runner",
    "routes-that-leave-the-proxy": "a page cannot call routes outside of the proxy",
    "calls-name-their-user": "calls of a page name their user in a header",
    "routes-that-are-no-text": "a route that is no text is refused in other words",
    "panel-beside-the-frame": "a panel beside the frame tells what happens",
    "frame-follows-dev": "the frame is reloaded when algaenv dev applies another version",
}
"""Name → what differs. The reasons are in `docs/explanation/gateway-differences.md`."""
