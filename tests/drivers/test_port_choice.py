import socket
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from algaenv.drivers.state import state_dir
from algaenv.drivers.state.settings import FIRST_PORT, PORT_COUNT, choose_ports, known_ports
from algaenv.model.intent import ExternalDatabase, Intent, ManagedDatabase, with_free_ports
from algaenv.model.lock import Environment, Ports
from algaenv.model.problem import ResolveError, Where
from algaenv.model.secret import Secret
from algaenv.model.service import ServiceIntent, ServicePort
from algaenv.runtimes.ports import find_port_holder
from tests.runtimes.locks import GATEWAY, make_lock


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return state_dir.identify(tmp_path / "algaenv.yaml", "demo")


@pytest.fixture
def intent(tmp_path: Path) -> Intent:
    return make_lock(tmp_path, gateway=GATEWAY).intent


def ours(ports: Ports) -> tuple[int, ...]:
    """The ports of our services."""
    return tuple(it for it in astuple(ports) if isinstance(it, int))


def all_free(port: int) -> bool:
    return True


def all_but(*taken: int) -> Callable[[int], bool]:
    return lambda port: port not in taken


def fixed(intent: Intent) -> Intent:
    database = intent.database
    assert isinstance(database, ManagedDatabase)
    return replace(
        intent,
        store=replace(intent.store, port=4569, console_port=4570),
        redis=replace(intent.redis, port=6380),
        database=replace(database, port=5436),
        runner=replace(intent.runner, port=8085),
        gateway=replace(GATEWAY, port=3070),
    )


def test_fixed_ports_are_as_given_and_need_no_home(
    environment: Environment, intent: Intent
) -> None:
    ports = choose_ports(environment, fixed(intent), lambda port: pytest.fail("no port is probed"))
    assert ports == Ports(
        store=4569, console=4570, redis=6380, database=5436, runner=8085, gateway=3070
    )
    assert not environment.home.exists()


def test_open_ports_lie_side_by_side_and_stay(environment: Environment, intent: Intent) -> None:
    ports = choose_ports(environment, intent, all_free)
    first = ports.store
    assert ours(ports) == tuple(range(first, first + 6))
    assert FIRST_PORT <= first < FIRST_PORT + PORT_COUNT
    path = environment.home / "ports.json"
    written = path.stat()
    again = choose_ports(
        environment, intent, lambda port: pytest.fail("a kept port is in use by us")
    )
    assert again == ports
    assert path.stat() == written


def test_they_follow_from_the_id(environment: Environment, intent: Intent) -> None:
    ports = choose_ports(environment, intent, all_free)
    (environment.home / "ports.json").unlink()
    assert choose_ports(environment, intent, all_free) == ports


def test_a_taken_port_is_passed_over(environment: Environment, intent: Intent) -> None:
    ideal = choose_ports(environment, intent, all_free)
    (environment.home / "ports.json").unlink()
    ports = choose_ports(environment, intent, all_but(ideal.store, ideal.redis))
    assert not {ideal.store, ideal.redis} & set(ours(ports))
    assert len(set(ours(ports))) == 6


def test_a_real_listener_is_passed_over(environment: Environment, intent: Intent) -> None:
    ideal = choose_ports(environment, intent, lambda port: find_port_holder(port) is None)
    (environment.home / "ports.json").unlink()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", ideal.store))
        listener.listen()
        ports = choose_ports(environment, intent, lambda port: find_port_holder(port) is None)
    assert ideal.store not in ours(ports)


def test_an_open_port_avoids_the_fixed_ones(environment: Environment, intent: Intent) -> None:
    ideal = choose_ports(environment, intent, all_free)
    # What was kept for the store is now fixed for redis: the store moves.
    moved = replace(intent, redis=replace(intent.redis, port=ideal.store))
    ports = choose_ports(environment, moved, all_free)
    assert ports.redis == ideal.store
    assert ports.store != ideal.store
    assert ports.runner == ideal.runner
    assert len(set(ours(ports))) == 6


def test_the_search_goes_round(environment: Environment, intent: Intent) -> None:
    last = replace(environment, id="00000003e7")  # 999: the last block
    ports = choose_ports(last, intent, lambda port: port < FIRST_PORT + 20)
    assert max(ours(ports)) < FIRST_PORT + 20


def test_no_free_port_is_a_problem(environment: Environment, intent: Intent) -> None:
    with pytest.raises(ResolveError) as caught:
        choose_ports(environment, intent, lambda port: False)
    assert caught.value.problem.code == "ports-exhausted"


def test_what_is_not_needed_gets_no_port(environment: Environment, intent: Intent) -> None:
    plain = replace(intent.store.profile, ports={"api": 9000})
    bare = replace(
        intent,
        store=replace(intent.store, profile=plain, local=(plain,)),
        database=ExternalDatabase(Secret("postgresql://u:p@h/d")),
    )
    ports = choose_ports(environment, bare, all_free)
    assert (ports.console, ports.database) == (0, 0)
    assert ports.store > 0


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[]", b'{"store": "20000"}', b'{"store": true}', b'{"store": 80}']
)
def test_a_damaged_file_leads_to_the_same_ports(
    environment: Environment, intent: Intent, content: bytes
) -> None:
    ports = choose_ports(environment, intent, all_free)
    (environment.home / "ports.json").write_bytes(content)
    assert choose_ports(environment, intent, all_free) == ports


def test_ports_of_further_services_are_chosen_and_kept_like_ours(
    environment: Environment, intent: Intent
) -> None:
    ports = (ServicePort("web", None, 8025), ServicePort("smtp", 1025, 1025))
    service = ServiceIntent(
        *("mail", None, (), ("mail",), "/", ports, {}, (), "web", "", (), 0, 0),
        Where("algaenv.yaml", 1, 1),
    )
    with_mail = replace(intent, services=(service,))
    chosen = choose_ports(environment, with_mail, all_free)
    assert chosen.services == {"mail.web": chosen.store + 6, "mail.smtp": 1025}
    assert known_ports(environment, with_mail) == chosen
    assert choose_ports(environment, with_mail, lambda _: False) == chosen
    apart = with_free_ports(with_mail, "other")
    assert [it.port for it in apart.services[0].ports] == [None, None]
    assert [it.container for it in apart.services[0].ports] == [8025, 1025]
    # Another service has been given the number since.
    taken = replace(with_mail, redis=replace(intent.redis, port=chosen.services["mail.web"]))
    assert choose_ports(environment, taken, all_free).services["mail.web"] != taken.redis.port
