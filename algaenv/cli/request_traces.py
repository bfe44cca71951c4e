"""Puts together what a gateway tells of each request: its events, and the lines of guests."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from algaenv.bundle.value import replace
from algaenv.cli.gateway_client import guest_line, is_written
from algaenv.model.trace import CallTrace, GuestLine, RequestTrace, read_trace

if TYPE_CHECKING:
    from algaenv.dev.gateway_feed import GatewayEvent

MAX_PENDING: Final = 1_000
"""Requests that are being put together; the oldest is given up for another one."""
MAX_LINES: Final = 1_000
"""Of one request; more are counted as missing."""
LINE_SECONDS: Final = 1.0
"""How long lines are waited for, once their request has ended."""


class _Pending:
    """What is known of a request so far."""

    def __init__(self) -> None:
        self.request: RequestTrace | None = None
        self.lines: list[GuestLine] = []
        self.ended: float | None = None


class RequestTraces:
    """Takes events in the order in which they come. For one thread.

    `names` has extensions by their registry ids. Gaps in the ids of events are counted.
    """

    def __init__(
        self, names: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._names = names
        self._clock = clock
        self._pending: OrderedDict[str, _Pending] = OrderedDict()
        self._last = 0
        self.lost = 0
        """Events that did not come, since it was last set to 0."""

    def take(self, event: GatewayEvent) -> None:
        """Add what an event tells; those that belong to no request are ignored."""
        self._count(event.get("id"))
        id_ = event.get("request_id")
        if not isinstance(id_, str) or not id_:
            return
        match event.get("type"):
            case "call-started" | "call-ended" | "schedule-ran":
                pending = self._of(id_)
                pending.request = self._request(id_, event, pending.request)
                if event["type"] != "call-started":
                    pending.ended = self._clock()
            case "guest-log" if is_written(event):
                lines = self._of(id_).lines
                if len(lines) < MAX_LINES:
                    lines.append(guest_line(event))
            case _:
                return

    def ended(self, *, all_: bool = False) -> Iterator[RequestTrace]:
        """The requests that have ended, with the lines that came in time.

        `all_`: do not wait for lines, and give those that are under way, too.
        """
        for id_, pending in list(self._pending.items()):
            request = pending.request
            if request is None:
                continue
            if not all_ and not self._is_whole(pending):
                continue
            del self._pending[id_]
            yield _with_lines(request, pending.lines)

    def _is_whole(self, pending: _Pending) -> bool:
        if pending.ended is None or pending.request is None:
            return False
        call = pending.request.call
        if call is not None and len(pending.lines) >= call.lines:
            return True
        # Of a runner that does not tell how many lines there are, none may come.
        return self._clock() - pending.ended >= LINE_SECONDS

    def _of(self, id_: str) -> _Pending:
        if id_ not in self._pending:
            if len(self._pending) >= MAX_PENDING:
                self._pending.popitem(last=False)
            self._pending[id_] = _Pending()
        return self._pending[id_]

    def _count(self, id_: object) -> None:
        if not isinstance(id_, int):
            return
        # A smaller one is of a gateway that was started anew.
        if 0 < self._last < id_ - 1:
            self.lost += id_ - 1 - self._last
        self._last = id_

    def _request(self, id_: str, event: GatewayEvent, known: RequestTrace | None) -> RequestTrace:
        scheduled = event["type"] == "schedule-ran"
        status = event.get("status")
        if scheduled:
            status = 200 if status == "success" else 500
        extension = str(event.get("extension") or "")
        return RequestTrace(
            request_id=id_,
            at=known.at if known is not None else _began(event),
            extension=self._names.get(extension, extension),
            entry="schedule" if scheduled else str(event.get("gateway") or ""),
            method=str(event.get("method") or ""),
            path=str(event.get("path") or ""),
            user=str(event.get("user") or ""),
            status=status if isinstance(status, int) else None,
            ms=_number(event.get("ms")),
            runner_ms=_number(event.get("runner_ms")),
            problem=_problem(event),
            reason=str(event.get("reason") or event.get("detail") or ""),
            hint=str(event.get("hint") or ""),
            call=read_trace(event.get("trace")),
        )


def _with_lines(request: RequestTrace, lines: list[GuestLine]) -> RequestTrace:
    call = request.call
    if call is None:
        if not lines:
            return request
        call = CallTrace(lines=len(lines))
    return replace(request, call=replace(call, guest_lines=tuple(lines)))


def _began(event: GatewayEvent) -> int:
    at, ms = _number(event.get("at")) or 0.0, _number(event.get("ms")) or 0.0
    return int(at - ms)


def _problem(event: GatewayEvent) -> str:
    code, summary = event.get("code"), event.get("summary")
    if summary:
        return f"{code}: {summary}" if code else str(summary)
    return str(event.get("error") or "")


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
