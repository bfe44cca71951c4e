from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from algaenv.runtimes.ports import PortHolder, find_port_holder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SERVE = (
    "import socket,sys;"
    "s=socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET);"
    "s.bind((sys.argv[1],0));s.listen();print(s.getsockname()[1],flush=True);sys.stdin.read()"
)


@contextmanager
def listener(
    address: str, prelude: str = "", *words: str, **environ: str
) -> Iterator[tuple[int, int]]:
    process = subprocess.Popen(
        [sys.executable, "-c", prelude + SERVE, address, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    )
    with process:
        assert process.stdout
        yield process.pid, int(process.stdout.readline())
        process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_free_port_has_no_holder() -> None:
    assert find_port_holder(free_port()) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1"])
def test_the_process_that_is_in_the_way_is_named(address: str) -> None:
    with listener(address) as (pid, port):
        holder = find_port_holder(port)
        assert holder is not None
        assert (holder.pid, holder.port, holder.uid) == (pid, port, os.geteuid())
        assert holder.address == address.removeprefix("::ffff:")
        assert holder.command
        assert str(holder) == f"process {pid} ({holder.command})"
    assert find_port_holder(port) is None


@pytest.mark.parametrize("address", ["127.0.0.2", "::1"])
def test_a_listener_on_another_address_is_not_in_the_way(address: str) -> None:
    for _ in range(3):
        with listener(address) as (pid, port):
            holder = find_port_holder(port)
        if holder is None:
            return
        # The kernel may give the number to another connection on our own address meanwhile.
        assert holder.pid != pid
    pytest.fail("the number was taken on our own address three times")


def test_of_two_with_the_same_number_the_one_in_the_way_is_named() -> None:
    with listener("127.0.0.2") as (pid, port), socket.socket() as mine:
        try:
            mine.bind(("127.0.0.1", port))
        except OSError:
            pytest.skip("not applicable: another connection has just been given the number")
        mine.listen()
        holder = find_port_holder(port)
        assert holder is not None
        assert (holder.pid, holder.address) == (os.getpid(), "127.0.0.1")
        assert holder.pid != pid


def test_an_environment_of_ours_is_named_by_its_spec() -> None:
    marks = {
        "ALGAENV_ENVIRONMENT": "0123456789",
        "ALGAENV_ADDRESS": "process/redis",
        "ALGAENV_SPEC": "/home/me/algaenv.yaml",
    }
    with listener("127.0.0.1", **marks) as (pid, port):
        holder = find_port_holder(port)
        assert holder is not None
        assert (holder.environment, holder.resource) == ("0123456789", "process/redis")
        assert "process/redis of the environment of /home/me/algaenv.yaml" in str(holder)
        assert f"process {pid}" in str(holder)


def test_the_marks_of_an_ancestor_count() -> None:
    # A server may overwrite its own environment, which is where its title is written.
    prelude = (
        "import os,sys;p=os.fork();p and (os.waitpid(p,0),os._exit(0));"
        f"os.execve(sys.executable,[sys.executable,'-c',{SERVE!r},*sys.argv[1:]],{{}});"
    )
    with listener("127.0.0.1", prelude, ALGAENV_ENVIRONMENT="feed", ALGAENV_ADDRESS="a/b") as (
        parent,
        port,
    ):
        holder = find_port_holder(port)
        assert holder is not None
        assert holder.pid != parent
        assert holder.environment == "feed"
        assert holder.pid
        os.kill(holder.pid, 9)


def test_a_connection_that_has_the_port_as_its_own_end_is_named() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()[:2]) as client,
    ):
        holder = find_port_holder(client.getsockname()[1])
    assert holder is not None
    assert holder.pid == os.getpid()


def test_of_several_processes_with_the_socket_the_first_is_named() -> None:
    fork = "import os,time;"
    late = SERVE.replace("print(", "os.fork() or time.sleep(60);print(")
    process = subprocess.Popen(
        [sys.executable, "-c", fork + late, "127.0.0.1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout
        holder = find_port_holder(int(process.stdout.readline()))
        os.killpg(process.pid, 9)
    assert holder is not None
    assert holder.pid == process.pid


def test_a_docker_proxy_tells_its_container() -> None:
    holder = PortHolder(80, "127.0.0.1", 0, 7, "docker-proxy", container="172.17.0.2")
    assert str(holder) == "process 7 (docker-proxy), for the container at 172.17.0.2"
    assert holder.remedy == "stop the container that `docker ps --filter publish=80` shows"


PROXY = """
import os
def name(text):
    open("/proc/self/comm", "w").write(text)
if os.fork():
    name(sys.argv[2])
    sys.stdin.read()
    os._exit(0)
name("docker-proxy")
"""


@pytest.mark.parametrize(
    ("parent", "remedy"),
    [
        ("dockerd", "stop the container that `docker ps --filter publish={port}` shows"),
        ("init", "run `kill {pid}`: the engine that started it was killed"),
    ],
)
def test_a_docker_proxy_that_its_engine_has_left_is_told_apart(parent: str, remedy: str) -> None:
    words = (parent, "-container-ip", "172.17.0.2")
    with listener("127.0.0.1", "import sys" + PROXY, *words) as (_, port):
        holder = find_port_holder(port)
    assert holder is not None
    assert holder.container == "172.17.0.2"
    assert holder.remedy == remedy.format(port=port, pid=holder.pid)


def test_a_process_that_cannot_be_seen_is_still_a_holder() -> None:
    assert str(PortHolder(80, "127.0.0.1", 33)) == "a process that cannot be seen (user 33)"
