"""Stores the secrets of an environment: those in the spec win, the others are generated once.

The services' volumes keep the secrets they were first started with. New secrets would lock an
author out of existing data, so a damaged file is an error and is never replaced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from algaenv.drivers.state import private_files, state_dir
from algaenv.model.intent import ExternalDatabase, Intent
from algaenv.model.lock import Credentials, Environment
from algaenv.model.problem import Failed, Problem, Refused
from algaenv.model.secret import Secret

FILE: Final = "secrets.json"

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


def load_or_create(environment: Environment, intent: Intent) -> Credentials:
    """All secrets of the environment; those that the spec lacks are generated once and stored.

    Raises Failed (`secrets-damaged`) and what `open_state_dir` raises.
    """
    state_dir.open_state_dir(environment)
    given = _secrets_in_spec(intent)
    kept = _read(environment)
    if any(name not in given and name not in kept for name in _NAMES):
        with state_dir.settings_lock(environment):
            kept = _read(environment)
            missing = [name for name in _NAMES if name not in given and name not in kept]
            kept |= {name: _generate(name) for name in missing}
            _write(environment, kept)
    return _to_credentials(kept | given)


def load_existing(environment: Environment, intent: Intent | None) -> Credentials | None:
    """The secrets as far as they exist already; None when one is missing or cannot be read.

    For `status` and `down`, which generate nothing and must not fail without secrets.
    """
    given = {} if intent is None else _secrets_in_spec(intent)
    try:
        known = _read(environment) | given
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


def _read(environment: Environment) -> dict[str, Secret]:
    path = environment.home / FILE
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


def _write(environment: Environment, kept: Mapping[str, Secret]) -> None:
    secrets = {name: secret.reveal() for name, secret in kept.items()}
    text = json.dumps({"format": _FORMAT, "secrets": secrets}, indent=1)
    private_files.write_private(environment.home / FILE, text.encode() + b"\n")


def _is_secret(value: object) -> bool:
    return isinstance(value, str) and len(value) >= _SHORTEST


def _damaged_problem(environment: Environment, why: str) -> Problem:
    return Problem(
        "secrets-damaged",
        f"cannot read {environment.home / FILE}: {why}",
        "restore it from a backup; without it the kept volumes stay locked, and only "
        "`algaenv down --volumes` begins anew, which gives up their data",
        detail=(
            "it holds the generated passwords of the object store, Redis and the database,",
            "the runner's keys, and the key that tells a changed secret from an unchanged one",
        ),
    )
