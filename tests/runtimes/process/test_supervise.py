"""The supervisor with small programs as services: start, exit, identity."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from algaenv.model.problem import Failed
from algaenv.model.resource import Resource
from algaenv.model.secret import Secret
from algaenv.runtimes.process import discovery
from algaenv.runtimes.process.drivers import lifecycle
from algaenv.runtimes.process.drivers.lifecycle import SUPERVISOR_SCRIPT
from algaenv.runtimes.process.layout import private_directory, service_lock
from algaenv.runtimes.process.supervisor import records
from algaenv.system import processes
from tests.runtimes.process.harness import Harness, quiet, until

FOREVER = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + FOREVER


def test_a_service_outlives_its_starter_and_belongs_to_nobody(bare: Harness) -> None:
    bare.python(FOREVER)
    supervisor, child = bare.supervisor(), bare.child()
    assert (processes.stat(child.pid) or ("?", 0))[1] == supervisor.pid
    assert os.getsid(supervisor.pid) != os.getsid(0)
    assert (processes.stat(supervisor.pid) or ("?", 0))[1] != os.getpid(), (
        "no process would reap it"
    )
    assert bare.record()["state"] == "running"
    assert bare.diagnostics() is None


def test_a_service_gets_no_descriptor_signal_or_mark_of_the_supervisor(bare: Harness) -> None:
    bare.python(
        "import os, signal\n"
        "print('fds', sorted(os.listdir('/proc/self/fd'))[:4], os.readlink('/proc/self/fd/0'))\n"
        "print('shim', 'ALGAENV_SHIM' in os.environ, os.environ['ALGAENV_ADDRESS'])\n"
        "print('ignored', [l for l in open('/proc/self/status') if l[:6] == 'SigIgn'],"
        " flush=True)\n" + FOREVER
    )
    until("its lines", lambda: "up" in bare.log())
    # 3 is the directory being listed.
    assert "fds ['0', '1', '2', '3'] /dev/null" in bare.log()
    assert "shim False process/redis" in bare.log()
    # Python ignores SIGPIPE and SIGXFSZ itself; SIGHUP and SIGINT must not be among them.
    (line,) = [line for line in bare.log().splitlines() if line.startswith("ignored")]
    mask = int(line.split("\\t")[1].split("\\n")[0], 16)
    assert not mask & (1 << (signal.SIGHUP - 1) | 1 << (signal.SIGINT - 1))


def test_a_secret_is_in_no_command_line_and_in_no_file(bare: Harness) -> None:
    secret = "s3cr3t-" + os.urandom(8).hex()
    bare.python(FOREVER, environment={"PASSWORD": Secret(secret)})
    child = bare.child().pid
    assert f"PASSWORD={secret}".encode() in Path(f"/proc/{child}/environ").read_bytes()
    for pid in (child, bare.supervisor().pid):
        assert secret.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    files = [path for path in bare.environment.home.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    for path in files:
        assert path.stat().st_mode & 0o77 == 0, path


def test_delete_ends_it_by_its_stop_signal_and_leaves_nothing_but_the_log(bare: Harness) -> None:
    bare.python(
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, lambda *_: (print('bye', flush=True), sys.exit(3)))\n"
        + FOREVER,
        stop_signal="SIGINT",
    )
    until("it is up", lambda: "up" in bare.log())
    bare.delete()
    assert not bare.alive()
    assert "bye" in bare.log()
    assert "exited with code 3" in bare.log()
    assert list(bare.layout.run.iterdir()) == []
    assert not bare.layout.etc("redis").exists()
    bare.delete()  # Gone already counts as done.


def test_one_that_does_not_stop_is_killed_after_its_grace(bare: Harness) -> None:
    bare.python(STUBBORN, grace=0.2)
    until("it is up", lambda: "up" in bare.log())
    bare.delete()
    assert not bare.alive()
    assert "did not stop within 0.2 s: killed" in bare.log()
    assert "SIGKILL" in bare.log()


def test_a_crash_at_start_is_final_and_evident(bare: Harness) -> None:
    bare.python("import sys; print('port is wrong'); sys.exit(4)")
    until("it has ended", lambda: bare.record()["state"] == "exited")
    lines = bare.diagnostics()
    assert lines
    assert lines[0].startswith("exited with code 4 after 0.")
    assert "port is wrong" in lines
    assert bare.record()["restarts"] == 0
    until("the supervisor has ended", lambda: not bare.alive())
    seen = bare.seen()
    assert seen.running is False
    assert seen.recorded


def test_evidence_of_a_signal_names_it(bare: Harness) -> None:
    bare.python("import os; os.abort()")
    until("it has ended", lambda: bare.record()["state"] == "exited")
    assert (bare.diagnostics() or ("",))[0].startswith("was ended by SIGABRT")


def test_nothing_is_evident_before_the_supervisor_has_written_it_down(bare: Harness) -> None:
    # A descendant that lingers keeps the supervisor from it for a while.
    bare.python(
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'],"
        " start_new_session=True)\n"
        "sys.exit(5)"
    )
    until("it has ended", lambda: not processes.is_alive(bare.child()))
    assert bare.diagnostics() is None
    assert bare.seen().running is False
    until("it is written down", bare.diagnostics)
    assert (bare.diagnostics() or ("",))[0].startswith("exited with code 5")


def test_one_that_is_being_stopped_is_reported(bare: Harness) -> None:
    bare.python(STUBBORN, grace=30.0)
    until("it is up", lambda: "up" in bare.log())
    os.kill(bare.supervisor().pid, signal.SIGTERM)
    until("it is being stopped", lambda: bare.record()["state"] == "stopping")
    assert (bare.diagnostics() or ("",))[0] == "it is being stopped"
    os.kill(bare.child().pid, signal.SIGKILL)


def test_one_that_ran_a_while_is_started_again(bare: Harness) -> None:
    bare.python(FOREVER, steady=0.0)
    first = bare.child()
    os.kill(first.pid, signal.SIGKILL)
    until("it runs again", lambda: bare.seen().running and bare.record()["restarts"] == 1)
    assert bare.child() != first
    assert bare.diagnostics() is None
    assert "was ended by SIGKILL" in bare.log()


def test_restarts_come_ever_more_slowly_and_can_be_stopped_in_between(bare: Harness) -> None:
    bare.python("print('again', flush=True)", steady=0.0)
    until("the second pause", lambda: bare.record()["restarts"] >= 1)
    until("it waits", lambda: bare.record()["state"] == "waiting")
    lines = bare.diagnostics()
    assert lines
    assert "will be started again" in lines[0]
    assert bare.seen().running is False
    bare.delete()
    assert not bare.alive()
    assert bare.log().count("again") <= 3


def test_one_whose_program_is_gone_when_it_should_start_again_stays_down(
    bare: Harness, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    bare.start(str(program), steady=0.0)
    program.unlink()
    os.kill(bare.child().pid, signal.SIGKILL)
    until("it gave up", lambda: bare.record()["state"] == "exited")
    assert "cannot be started again" in bare.log()


def test_a_program_that_cannot_run_leaves_nothing_half_made(bare: Harness, tmp_path: Path) -> None:
    with pytest.raises(Failed) as caught:
        bare.start(str(tmp_path / "no-such-program"))
    assert caught.value.problem.code == "process-failed"
    assert "no-such-program: [Errno 2]" in caught.value.problem.summary
    assert not bare.alive()
    assert not bare.layout.record("redis").exists()


def test_when_the_supervisor_is_killed_its_service_dies_too(bare: Harness) -> None:
    resource = bare.python(FOREVER)
    # Only once it is silent: it might die of a broken pipe otherwise.
    until("it is up", lambda: "up" in bare.log())
    supervisor, child = bare.supervisor(), bare.child()
    os.kill(supervisor.pid, signal.SIGKILL)
    until("its service is gone", lambda: not processes.is_alive(child))
    assert bare.seen().running is False
    assert bare.diagnostics()
    bare.processes.update(resource, bare.seen(), quiet)
    assert bare.seen().running is True


def test_what_a_service_leaves_behind_is_ended_with_it(bare: Harness) -> None:
    bare.python(
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'],"
        " start_new_session=True)\n" + FOREVER
    )
    until("it is up", lambda: "up" in bare.log())
    assert len(bare.alive()) == 3
    bare.delete()
    assert not bare.alive()


def test_nothing_of_the_one_that_died_is_left_when_it_is_started_again(bare: Harness) -> None:
    bare.python(
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'],"
        " start_new_session=True)\n" + FOREVER,
        steady=0.0,
    )
    until("it is up", lambda: "up" in bare.log())
    before = set(bare.alive())
    os.kill(bare.child().pid, signal.SIGKILL)
    until("it is up again", lambda: bare.log().count("up\n") == 2)
    assert before & set(bare.alive()) == {bare.supervisor()}


def test_a_lost_record_is_made_good_by_the_marks(bare: Harness) -> None:
    resource = bare.python(FOREVER)
    old = bare.child()
    bare.layout.record("redis").unlink()
    seen = bare.observer.observe([resource])[resource.address]
    assert seen == bare.seen()
    assert bare.seen().drift == ("its record is gone",)
    assert bare.seen().recorded == resource.fingerprint
    assert bare.seen().running is True
    assert bare.diagnostics() is None
    bare.processes.update(resource, bare.seen(), quiet)
    assert not processes.is_alive(old)
    assert bare.seen().drift == ()
    assert len(discovery.find_marked(bare.environment)) == 1


def test_a_service_without_any_record_is_stopped_by_its_marks(bare: Harness) -> None:
    bare.python(FOREVER)
    for path in bare.layout.run.iterdir():
        path.unlink()
    bare.layout.run.rmdir()
    assert bare.seen().running is True
    bare.delete()
    assert not bare.alive()


def half_started(harness: Harness) -> Resource:
    """As a run leaves it that is killed between writing the record and starting the supervisor."""
    resource = harness.python(FOREVER)
    record = harness.record()
    harness.delete()
    private_directory(harness.layout.etc("redis"))
    record.update({"state": "new", "shim": None, "child": None})
    records.write(str(harness.layout.record("redis")), record)
    return resource


def test_a_run_that_was_killed_before_the_supervisor_started_is_taken_up(bare: Harness) -> None:
    resource = half_started(bare)
    assert bare.seen().running is False
    assert (bare.diagnostics() or ("",))[0].startswith("it was not started")
    bare.processes.update(resource, bare.seen(), quiet)
    assert bare.seen().running is True


@pytest.mark.parametrize("moment", [0.0, 0.01, 0.02, 0.03, 0.05])
def test_a_starter_killed_at_any_moment_leaves_one_service_at_most(
    bare: Harness, moment: float
) -> None:
    resource = half_started(bare)
    marks = {"ALGAENV_ENVIRONMENT": bare.environment.id, "ALGAENV_ADDRESS": "process/redis"}
    with service_lock(bare.layout.lock("redis"), resource.address) as lock:
        begun = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-S",
                str(SUPERVISOR_SCRIPT),
                str(bare.layout.record("redis")),
                str(lock),
            ],
            env={"PATH": os.defpath, "ALGAENV_SHIM": "1", **marks},
            start_new_session=True,
            pass_fds=(lock,),
        )
        with suppress(subprocess.TimeoutExpired):
            begun.wait(moment)
        begun.kill()
        begun.wait()
    # Whether it got so far as to leave a service is a matter of luck; that it is healed is not.
    bare.processes.update(resource, bare.seen(), quiet)
    assert bare.seen().running is True
    assert len([m for m in bare.alive().values() if "ALGAENV_SHIM" in m]) == 1
    assert len(bare.alive()) == 2


def test_another_process_with_the_recorded_pid_is_left_alone(bare: Harness) -> None:
    bare.python(FOREVER)
    record = bare.record()
    bare.delete()
    unrelated = subprocess.Popen([sys.executable, "-c", FOREVER], stdout=subprocess.DEVNULL)
    now = processes.identify(unrelated.pid)
    assert now
    earlier = records.ProcessEntry(pid=now.pid, start=now.start - 1)
    record.update({"state": "running", "shim": earlier, "child": earlier})
    records.write(str(bare.layout.record("redis")), record)
    assert bare.seen().running is False
    bare.delete()
    assert unrelated.poll() is None
    unrelated.kill()
    unrelated.wait()


def test_a_record_of_an_earlier_boot_names_nobody(bare: Harness) -> None:
    bare.python(FOREVER)
    record = bare.record()
    record["boot"] = "00000000-0000-0000-0000-000000000000"
    records.write(str(bare.layout.record("redis")), record)
    assert bare.seen().running is False
    assert (bare.diagnostics() or ("",))[0] == "it ended when the machine was shut down"


def test_a_service_ends_with_its_supervisor_and_is_reported_until_it_is_started_again(
    bare: Harness,
) -> None:
    resource = bare.python(FOREVER)
    child = bare.child()
    os.kill(bare.supervisor().pid, signal.SIGKILL)
    until("the service has ended too", lambda: not processes.is_alive(child))
    seen = bare.seen()
    assert seen.running is False
    assert seen.note == "test, not running: it was killed together with its shim"
    bare.processes.update(resource, seen, quiet)
    assert bare.seen().running is True


def test_a_zombie_counts_as_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=-1)
    process = processes.identify(child.pid)
    assert process
    assert child.stdin
    child.stdin.close()
    until("it is a zombie", lambda: (processes.stat(child.pid) or "?")[0] == "Z")
    assert not processes.is_alive(process)
    assert processes.identify(child.pid) is None
    child.wait()


def test_a_process_lives_as_long_as_its_last_thread() -> None:
    # Its first thread ends, as after SIGKILL the threads of a server do one by one.
    code = (
        "import ctypes, sys, threading\n"
        "threading.Thread(target=sys.stdin.read).start()\n"
        "ctypes.CDLL(None).syscall(60, 0)"
    )
    if os.uname().machine != "x86_64":
        pytest.skip("needs the numbers of x86-64's system calls")
    child = subprocess.Popen([sys.executable, "-c", code], stdin=-1)
    process = processes.identify(child.pid)
    assert process
    until("its first thread has ended", lambda: (processes.stat(child.pid) or "?")[0] == "Z")
    assert processes.is_alive(process)
    with processes.open_pidfd(process) as descriptor:
        assert descriptor is not None
        assert not processes.has_exited(descriptor, 0)
    lifecycle.terminate(process, grace=0)
    assert not processes.is_alive(process)
    child.communicate()


def test_the_log_is_bounded_and_one_older_one_is_kept(tmp_path: Path) -> None:
    log = records.ServiceLogFile(str(tmp_path / "log"), limit=1000)
    for number in range(100):
        log.write(b"%03d %s\n" % (number, b"x" * 45))
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() == {"log", "log.1"}
    assert all(0 < size <= 1000 for size in sizes.values())
    assert records.log_tail(str(tmp_path / "log"), lines=1)[0].startswith("099")
    records.ServiceLogFile(str(tmp_path / "log"), limit=1000)
    assert (tmp_path / "log").read_bytes() == b""
    assert b"099" in (tmp_path / "log.1").read_bytes()


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    log = records.ServiceLogFile(str(tmp_path / "no" / "log"))
    log.write(b"lost\n")
    assert list(tmp_path.iterdir()) == []


def test_output_without_end_does_not_fill_the_disk(bare: Harness) -> None:
    bare.python(
        "import os, signal\n"
        "for _ in range(200): os.write(1, b'y' * 65535 + b'\\n')\n"
        "os.write(1, b'all said\\n'); signal.pause()"
    )
    until("its last line", lambda: "all said" in bare.log())
    directory = bare.layout.log("redis").parent
    assert sum(path.stat().st_size for path in directory.iterdir()) <= 2 * records.LOG_LIMIT


def test_two_environments_side_by_side_do_not_see_each_other(bare: Harness, tmp_path: Path) -> None:
    other = Harness(tmp_path / "other")
    bare.python(FOREVER)
    other.python(FOREVER)
    bare.layout.record("redis").unlink()
    other.layout.record("redis").unlink()
    bare.delete()
    assert not bare.alive()
    assert other.seen().running is True
    other.sweep()
