"""The answers of a handler from source, and of the component that takes its place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from algaenv.bundle.value import dataclass
from algaenv.comparison.choice import declared_calls, recorded_calls
from algaenv.comparison.differences import compare_answers
from algaenv.comparison.volatile import IgnoreRules
from algaenv.model.comparison import Answer, Call, ComparedCall
from algaenv.model.status import ExtensionStatus

MAX_CALLS: Final = 12
"""Calls that are put to both: they cost the author's time, and nobody asked for them."""
_SECONDS: Final = 3.0
"""For all of them: the next edit waits."""
_RUNS_FROM: Final = "header:x-algaenv-runs-from"


@dataclass(frozen=True, slots=True)
class AnswerSample:
    """What an extension answered to some calls; None where it did not."""

    answers: tuple[tuple[Call, Answer | None], ...] = ()


def safe_calls(
    extension: ExtensionStatus, events: Iterable[Mapping[str, object]]
) -> tuple[Call, ...]:
    """The calls that change nothing: those of the manifest that nobody made, and those that were
    recorded."""
    own = (it for it in events if it.get("extension") == extension.registry_id)
    recorded = [it for it in recorded_calls(own, None).calls if it.method == "GET"]
    declared = [it for it in declared_calls(extension.endpoints, None).calls if it.method == "GET"]
    # A call that was made has the user that the gateway chose for it, and would be made twice.
    made = {it.path for it in recorded}
    return (*(it for it in declared if it.path not in made), *recorded)[-MAX_CALLS:]


def record(
    extension: ExtensionStatus, calls: Iterable[Call], cancelled: Callable[[], bool]
) -> AnswerSample:
    """Make the calls, as many as there is time for."""
    deadline = time.monotonic() + _SECONDS
    answers = []
    for call in calls:
        if cancelled() or time.monotonic() > deadline:
            break
        answers.append((call, _ask(extension.call_url, call, deadline)))
    return AnswerSample(tuple(answers))


def compare(
    extension: ExtensionStatus, before: AnswerSample, cancelled: Callable[[], bool]
) -> tuple[ComparedCall, ...]:
    """Make the same calls again; returns those that differ, `here` what they answered before."""
    ignored = IgnoreRules.of((_RUNS_FROM, "host-call"))
    earlier = [(call, answer) for call, answer in before.answers if answer is not None]
    now = record(extension, [call for call, _ in earlier], cancelled)
    compared = (
        compare_answers(call, answer, later, ignored)
        for (call, answer), (_, later) in zip(earlier, now.answers, strict=False)
        if later is not None
    )
    return tuple(it for it in compared if it.differences)


def _ask(base: str, call: Call, deadline: float) -> Answer | None:
    from http.client import HTTPConnection, HTTPException

    from algaenv.system.http import PlainRequest, exchange_within, whole_body

    parts = urlsplit(base)
    connection = HTTPConnection(parts.hostname or "", parts.port)
    headers = {"accept": "application/json, */*"}
    if call.user:
        headers["x-algaenv-user"] = call.user
    request = PlainRequest("GET", parts.path.rstrip("/") + call.path, None, headers)
    started = time.perf_counter()
    try:
        left = max(deadline - time.monotonic(), 0.01)
        response, body = exchange_within(connection, request, whole_body, seconds=left)
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    names = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, names, body, (time.perf_counter() - started) * 1000)
