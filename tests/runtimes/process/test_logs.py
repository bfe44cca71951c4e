"""The log of a process, read from the files that the supervisor's own writer makes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from algaenv.model.log import MAX_LINE_BYTES, LogLine
from algaenv.runtimes.process.logs import ProcessLogReader
from algaenv.runtimes.process.supervisor.records import ServiceLogFile
from tests.scenario.project import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.log"


@contextmanager
def following(reader: ProcessLogReader) -> Iterator[list[LogLine]]:
    seen: list[LogLine] = []
    stop = threading.Event()

    def collect() -> None:
        for line in reader.follow(stop.is_set):
            seen.append(line)

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join(30)


def kept(path: Path, last: int | None = None) -> list[str]:
    reader = ProcessLogReader(path)
    found = [line.text for line in (*reader.kept(last, None), *reader.unfinished())]
    reader.close()
    return found


def test_the_file_before_comes_first_and_both_count_for_the_last_lines(path: Path) -> None:
    log = ServiceLogFile(str(path), limit=10)
    for line in (b"one\ntwo\n", b"three\nfour\n", b"five\nsi"):
        log.write(line)
    assert kept(path) == ["three", "four", "five", "si"]
    for last in range(6):
        assert kept(path, last) == (["three", "four", "five", "si"][-last:] if last else [])


def test_a_line_goes_on_in_the_next_file_unless_the_service_was_started_anew(path: Path) -> None:
    path.write_text("on")
    path.with_name("store.log.1").write_text("whole\nbeg")
    assert kept(path) == ["whole", "begon"]
    path.write_text("[algaenv] 2026-11-30T18:57:21+0000 started x, pid 1\n")
    assert kept(path)[:2] == ["whole", "beg"]


def test_last_lines_are_found_across_blocks(path: Path) -> None:
    lines = [f"{number} {'x' * 3000}" for number in range(200)]
    path.write_text("\n".join(lines) + "\n")
    for last in (1, 21, 22, 43, 199, 200, 300):
        assert kept(path, last) == lines[-last:]


def test_a_line_without_an_end_is_bounded(path: Path) -> None:
    path.write_bytes(b"x" * (MAX_LINE_BYTES * 5) + b"\nnext\n")
    reader = ProcessLogReader(path)
    long, after = reader.kept(None, None)
    reader.close()
    assert (len(long.text), long.cut) == (MAX_LINE_BYTES, True)
    assert (after.text, after.cut) == ("next", False)


def test_lines_take_the_time_of_the_supervisors_line_above(path: Path) -> None:
    path.write_text("[algaenv] 2026-11-30T18:57:21+0000 started x, pid 1\na\nb\n")
    for last in (None, 1):
        reader = ProcessLogReader(path)
        line = list(reader.kept(last, None))[-1]
        reader.close()
        assert (line.text, line.at, line.approximate) == ("b", 1796065041.0, True)


def test_it_follows_what_is_appended_and_new_files(path: Path) -> None:
    log = ServiceLogFile(str(path), limit=20)
    log.write(b"one\n")
    reader = ProcessLogReader(path)
    assert [line.text for line in reader.kept(None, None)] == ["one"]
    with following(reader) as seen:
        log.write(b"two\nthr")
        until("an appended line", lambda: [it.text for it in seen] == ["two"])
        log.write(b"ee\n" + b"y" * 15 + b"\n")
        until("the next file", lambda: len(seen) == 3)
        log.write(b"z" * 15 + b"\n")
        until("the file after it", lambda: len(seen) == 4)
    assert [it.text for it in seen] == ["two", "three", "y" * 15, "z" * 15]
    assert not [it.gap for it in seen if it.gap]


def test_files_that_came_and_went_unseen_are_a_gap(path: Path) -> None:
    log = ServiceLogFile(str(path), limit=4)
    log.write(b"one\n")
    reader = ProcessLogReader(path)
    assert [line.text for line in reader.kept(None, None)] == ["one"]
    for line in (b"two\n", b"tri\n", b"for\n"):
        log.write(line)
    with following(reader) as seen:
        until("the newest file", lambda: "for" in [it.text for it in seen])
    assert [it.text or "gap" for it in seen] == ["gap", "tri", "for"]
    assert "may be missing" in seen[0].gap


def test_it_waits_for_a_file_that_is_not_there(path: Path) -> None:
    reader = ProcessLogReader(path)
    assert list(reader.kept(5, None)) == []
    with following(reader) as seen:
        path.write_text("at last\n")
        until("its first line", lambda: [it.text for it in seen] == ["at last"])
