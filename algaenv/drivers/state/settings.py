"""Chooses the ports and secrets that the spec leaves open: once, and saves them.

A port is stored in rows, in bookmarks and in other tools' settings, so `auto` means "whichever, but
always the same". Where the search begins follows from the environment's id: two checkouts rarely
meet.

The services' volumes keep the secrets they were first started with. New secrets would lock an
author out of existing data, so a damaged file is an error and is never replaced.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from algaenv.drivers.state import private_files, state_dir
from algaenv.model.intent import BundledGateway, ExternalDatabase, Intent, ManagedDatabase, Port
from algaenv.model.lock import Credentials, Environment, Ports
from algaenv.model.problem import Failed, Problem, Refused, ResolveError
from algaenv.model.secret import Secret
from algaenv.model.service import port_key

PORTS_FILE: Final = "ports.json"
FIRST_PORT: Final = 20_000
PORT_COUNT: Final = 10_000
"""Below the range from which Linux takes the ports of outgoing connections."""

_BLOCK = 10
"""Ports of one environment lie side by side, which people can remember."""
_NONE = 0
_OURS: Final = ("store", "console", "redis", "database", "runner", "gateway")
"""Ports whose place in the block is always the same."""
SECRETS_FILE: Final = "secrets.json"
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
"""Safe in URLs, env files, shells, YAML and rclone's comma-separated key list."""
_KEY_LENGTH = 20
"""What S3 clients expect of an access key."""
_LENGTH = 40
"""238 bits, and no more than MinIO takes for a secret key."""
_SHORTEST = 8
_FORMAT = 1
_NAMES = (
    "access_key",
    "secret_key",
    "redis_password",
    "database_password",
    "auth_key",
    "service_token",
    "fingerprint_key",
)


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
    kept = _reusable(_read_ports(environment), open_names, fixed.values())
    if len(kept) < len(open_names):
        with state_dir.settings_lock(environment):
            # Another run may have chosen meanwhile.
            known = _read_ports(environment)
            kept = _reusable(known, open_names, fixed.values())
            taken = {*fixed.values(), *kept.values()}
            for name in open_names:
                if name not in kept:
                    kept[name] = _find_free_port(environment, name, taken, probe_free)
                    taken.add(kept[name])
            content = json.dumps(known | kept, indent=1, sort_keys=True).encode() + b"\n"
            private_files.write_private(environment.home / PORTS_FILE, content)
    return _ports_of(fixed | kept)


def known_ports(environment: Environment, intent: Intent) -> Ports:
    """The ports that are fixed or were chosen, 0 for others. Chooses none."""
    wanted = _requested_ports(intent)
    kept = _read_ports(environment)
    return _ports_of(
        {name: kept.get(name, _NONE) if port is None else port for name, port in wanted.items()}
    )


def _ports_of(numbers: Mapping[str, int]) -> Ports:
    own = {name: number for name, number in numbers.items() if name not in _OURS}
    return Ports(**{name: numbers[name] for name in _OURS}, services=own)


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
        **{port_key(it.name, port.name): port.port for it in intent.services for port in it.ports},
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
    place = _OURS.index(name) if name in _OURS else len(_OURS)
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


def _read_ports(environment: Environment) -> dict[str, int]:
    """What was chosen before; a damaged file counts as nothing, since the id leads there again."""
    try:
        loaded = json.loads(private_files.read_private(environment.home / PORTS_FILE))
        return {
            name: port
            for name, port in loaded.items()
            if type(port) is int and FIRST_PORT <= port < FIRST_PORT + PORT_COUNT
        }
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def choose_secrets(environment: Environment, intent: Intent) -> Credentials:
    """All secrets of the environment; those that the spec lacks are generated once and stored.

    Raises Failed (`secrets-damaged`) and what `open_state_dir` raises.
    """
    state_dir.open_state_dir(environment)
    given = _secrets_in_spec(intent)
    kept = _read_secrets(environment)
    if any(name not in given and name not in kept for name in _NAMES):
        with state_dir.settings_lock(environment):
            kept = _read_secrets(environment)
            missing = [name for name in _NAMES if name not in given and name not in kept]
            kept |= {name: _generate(name) for name in missing}
            _write_secrets(environment, kept)
    return _to_credentials(kept | given)


def check_secrets(environment: Environment) -> None:
    """Raise Failed (`secrets-damaged`) unless the stored secrets can be read."""
    _read_secrets(environment)


def existing_secrets(environment: Environment, intent: Intent | None) -> Credentials | None:
    """The secrets as far as they exist already; None when one is missing or cannot be read.

    For `status` and `down`, which generate nothing and must not fail without secrets.
    """
    given = {} if intent is None else _secrets_in_spec(intent)
    try:
        known = _read_secrets(environment) | given
    except (Failed, Refused):
        return None
    return _to_credentials(known) if known.keys() >= set(_NAMES) else None


def _secrets_in_spec(intent: Intent) -> dict[str, Secret]:
    database = intent.database
    # The address of an external database holds its password; it is not needed here.
    password = Secret("") if isinstance(database, ExternalDatabase) else database.password
    wanted = {
        "access_key": intent.store.access_key,
        "secret_key": intent.store.secret_key,
        "redis_password": intent.redis.password,
        "database_password": password,
    }
    return {name: secret for name, secret in wanted.items() if secret is not None}


def _to_credentials(known: Mapping[str, Secret]) -> Credentials:
    redis = known["redis_password"]
    return Credentials(
        access_key=known["access_key"],
        secret_key=known["secret_key"],
        redis_password=redis if redis else None,
        database_password=known["database_password"],
        auth_key=known["auth_key"],
        service_token=known["service_token"],
        fingerprint_key=known["fingerprint_key"],
    )


def _generate(name: str) -> Secret:
    import secrets

    length = _KEY_LENGTH if name == "access_key" else _LENGTH
    return Secret("".join(secrets.choice(_ALPHABET) for _ in range(length)))


def _read_secrets(environment: Environment) -> dict[str, Secret]:
    path = environment.home / SECRETS_FILE
    try:
        content = private_files.read_private(path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Failed(_damaged_problem(environment, error.strerror or str(error))) from error
    try:
        loaded = json.loads(content)
        kept = dict(loaded["secrets"].items())
        if loaded["format"] != _FORMAT or not all(map(_is_secret, kept.values())):
            raise ValueError
        return {name: Secret(value) for name, value in kept.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # Without its cause: a parser's message may quote what it was reading.
        raise Failed(_damaged_problem(environment, "it is not what algaenv wrote")) from None


def _write_secrets(environment: Environment, kept: Mapping[str, Secret]) -> None:
    secrets = {name: secret.reveal() for name, secret in kept.items()}
    text = json.dumps({"format": _FORMAT, "secrets": secrets}, indent=1)
    private_files.write_private(environment.home / SECRETS_FILE, text.encode() + b"\n")


def _is_secret(value: object) -> bool:
    return isinstance(value, str) and len(value) >= _SHORTEST


def _damaged_problem(environment: Environment, why: str) -> Problem:
    return Problem(
        "secrets-damaged",
        f"cannot read {environment.home / SECRETS_FILE}: {why}",
        "restore it from a backup; without it the kept volumes stay locked, and only "
        "`algaenv down --volumes` begins anew, which gives up their data",
        detail=(
            "it holds the generated passwords of the object store, Redis and the database,",
            "the runner's keys, and the key that tells a changed secret from an unchanged one",
        ),
    )
