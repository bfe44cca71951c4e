"""Workers: as many as there should be, whatever becomes of one of them."""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from algaenv.runner import workers as workers_module
from algaenv.runner.serve import CannotListen, listen
from algaenv.runner.settings import MAX_WORKERS, WorkerCount, usable_cores
from algaenv.runner.workers import WorkerSupervisor, refuse_new
from tests.params import slow_params

from .archives import TENANT, Bundle
from .conftest import Start
from .service import Service, clean_env
from .tinies import ROOT, Line, children, lines, lives, tiny, until

NEEDED = {"ALGA_AUTH_KEY": "k", "REGISTRY_BASE_URL": "http://127.0.0.1:9"}


def runner(env: dict[str, str], **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "algaenv.runner"],
        env=clean_env(NEEDED | env),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        **more,
    )


def hello(service: Service) -> int:
    return int(service.ask("/hello").json["pid"])


@pytest.mark.parametrize("said", ["", "0", "-1", "two", "257", "1.5", "99999999999", "٣"])
def test_one_for_each_core_unless_told(said: str) -> None:
    assert WorkerCount.read({"RUNNER_WORKERS": said}) == WorkerCount.read({})
    assert WorkerCount.read({}).workers == min(32, usable_cores())
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("said", "workers"), [("1", 1), (" 3 ", 3), (str(MAX_WORKERS), MAX_WORKERS)]
)
def test_as_many_as_told(said: str, workers: int) -> None:
    assert WorkerCount.read({"RUNNER_WORKERS": said}).workers == workers


def test_all_of_them_serve(tmp_path: Path) -> None:
    with tiny(3, tmp_path) as service:
        until(lambda: len(children(service.process.pid)) == 3)
        pids = {line.pid for line in lines(service, 3)}
        assert pids == set(children(service.process.pid))
        numbers = {service.line("worker started")["worker"] for _ in range(3)}
        assert numbers == {0, 1, 2}


def test_the_service_says_its_lines_once(start: Start, demo: Bundle) -> None:
    service = start(RUNNER_WORKERS="2")
    assert {service.ask(demo.path(), {"x-tenant-id": TENANT}).status for _ in range(8)} == {200}
    assert service.stop() == 0
    said = Counter(line["event"] for line in service.lines)
    assert (said["listening"], said["stopped"], said["request"]) == (1, 1, 8)
    assert service.lines[0]["workers"] == 2
    assert service.lines[0]["pid"] == service.process.pid


def test_a_killed_worker_is_replaced_under_load(tmp_path: Path) -> None:
    with tiny(2, tmp_path) as service:
        first = set(children(service.process.pid))
        stop = threading.Event()
        failed: Counter[str] = Counter()

        answered = [0] * 4

        def load(number: int) -> None:
            while not stop.is_set():
                try:
                    answered[number] += service.ask("/wait/1", timeout=10).status == 200
                except (OSError, http.client.HTTPException) as error:
                    failed[type(error).__name__] += 1

        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(load, number) for number in range(4)]
            try:
                until(lambda: min(answered) > 5)
                victim = children(service.process.pid)[0]
                os.kill(victim, signal.SIGKILL)
                died = service.line("worker died")
                assert (died["pid"], died["why"]) == (victim, "by SIGKILL")
                assert service.line("hook")["pid"] == victim
                until(lambda: len(children(service.process.pid)) == 2)
                assert set(children(service.process.pid)) != first
                assert len(lines(service, 2)) == 2
                before = min(answered)
                until(lambda: min(answered) > before + 5)
            finally:
                stop.set()
            for each in running:
                each.result()
        # Only what the killed one was doing is lost: at most one request of each client.
        assert sum(failed.values()) <= 4
        assert failed["TimeoutError"] == 0


def test_what_waits_for_a_dead_worker_is_not_lost(tmp_path: Path) -> None:
    with tiny(1, tmp_path) as service:
        worker = hello(service)
        os.kill(worker, signal.SIGSTOP)
        with ThreadPoolExecutor(5) as pool:
            waiting = [pool.submit(hello, service) for _ in range(5)]
            until(lambda: queued(service.port) == 5)
            os.kill(worker, signal.SIGKILL)
            assert {each.result() for each in waiting} == set(children(service.process.pid))


def queued(port: int) -> int:
    """Connections that wait in the queue of a listening socket of this port."""
    wanted = f":{port:04X}"
    for text in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = text.split()
        if fields[1].endswith(wanted) and fields[3] == "0A":
            return int(fields[4].partition(":")[2], 16)
    return 0


def test_workers_die_with_their_supervisor(tmp_path: Path) -> None:
    with tiny(3, tmp_path) as service:
        lines(service, 3)
        workers = children(service.process.pid)
        service.process.kill()
        service.process.wait()
        until(lambda: not any(map(lives, workers)))
        with pytest.raises(ConnectionRefusedError):
            hello(service)


def test_workers_that_are_stillborn_end_the_service(tmp_path: Path) -> None:
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "tests.runner.tiny", "1", str(tmp_path), "stillborn"],
        cwd=ROOT,
        env=clean_env({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "Error: cannot keep a worker running: 8 of them died young, the last one with exit code 1\n"
    )
    # Ever more slowly, here at a tenth of what lies between them otherwise.
    assert list(workers_module.RESTART_DELAYS) == sorted(workers_module.RESTART_DELAYS)
    assert time.monotonic() - began > 0.1 * sum(workers_module.RESTART_DELAYS[:-1])
    events = Counter(json.loads(line)["event"] for line in ended.stdout.splitlines())
    assert events["worker failed"] == events["worker died"] == 8


def test_a_tired_worker_is_replaced_and_finishes_its_work(tmp_path: Path) -> None:
    with tiny(1, tmp_path) as service:
        line, other = Line(service), Line(service)
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(line.ask, "/wait/1500")
            other.ask("/recycle")
            until(lambda: hello(service) != line.pid)
            assert len(children(service.process.pid)) == 2
            assert not working.done()
            assert working.result() == "waited"
        until(lambda: len(children(service.process.pid)) == 1)
        assert not lives(line.pid)
        # The number of the old one was still taken when the new one began.
        assert service.ask("/hello").json["said"] == 1
        assert service.line("worker recycled")["pid"] == line.pid
        assert not [said for said in service.lines if said["event"] == "worker died"]


def test_nobody_notices_that_workers_are_replaced(tmp_path: Path) -> None:
    with tiny(2, tmp_path) as service:
        seen: set[int] = set()
        for turn in range(120):
            if turn % 30 == 0:
                service.ask("/recycle")
            seen.add(hello(service))
        assert len(seen) > 2


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, *slow_params(signal.SIGINT)])
def test_no_accepted_request_is_dropped_at_the_end(tmp_path: Path, with_signal: int) -> None:
    with tiny(2, tmp_path) as service:
        lines(service, 2)
        dropped: list[str] = []
        answered = [0] * 6

        def load(number: int) -> None:
            while True:
                try:
                    link = socket.create_connection(("127.0.0.1", service.port), timeout=10)
                except (ConnectionError, TimeoutError):
                    return
                # From here on the service has accepted us.
                with closing(link):
                    try:
                        link.sendall(b"GET /wait/5 HTTP/1.1\r\nhost: x\r\n\r\n")
                        if not link.recv(4096).startswith(b"HTTP/1.1 200"):
                            dropped.append("closed")
                        answered[number] += 1
                    except OSError as error:
                        dropped.append(repr(error))

        with ThreadPoolExecutor(6) as pool:
            running = [pool.submit(load, number) for number in range(6)]
            until(lambda: min(answered) > 10)
            service.process.send_signal(with_signal)
            for each in running:
                each.result()
        assert service.process.wait(10) == 0
        assert dropped == []


def test_busy_connections_are_told_to_close(tmp_path: Path) -> None:
    with tiny(2, tmp_path) as service:
        dropped: list[str] = []
        answered = [0] * 4

        def load(number: int) -> None:
            link = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
            with closing(link):
                while True:
                    try:
                        link.request("GET", "/wait/2")
                        answer = link.getresponse()
                        answer.read()
                    except (OSError, http.client.HTTPException) as error:
                        dropped.append(repr(error))
                        return
                    answered[number] += 1
                    if answer.getheader("connection") == "close":
                        return

        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(load, number) for number in range(4)]
            until(lambda: min(answered) > 10)
            service.process.terminate()
            for each in running:
                each.result()
        assert service.process.wait(10) == 0
        assert dropped == []


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with tiny(2, tmp_path) as service:
        workers = children(service.process.pid)
        line = Line(service)
        line.send("/wait/60000")
        service.process.terminate()
        until(lambda: not accepts(service.port))
        assert service.process.poll() is None
        began = time.monotonic()
        service.process.terminate()
        assert service.process.wait(10) == 0
        assert time.monotonic() - began < 2
        assert not any(map(lives, workers))


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True


@pytest.mark.slow
def test_a_worker_that_does_not_drain_is_killed(tmp_path: Path) -> None:
    with tiny(2, tmp_path) as service:
        until(lambda: len(children(service.process.pid)) == 2)
        workers = children(service.process.pid)
        os.kill(workers[0], signal.SIGSTOP)
        began = time.monotonic()
        service.process.terminate()
        assert service.process.wait(20) == 0
        # Five seconds to drain, and one more.
        assert 5.5 < time.monotonic() - began < 9
        assert not any(map(lives, workers))


def test_orphans_are_taken_in_and_taken_along(tmp_path: Path) -> None:
    code = (
        "import os, signal, subprocess, sys\n"
        "from algaenv.runner.serve import listen\n"
        "from algaenv.runner.workers import WorkerSupervisor\n"
        "def work(worker):\n"
        "    # The shell ends at once; what it began has nobody then.\n"
        "    subprocess.run(['sh', '-c', 'sleep 300 & echo $!; true'], check=True)\n"
        "    print('working', flush=True)\n"
        "    signal.pause()\n"
        "WorkerSupervisor(listen('127.0.0.1', 0), work, drain_seconds=2).run()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=clean_env({}),
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            said = {process.stdout.readline().strip(), process.stdout.readline().strip()}
            said.remove("working")
            orphan = int(said.pop())
            assert orphan in children(process.pid)
            process.terminate()
            assert process.wait(10) == 0
            assert not lives(orphan)
        finally:
            process.kill()


def test_a_port_is_taken_even_by_one_that_shares(start: Start) -> None:
    service = start(RUNNER_WORKERS="2")
    for workers in ("1", "2"):
        ended = runner({"PORT": str(service.port), "RUNNER_WORKERS": workers})
        words = f"Error: cannot listen on 127.0.0.1:{service.port}: Address already in use\n"
        assert (ended.returncode, ended.stderr) == (1, words)
    assert service.ask("/healthz").status == 200


def test_the_port_is_free_again_at_once(tmp_path: Path) -> None:
    with tiny(2, tmp_path) as service:
        hello(service)
        service.stop()
        for each in listen("127.0.0.1", service.port, 2):
            each.close()


def test_too_few_files_for_the_sockets() -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

    ended = runner({"RUNNER_WORKERS": "64"}, preexec_fn=few)
    assert ended.returncode == 1
    assert ended.stderr == "Error: cannot listen on 127.0.0.1:0: Too many open files\n"


def test_a_machine_that_starts_no_process(tmp_path: Path) -> None:
    code = (
        "import os\n"
        "from algaenv.runner import workers\n"
        "from algaenv.runner.serve import listen\n"
        "import errno\n"
        "def refuse():\n"
        "    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))\n"
        "os.fork = refuse\n"
        "workers.RESTART_DELAYS = (0.0, 0.1, 0.3)\n"
        "try:\n"
        "    workers.WorkerSupervisor(listen('127.0.0.1', 0), print, drain_seconds=1).run()\n"
        "except workers.WorkersFailed as failure:\n"
        "    print(failure)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=clean_env({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "cannot be started: Resource temporarily unavailable" in ended.stdout


def test_connections_are_spread() -> None:
    sockets = listen("127.0.0.1", 0, 3)
    address = sockets[0].getsockname()
    clients = [socket.create_connection(address) for _ in range(60)]
    waiting = []
    for each in sockets:
        each.setblocking(False)
        waiting.append(0)
        while True:
            try:
                each.accept()[0].close()
            except BlockingIOError:
                break
            waiting[-1] += 1
    for each in (*sockets, *clients):
        each.close()
    assert sum(waiting) == 60
    assert min(waiting) > 0


def test_connections_begun_can_be_accepted_after_no_new_one_can_begin() -> None:
    with closing(listen("127.0.0.1", 0)[0]) as listening:
        address = listening.getsockname()
        with closing(socket.create_connection(address)) as early:
            refuse_new(listening)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.2)
            accepted, _ = listening.accept()
            with closing(accepted):
                early.sendall(b"hello")
                assert accepted.recv(5) == b"hello"


def test_a_name_nobody_knows() -> None:
    with pytest.raises(CannotListen, match=r"cannot listen on nowhere\.invalid:0: "):
        listen("nowhere.invalid", 0, 2)


def test_one_that_is_killed_and_not_gone_yet_is_looked_at_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that hangs in the kernel stays after SIGKILL; nobody spins until it goes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        supervisor = WorkerSupervisor([listening], lambda worker: None, drain_seconds=1)
        (place,) = supervisor._slots
        killed: list[int] = []
        monkeypatch.setattr(workers_module, "_signal", lambda pid, number: killed.append(pid))
        place.pid, place.retiring = 1, {4_194_305: time.monotonic() - 1}
        supervisor._spawn_missing()
        assert killed == [4_194_305]
        moment = supervisor._next_deadline()
        assert moment is not None
        assert moment > time.monotonic()
        place.inbox.close()
        place.outbox.close()
