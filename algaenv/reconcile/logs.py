"""The logs of an environment as one: chosen, merged by time, and followed."""

from __future__ import annotations

import heapq
import queue
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from typing import Final

from algaenv.bundle.value import dataclass, replace
from algaenv.model.intent import Intent
from algaenv.model.kind import KINDS
from algaenv.model.lock import Environment
from algaenv.model.log import LogEntry, LogLine, LogQuery
from algaenv.model.problem import AlgaenvError, Problem, Refused
from algaenv.model.secret_mask import SecretMask
from algaenv.reconcile.endpoints import services_of
from algaenv.reconcile.log_records import LineParser, entry_text
from algaenv.reconcile.protocols import LogReader, ReadsLog, Runtime

HANDLER_SERVICES: Final = ("runner", "gateway")
"""Whose logs tell of extensions."""
_HOLD_SECONDS: Final = 0.2
"""A new line waits so long for earlier ones of other services."""
_QUEUE_LINES: Final = 1_000
"""Readers wait while so many lines are waiting to be shown."""
_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class LogSource:
    """A service with what reads its log."""

    service: str
    reader: LogReader


@dataclass(frozen=True, slots=True)
class LogSelection:
    """Services whose entries are wanted, extensions whose entries are wanted, and the sources to
    read for them."""

    services: frozenset[str]
    extensions: frozenset[str]
    read: tuple[str, ...]


def select_sources(names: Sequence[str], intent: Intent) -> LogSelection:
    """What the names mean. A service goes before an extension of the same name.

    Raises Refused (`log-unknown`) with every name that is neither.
    """
    services = services_of(intent)
    extensions = tuple(it.name for it in intent.every_extension)
    if not names:
        return LogSelection(frozenset(services), frozenset(), services)
    unknown = [it for it in names if it not in (*services, *extensions)]
    if unknown:
        raise Refused(*(_unknown(name, services, extensions) for name in unknown))
    wanted = frozenset(names) & frozenset(services)
    about = frozenset(names) - wanted
    needed = wanted | frozenset(HANDLER_SERVICES if about else ())
    return LogSelection(wanted, about, tuple(it for it in services if it in needed))


def _unknown(name: str, services: Sequence[str], extensions: Sequence[str]) -> Problem:
    import difflib

    known = (*services, *extensions)
    near = difflib.get_close_matches(name, known, n=1)
    why = "it is no service and no extension of the environment"
    if name == "database":
        why = "the spec uses a database of its own, which keeps its log itself"
    elif name == "gateway":
        why = "the environment runs no gateway"
    return Problem(
        "log-unknown",
        f"cannot show the log of {name}: {why}",
        f"did you mean `{near[0]}`?" if near else f"there are {', '.join(known)}",
    )


def readers_of(runtime: Runtime, environment: Environment) -> Callable[[str], LogReader]:
    """What makes a reader of a service, by its name. Raises Refused for a runtime without logs."""
    for name, driver in runtime.drivers(environment).items():
        kind = KINDS[name]
        if kind.runs and isinstance(driver, ReadsLog):
            return lambda service: driver.log_reader(kind.address(service))
    raise Refused(
        Problem(
            "log-unknown",
            f"cannot show logs: the runtime {runtime.name} keeps none",
            "look where it has its services write to",
        )
    )


class MergedLog:
    """The entries of several services that a query asks for, in the order of their times.

    `reader_of` makes what reads the log of a service, `names` has extensions by what logs call
    them, `mask` hides secrets. Raises Refused (`log-unknown`).
    """

    def __init__(
        self,
        reader_of: Callable[[str], LogReader],
        intent: Intent,
        query: LogQuery,
        names: Mapping[str, str],
        mask: SecretMask,
    ) -> None:
        self._selection = select_sources(query.names, intent)
        self._sources = [LogSource(name, reader_of(name)) for name in self._selection.read]
        self._query = query
        self._mask = mask
        self._pattern = re.compile(query.pattern) if query.pattern else None
        self._parsers: Mapping[str, LineParser] = {
            it.service: LineParser(it.service, lambda id_: names.get(id_, id_))
            for it in self._sources
        }

    def entries(self, stop: Callable[[], bool]) -> Iterator[LogEntry]:
        """Those that are kept, and with `follow` all that come, until `stop` returns True.

        Raises what the readers raise when nothing can be read.
        """
        try:
            kept = self._kept()
            if self._query.last is not None:
                kept = iter(deque(kept, maxlen=self._query.last))
            yield from kept
            if self._query.follow:
                with closing(self._following(stop)) as following:
                    yield from following
        finally:
            for source in self._sources:
                source.reader.close()

    def _kept(self) -> Iterator[LogEntry]:
        query, selection = self._query, self._selection
        filtered = (
            query.since is not None or query.pattern or query.request_id or selection.extensions
        )
        last = None if filtered else query.last
        streams = [self._kept_of(source, last) for source in self._sources]
        for entry in heapq.merge(*streams, key=lambda it: it.at):
            if self._wanted(entry):
                yield entry

    def _kept_of(self, source: LogSource, last: int | None) -> Iterator[LogEntry]:
        parser = self._parsers[source.service]
        for line in source.reader.kept(last, self._query.since):
            yield self._masked(parser.parse(line))
        if not self._query.follow:
            for line in source.reader.unfinished():
                yield self._masked(parser.parse(line))

    def _masked(self, entry: LogEntry) -> LogEntry:
        return replace(
            entry, message=self._mask.text(entry.message), fields=self._mask.json(entry.fields)
        )

    def _wanted(self, entry: LogEntry) -> bool:
        query, selection = self._query, self._selection
        if query.since is not None and entry.at < query.since:
            return False
        if entry.kind == "gap":  # What is missing may have been wanted.
            return True
        if entry.service not in selection.services and entry.extension not in selection.extensions:
            return False
        if query.request_id and not entry.request_id.startswith(query.request_id):
            return False
        return self._pattern is None or bool(self._pattern.search(entry_text(entry)))

    def _following(self, stop: Callable[[], bool]) -> Generator[LogEntry, None, None]:
        lines: queue.Queue[tuple[str, LogLine]] = queue.Queue(_QUEUE_LINES)
        ended = threading.Event()

        def finished() -> bool:
            return ended.is_set()

        def read(source: LogSource) -> None:
            try:
                for line in source.reader.follow(finished):
                    while not ended.is_set():
                        with suppress(queue.Full):
                            lines.put((source.service, line), timeout=_POLL_SECONDS)
                            break
            except AlgaenvError as error:
                # The others go on.
                lines.put((source.service, LogLine("", time.time(), gap=str(error))))

        for source in self._sources:
            name = f"log of {source.service}"
            threading.Thread(target=read, args=(source,), name=name, daemon=True).start()
        try:
            yield from self._in_order(lines, stop)
        finally:
            ended.set()

    def _in_order(
        self, lines: queue.Queue[tuple[str, LogLine]], stop: Callable[[], bool]
    ) -> Iterator[LogEntry]:
        """Each entry a little after it came, so that those of one moment stand in their order."""
        held: list[tuple[float, int, float, LogEntry]] = []
        count = 0
        while not stop():
            now = time.monotonic()
            while held and (held[0][2] <= now or len(held) > _QUEUE_LINES):
                yield heapq.heappop(held)[3]
            pause = min(_POLL_SECONDS, max(held[0][2] - now, 0.0)) if held else _POLL_SECONDS
            with suppress(queue.Empty):
                service, line = lines.get(timeout=pause)
                entry = self._masked(self._parsers[service].parse(line))
                if self._wanted(entry):
                    count += 1
                    due = time.monotonic() + _HOLD_SECONDS
                    heapq.heappush(held, (entry.at, count, due, entry))
        for *_, entry in sorted(held):
            yield entry
