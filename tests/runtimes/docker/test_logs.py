"""The log of a container, as an engine sends it: pieces, reconnections, silence, failures."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from algaenv.model.log import MAX_LINE_BYTES, LogLine
from algaenv.model.problem import DriverError
from algaenv.runtimes.docker.engine import EngineStream
from algaenv.runtimes.docker.errors import EngineApiError
from algaenv.runtimes.docker.logs import ContainerLogReader

STDOUT, STDERR = 1, 2


def frame(second: int, text: str, stream: int = STDOUT, nanoseconds: int = 0) -> bytes:
    content = f"2026-11-30T18:57:{second:02}.{nanoseconds:09}Z {text}".encode()
    return bytes((stream, 0, 0, 0)) + len(content).to_bytes(4, "big") + content


class FakeEngine:
    """Answers each request for a log with the next of `answers`, and notes what was asked."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, object]]] = []

    @contextmanager
    def open_stream(
        self, path: str, query: Mapping[str, object], silence: float | None
    ) -> Iterator[EngineStream]:
        self.asked.append((path, dict(query)))
        answer = self.answers.pop(0) if self.answers else b""
        if isinstance(answer, EngineApiError):
            raise answer
        content = io.BytesIO(answer if isinstance(answer, bytes) else b"")

        def read(size: int) -> bytes:
            if isinstance(answer, Exception):
                raise answer
            return content.read(size)

        yield EngineStream(read, lambda: None)


def reader(engine: FakeEngine, *containers: Mapping[str, Any]) -> ContainerLogReader:
    """A reader that finds these containers, one at a time, and the last one for ever."""
    left = [dict(it) for it in containers]
    made: Any = engine
    return ContainerLogReader(made, lambda: left.pop(0) if len(left) > 1 else left[0])


ONE = {"Id": "one", "State": "running"}
TWO = {"Id": "two", "State": "running"}


def texts(lines: list[LogLine]) -> list[str]:
    return [line.text or f"gap: {line.gap}" for line in lines]


def followed(of: ContainerLogReader, count: int) -> list[LogLine]:
    found = []
    for line in of.follow(lambda: False):
        found.append(line)
        if len(found) == count:
            break
    return found


def test_lines_have_the_time_of_the_engine_and_pieces_are_put_together() -> None:
    pieces = frame(1, "be") + frame(1, "err\n", STDERR) + frame(1, "gin\r\n") + frame(2, "un")
    of = reader(FakeEngine(pieces), ONE)
    lines = list(of.kept(None, None))
    assert texts(lines) == ["err", "begin"]
    assert lines[1].at == 1796065021.0
    assert texts(list(of.unfinished())) == ["un"]


def test_a_line_of_any_length_takes_little_memory() -> None:
    pieces = b"".join(frame(1, "x" * 16_384) for _ in range(64)) + frame(1, "\n")
    (line,) = reader(FakeEngine(pieces), ONE).kept(None, None)
    assert (len(line.text), line.cut) == (MAX_LINE_BYTES, True)
    huge = frame(1, "y" * (3 << 20) + "\n") + frame(2, "next\n")
    lines = list(reader(FakeEngine(huge), ONE).kept(None, None))
    assert (lines[0].cut, texts(lines[1:])) == (True, ["next"])


def test_what_is_asked_for() -> None:
    engine = FakeEngine(frame(1, "a\n"), frame(1, "a\n"), b"")
    of = reader(engine, ONE)
    assert list(of.kept(0, None)) == []
    list(reader(engine, ONE).kept(7, 12.5))
    tails = [(query["tail"], query.get("since")) for _, query in engine.asked]
    assert tails == [(1, None), (7, "12.500000000")]
    assert list(reader(FakeEngine(), {}).kept(None, None)) == []


def test_a_reconnection_gives_nothing_twice_and_loses_nothing() -> None:
    engine = FakeEngine(
        frame(1, "a\n") + frame(2, "b\n", nanoseconds=5),
        # The same moment again, then another line of it, and the beginning of a line.
        frame(2, "b\n", nanoseconds=5) + frame(2, "c\n", nanoseconds=5) + frame(3, "hal"),
        TimeoutError(),
        frame(3, "hal") + frame(3, "f\n") + frame(4, "d\n"),
    )
    of = reader(engine, ONE)
    assert texts(list(of.kept(None, None))) == ["a", "b"]
    assert texts(followed(of, 3)) == ["c", "half", "d"]
    assert [query.get("since") for _, query in engine.asked[1:]] == [
        "1796065022.000000005",
        "1796065023.000000000",
        "1796065023.000000000",
    ]


@pytest.mark.parametrize(
    "failure",
    [ConnectionError("reset"), EngineApiError(500, "no such driver")],
    ids=["lost", "refused"],
)
def test_a_failure_is_a_gap_once_and_it_goes_on(failure: Exception) -> None:
    engine = FakeEngine(b"", failure, failure, frame(5, "later\n"))
    of = reader(engine, ONE)
    assert list(of.kept(None, None)) == []
    gap, line = followed(of, 2)
    assert "the engine did not answer" in gap.gap
    assert line.text == "later"


def test_another_container_is_read_from_its_beginning() -> None:
    engine = FakeEngine(frame(9, "old\n"), b"", frame(1, "new\n"))
    of = reader(engine, ONE, TWO)
    assert texts(list(of.kept(None, None))) == ["old"]
    assert texts(followed(of, 1)) == ["new"]
    path, query = engine.asked[-1]
    assert (path, query["since"]) == ("/containers/two/logs", "0.000000000")


def test_one_that_is_gone_is_no_failure_and_a_log_that_cannot_be_read_is() -> None:
    engine = FakeEngine(EngineApiError(404, "no such container"))
    assert list(reader(engine, ONE).kept(None, None)) == []
    with pytest.raises(DriverError):
        list(reader(FakeEngine(EngineApiError(500, "no")), ONE).kept(None, None))


def test_one_that_is_closed_ends() -> None:
    of = reader(FakeEngine(), {"Id": "one", "State": "exited"})
    assert list(of.kept(None, None)) == []
    of.close()
    assert list(of.follow(lambda: False)) == []
