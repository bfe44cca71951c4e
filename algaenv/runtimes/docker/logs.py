"""Reads the log of a container from the engine, which puts a time before each line."""

from __future__ import annotations

import calendar
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from algaenv.model.log import MAX_LINE_BYTES, LogLine
from algaenv.model.problem import DriverError
from algaenv.model.resource import Json
from algaenv.runtimes.docker.engine import Engine, EngineStream
from algaenv.runtimes.docker.errors import NOT_FOUND, EngineApiError, translate_errors

_HEAD_BYTES: Final = 8
"""Before each piece: which stream, three zeros, and the size in big endian."""
_TIME: Final = re.compile(
    rb"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|[+-]\d\d:\d\d) "
)
_POLL_SECONDS: Final = 0.5
_SILENCE_SECONDS: Final = 60.0
"""A log that is silent for so long is asked for again: its engine may be gone."""
_MAX_PIECE_BYTES: Final = 1 << 20
_LOST: Final = "the engine did not answer: {}"

Find = Callable[[], Mapping[str, Json]]
"""Returns the container as the engine lists it; empty when there is none."""


class ContainerLogReader:
    """Implements LogReader for what `find` returns, which may be another container later on."""

    def __init__(self, engine: Engine, find: Find) -> None:
        self._engine = engine
        self._find = find
        self._container = ""
        self._seen = (0, 0)
        """Time of the latest line, in nanoseconds since 1970, and how many lines had it."""
        self._skipped = (0, 0)
        """The same of the lines that the engine sends again."""
        self._partial: dict[int, tuple[str, int]] = {}
        """Stream → what has come of a line that the engine keeps in pieces, and its time."""
        self._stream: EngineStream | None = None
        self._closed = threading.Event()

    def kept(self, last: int | None, since: float | None) -> Iterator[LogLine]:
        """See LogReader."""
        self._container = str(self._find().get("Id", ""))
        if not self._container:
            return
        # One line at least, since `follow` goes on after it.
        query: dict[str, object] = {"tail": "all" if last is None else max(last, 1)}
        if since is not None:
            query["since"] = f"{since:.9f}"
            self._seen = (int(since * 1e9), 0)
        with translate_errors("read what a container has logged"):
            for line in self._read(query):
                if last != 0:
                    yield line

    def follow(self, stop: Callable[[], bool]) -> Iterator[LogLine]:
        """See LogReader."""
        state = "running" if self._container else ""
        problem = ""
        while not (stop() or self._closed.is_set()):
            try:
                if self._container and state == "running":
                    yield from self._read({"follow": 1, "since": self._resume()})
                    problem = ""
                found = self._find()
            except (OSError, EngineApiError, DriverError) as error:
                if self._closed.is_set():
                    return
                if not problem:
                    problem = str(error)
                    yield LogLine("", gap=_LOST.format(problem))
                self._closed.wait(_POLL_SECONDS)
                continue
            container, state = str(found.get("Id", "")), str(found.get("State", ""))
            if container and container != self._container:
                yield from self.unfinished()
                self._container, self._seen = container, (0, 0)
                # One that has ended by now may have written something, too.
                state = "running"
                continue
            if state != "running":
                self._closed.wait(_POLL_SECONDS)

    def unfinished(self) -> Iterator[LogLine]:
        """See LogReader."""
        yield from (_line(text, at) for text, at in self._partial.values())
        self._partial.clear()

    def close(self) -> None:
        """See LogReader."""
        self._closed.set()
        if self._stream is not None:
            self._stream.shutdown()

    def _read(self, query: Mapping[str, object]) -> Iterator[LogLine]:
        """The lines that the engine sends; ends with them, and after a long silence."""
        path = f"/containers/{self._container}/logs"
        asked = {"stdout": 1, "stderr": 1, "timestamps": 1, **query}
        seconds = _SILENCE_SECONDS if "follow" in query else None
        try:
            with self._engine.open_stream(path, asked, seconds) as stream:
                self._stream = stream
                while head := stream.read_exactly(_HEAD_BYTES):
                    size = int.from_bytes(head[4:])
                    content = stream.read_exactly(min(size, _MAX_PIECE_BYTES))
                    if size > _MAX_PIECE_BYTES:
                        # No engine sends pieces of this size: the rest of the line is dropped.
                        _skip(stream, size - _MAX_PIECE_BYTES)
                        content += b"\n"
                    yield from self._lines(head[0], content)
        except TimeoutError:
            if "follow" not in query:
                raise
        except EngineApiError as error:
            if error.status != NOT_FOUND:
                raise
        finally:
            self._stream = None

    def _resume(self) -> str:
        """The time from which the engine shall send again, as it is asked for."""
        if self._partial:
            # The pieces of one line have one time, and all of them come again.
            self._seen = (min(at for _, at in self._partial.values()), 0)
            self._partial.clear()
        self._skipped = self._seen
        return _engine_time(self._seen[0])

    def _lines(self, stream: int, piece: bytes) -> Iterator[LogLine]:
        """The line of a piece; none for the beginning of one, and for one that came before."""
        match = _TIME.match(piece)
        at = _nanoseconds(match) if match else self._seen[0]
        until, left = self._skipped
        if at < until or (at == until and left):
            self._skipped = (until, left - (at == until))
            return
        text = piece[match.end() if match else 0 :]
        before, at = self._partial.pop(stream, ("", at))
        whole = before + text.decode(errors="replace")
        if not text.endswith(b"\n"):
            self._partial[stream] = (whole[: MAX_LINE_BYTES + 1], at)
            return
        latest, same = self._seen
        if at >= latest:
            self._seen = (at, same + 1 if at == latest else 1)
        yield _line(whole, at)


def _skip(stream: EngineStream, size: int) -> None:
    while size > 0 and stream.read_exactly(min(size, _MAX_PIECE_BYTES)):
        size -= _MAX_PIECE_BYTES


def _line(text: str, at: int) -> LogLine:
    cut = len(text) > MAX_LINE_BYTES
    return LogLine(text[:MAX_LINE_BYTES].rstrip("\r\n"), at / 1e9, cut=cut)


def _nanoseconds(match: re.Match[bytes]) -> int:
    *parts, fraction = match.groups()
    seconds = calendar.timegm(tuple(map(int, parts)))
    return seconds * 10**9 + int((fraction or b"0").ljust(9, b"0"))


def _engine_time(nanoseconds: int) -> str:
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09}"
