"""The schedules of one tenant, and a clock for them that a test sets forward."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from algaenv.bundle.value import dataclass

if TYPE_CHECKING:
    from algaenv.testing.gateway import TenantGateway


@dataclass(frozen=True, slots=True)
class ScheduleRun:
    """A run: `status` is success, error or skipped, `due` the time that it was due at."""

    name: str | None
    status: str
    error: str | None
    """As the row of the schedule has it."""
    detail: str | None
    """What the runner says of it beyond that."""
    request_id: str | None
    due: datetime | None = None
    """None for one that was run at once."""

    @property
    def ok(self) -> bool:
        """Whether the handler ran and answered with a status below 400."""
        return self.status == "success"


class Schedules:
    """Lists and runs schedules. The gateway never runs those of a scratch tenant by itself."""

    def __init__(self, gateway: TenantGateway) -> None:
        self._gateway = gateway

    def list(self) -> list[dict[str, Any]]:
        """All of them as the gateway lists them: `id name cron endpointPath enabled nextRunAt` …"""
        found: list[dict[str, Any]] = self._gateway.request("GET", "/algaenv/schedules")[
            "schedules"
        ]
        return found

    def run(self, name: str) -> ScheduleRun:
        """Run the schedule of this name, id or `/path` now. Raises KeyError when none has it."""
        for row in self.list():
            if name in (row.get("name"), row["id"], row.get("endpointPath")):
                path = f"/algaenv/schedules/{quote(row['id'], safe='')}/run"
                return _run(row.get("name"), self._gateway.request("POST", path))
        raise KeyError(name)


class Clock:
    """What time it is for schedules; it begins at the time of this machine, and stands still.

    Handlers, records that expire and the log go on to see the time of the machine.
    """

    def __init__(self, gateway: TenantGateway) -> None:
        self._gateway = gateway
        self.now = datetime.now(UTC)

    def advance(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> list[ScheduleRun]:
        """Set it forward; make the runs that are due meanwhile, in order, each once."""
        span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        return self.advance_to(self.now + span)

    def advance_to(self, moment: datetime) -> list[ScheduleRun]:
        """The same up to a moment, the moment included. Raises ValueError for one that is past, or
        that has no time zone."""
        if moment.tzinfo is None:
            raise ValueError("the moment has no time zone")
        if moment < self.now:
            raise ValueError(f"{moment} is before {self.now}")
        span = {"since": self.now.isoformat(), "until": moment.isoformat()}
        path = f"/algaenv/tenants/{self._gateway.tenant}/schedules"
        found = self._gateway.request("POST", path, span)
        self.now = moment
        return [_run(it.get("name"), it) for it in found["runs"]]


def _run(name: str | None, fields: Mapping[str, Any]) -> ScheduleRun:
    due = fields.get("due")
    return ScheduleRun(
        name,
        fields["status"],
        fields.get("error"),
        fields.get("detail"),
        fields.get("requestId"),
        datetime.fromisoformat(due) if due else None,
    )
