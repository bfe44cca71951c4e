"""Chooses the ports that the spec leaves open: once, from the environment's id, and saves them.

A port is stored in rows, in bookmarks and in other tools' settings, so `auto` means "whichever, but
always the same". Where the search begins follows from the id: two checkouts rarely meet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from algaenv.drivers.state import private_files, state_dir
from algaenv.model.intent import BundledGateway, Intent, ManagedDatabase, Port
from algaenv.model.lock import Environment, Ports
from algaenv.model.problem import Problem, ResolveError

FILE: Final = "ports.json"
FIRST_PORT: Final = 20_000
PORT_COUNT: Final = 10_000
"""Below the range from which Linux takes the ports of outgoing connections."""

_BLOCK = 10
"""Ports of one environment lie side by side, which people can remember."""
_NONE = 0


def choose_ports(
    environment: Environment, intent: Intent, probe_free: Callable[[int], bool]
) -> Ports:
    """The ports of the environment: fixed ones as given, others as kept or newly chosen.

    `probe_free` returns whether a port of 127.0.0.1 is free. It is called only for ports that are
    chosen now: a kept one is in use whenever the environment is up. Raises ResolveError
    (`ports-exhausted`) and what `open_state_dir` raises.
    """
    wanted = _requested_ports(intent)
    fixed = {name: port for name, port in wanted.items() if port is not None}
    open_names = [name for name in wanted if name not in fixed]
    kept = _reusable(_read(environment), open_names, fixed.values())
    if len(kept) < len(open_names):
        with state_dir.settings_lock(environment):
            # Another run may have chosen meanwhile.
            known = _read(environment)
            kept = _reusable(known, open_names, fixed.values())
            taken = {*fixed.values(), *kept.values()}
            for name in open_names:
                if name not in kept:
                    kept[name] = _find_free_port(environment, name, taken, probe_free)
                    taken.add(kept[name])
            content = json.dumps(known | kept, indent=1, sort_keys=True).encode() + b"\n"
            private_files.write_private(environment.home / FILE, content)
    return Ports(**(fixed | kept))


def _requested_ports(intent: Intent) -> dict[str, Port]:
    """Service → the port the spec fixes, None where it leaves it open, 0 where none is needed."""
    store, database, gateway = intent.store, intent.database, intent.gateway
    has_console = any("console" in profile.ports for profile in (store.profile, *store.local))
    return {
        "store": store.port,
        "console": store.console_port if has_console else _NONE,
        "redis": intent.redis.port,
        "database": database.port if isinstance(database, ManagedDatabase) else _NONE,
        "runner": intent.runner.port,
        "gateway": gateway.port if isinstance(gateway, BundledGateway) else _NONE,
    }


def _reusable(
    known: Mapping[str, int], names: Iterable[str], fixed: Iterable[int]
) -> dict[str, int]:
    """The kept ports of `names`, but for those that another service has been given since."""
    taken = set(fixed)
    good: dict[str, int] = {}
    for name in names:
        port = known.get(name)
        if port is not None and port not in taken:
            good[name] = port
            taken.add(port)
    return good


def _find_free_port(
    environment: Environment, name: str, taken: set[int], probe_free: Callable[[int], bool]
) -> int:
    place = Ports.__match_args__.index(name)
    start = int(environment.id, 16) % (PORT_COUNT // _BLOCK) * _BLOCK + place
    for step in range(PORT_COUNT):
        port = FIRST_PORT + (start + step) % PORT_COUNT
        if port not in taken and probe_free(port):
            return port
    raise ResolveError(
        Problem(
            "ports-exhausted",
            f"cannot find a free port for {name} from {FIRST_PORT} to"
            f" {FIRST_PORT + PORT_COUNT - 1}",
            "stop what listens there, or give the port in the spec",
        )
    )


def _read(environment: Environment) -> dict[str, int]:
    """What was chosen before; a damaged file counts as nothing, since the id leads there again."""
    try:
        loaded = json.loads(private_files.read_private(environment.home / FILE))
        return {
            name: port
            for name, port in loaded.items()
            if type(port) is int and FIRST_PORT <= port < FIRST_PORT + PORT_COUNT
        }
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
