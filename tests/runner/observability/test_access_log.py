"""The log of the service on a real standard output: threads, forks, and readers that are slow."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from algaenv.serving.access_log import MAX_QUEUED_LINES

PREPARED = """
import asyncio, json, logging, os, sys, threading, time
from algaenv.serving.access_log import configure_logging

configure_logging("info")
log = logging.getLogger("test")

def say(number, **fields):
    log.info("said", extra={"fields": {"number": number, **fields}})

"""


@contextmanager
def running(code: str) -> Iterator[subprocess.Popen[str]]:
    """A process that logs; what it finds out it writes to stderr."""
    process = subprocess.Popen(
        [sys.executable, "-c", PREPARED + textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def said(code: str) -> list[dict[str, Any]]:
    with running(code) as process:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


def test_lines_of_many_threads() -> None:
    lines = said(
        """
        def chat(thread):
            for number in range(500):
                say(number, thread=thread)

        async def main():
            threads = [threading.Thread(target=chat, args=(thread,)) for thread in range(8)]
            for thread in threads:
                thread.start()
            chat("loop")
            await asyncio.to_thread(lambda: [thread.join() for thread in threads])

        chat("before")
        asyncio.run(main())
        chat("after")
        """
    )
    assert len(lines) == 5500
    for thread in (*range(8), "before", "loop", "after"):
        numbers = [line["number"] for line in lines if line["thread"] == thread]
        assert numbers == list(range(500))


def test_a_line_of_a_thread_just_before_the_end() -> None:
    (line,) = said(
        """
        thread = threading.Thread(target=say, args=(1,))
        thread.start()
        thread.join()
        raise SystemExit(0)
        """
    )
    assert line["number"] == 1


def test_one_process_that_only_watches_needs_no_thread() -> None:
    lines = said("say(1); say(threading.active_count())")
    assert [line["number"] for line in lines] == [1, 1]


def test_nobody_waits_for_a_reader() -> None:
    code = """
        async def main():
            say(0)
            longest, last = 0.0, time.monotonic()
            for number in range(4000):
                say(number, text="x" * 1000)
                if number % 100 == 0:
                    await asyncio.sleep(0.001)
                    now = time.monotonic()
                    longest, last = max(longest, now - last), now
            sys.stderr.write(f"{longest}\\n")

        asyncio.run(main())
    """
    with running(code) as process:
        assert process.stderr
        # A pipe holds 64 kB, and nobody reads.
        assert float(process.stderr.readline()) < 1
        began = time.monotonic()
        assert process.wait(30) == 0
        assert 1 < time.monotonic() - began < 5


def test_the_main_thread_waits_for_a_reader_once() -> None:
    code = """
        said = time.monotonic()
        for number in range(100):
            say(number, text="x" * 1000)
        sys.stderr.write(f"{time.monotonic() - said}\\n")
    """
    with running(code) as process:
        assert process.stderr
        assert 0.9 < float(process.stderr.readline()) < 1.9
        assert process.wait(30) == 0


def test_lost_lines_are_counted() -> None:
    code = f"""
        async def main():
            for number in range({3 * MAX_QUEUED_LINES}):
                say(number, text="x" * 100)
            sys.stderr.write("all said\\n")
            sys.stdin.readline()

        asyncio.run(main())
    """
    with running(code) as process:
        assert process.stderr
        assert process.stderr.readline() == "all said\n"
        out = process.communicate(timeout=60)[0]
        assert process.returncode == 0
    lines = [json.loads(line) for line in out.splitlines()]
    (lost,) = [line for line in lines if line["event"] == "lines lost"]
    details = sum(line["event"] == "said" for line in lines)
    assert lost["lines"] > 0
    assert details + lost["lines"] == 3 * MAX_QUEUED_LINES


def test_a_line_that_cannot_be_said_stops_nobody() -> None:
    lines = said(
        """
        class Odd:
            def __str__(self):
                raise ValueError

        log.info("odd", extra={"fields": {"odd": Odd()}})
        say(1)
        """
    )
    assert [line["event"] for line in lines] == ["said"]


def test_long_lines_of_several_processes_stay_whole() -> None:
    code = """
        def chat(worker):
            async def main():
                for number in range(100):
                    say(number, worker=worker, text="x" * 20_000)
            asyncio.run(main())

        say(0, worker="parent")
        children = []
        for worker in range(3):
            child = os.fork()
            if not child:
                chat(worker)
                logging.shutdown()
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
    """
    with running(code) as process:
        assert process.stdout
        lines = []
        for number, text in enumerate(process.stdout):
            lines.append(json.loads(text))
            if number < 20:
                # The pipe is full by then, which is when the system takes writes apart.
                time.sleep(0.01)
    for worker in range(3):
        numbers = [line["number"] for line in lines if line["worker"] == worker]
        assert numbers == list(range(100))


def test_a_process_forked_from_one_that_writes() -> None:
    lines = said(
        """
        async def main():
            say(1)

        asyncio.run(main())
        logging.getLogger().handlers[0].flush()
        child = os.fork()
        if not child:
            asyncio.run(main())
            logging.shutdown()
            os._exit(0)
        os.waitpid(child, 0)
        """
    )
    assert [line["number"] for line in lines] == [1, 1]


def test_an_output_that_does_not_block() -> None:
    code = """
        os.set_blocking(1, False)

        async def main():
            for number in range(1000):
                say(number, text="x" * 1000)

        asyncio.run(main())
        sys.stdin.readline()
    """
    with running(code) as process:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
    assert [json.loads(line)["number"] for line in out.splitlines()] == list(range(1000))


def test_what_a_guest_says() -> None:
    lines = said(
        """
        from algaenv.runner.observability.guest_log import GuestLog
        from algaenv.runner.settings import DebugStreamSettings
        from tests.runner.observability.conftest import Tallied, invocation

        guests = GuestLog(DebugStreamSettings(), Tallied())
        guests.write(invocation(guests), "log", "warn", 'listening\\n{"event": "forged"}')
        guests.write(invocation(guests, request_id=None), "stdout", "info", "é" * 10_000)
        """
    )
    for line in lines:
        assert line.pop("time").endswith("Z")
    assert lines == [
        {
            "level": "warning",
            "event": "guest",
            "logger": "ext",
            "stream": "log",
            "message": 'listening\n{"event": "forged"}',
            "tenant": "Tenant-A",
            "extension": "Demo-Ext",
            "request_id": "r-1",
        },
        {
            "level": "info",
            "event": "guest",
            "logger": "ext",
            "stream": "stdout",
            "message": "é" * 8192,
            "tenant": "Tenant-A",
            "extension": "Demo-Ext",
            "truncated": True,
        },
    ]
