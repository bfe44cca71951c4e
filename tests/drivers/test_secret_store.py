import json
import re
import stat
import subprocess
import sys
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from algaenv.drivers.state import settings, state_dir
from algaenv.model.intent import ExternalDatabase, Intent, ManagedDatabase
from algaenv.model.lock import Credentials, Environment
from algaenv.model.problem import Failed
from algaenv.model.secret import Secret
from tests.runtimes.locks import make_lock


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return state_dir.identify(tmp_path / "algaenv.yaml", "demo")


@pytest.fixture
def intent(tmp_path: Path) -> Intent:
    return make_lock(tmp_path).intent


def texts(credentials: Credentials) -> list[str]:
    return [it.reveal() for it in astuple(credentials) if isinstance(it, Secret)]


def test_secrets_are_made_up_once(environment: Environment, intent: Intent) -> None:
    first = settings.choose_secrets(environment, intent)
    path = environment.home / "secrets.json"
    written = path.stat()
    assert settings.choose_secrets(environment, intent) == first
    assert path.stat() == written
    assert stat.S_IMODE(written.st_mode) == 0o600


def test_made_up_secrets_are_long_different_and_safe_everywhere(
    environment: Environment, intent: Intent
) -> None:
    found = texts(settings.choose_secrets(environment, intent))
    assert len(found) == len(set(found)) == 7
    assert all(re.fullmatch(r"[A-Za-z0-9]{20}|[A-Za-z0-9]{40}", it) for it in found)


def test_two_environments_share_nothing(tmp_path: Path, intent: Intent) -> None:
    one, two = (state_dir.identify(tmp_path / name, "demo") for name in ("one.yaml", "two.yaml"))
    shared = set(texts(settings.choose_secrets(one, intent))) & set(
        texts(settings.choose_secrets(two, intent))
    )
    assert not shared


def test_given_ones_win_and_are_not_kept(environment: Environment, intent: Intent) -> None:
    made_up = settings.choose_secrets(environment, intent)
    given = replace(
        intent,
        store=replace(intent.store, access_key=Secret("given-key"), secret_key=Secret("given-sk")),
        redis=replace(intent.redis, password=Secret("given-redis")),
        database=replace(managed(intent), password=Secret("given-db")),
    )
    found = settings.choose_secrets(environment, given)
    assert texts(found)[:4] == ["given-key", "given-sk", "given-redis", "given-db"]
    assert texts(found)[4:] == texts(made_up)[4:]
    assert "given" not in (environment.home / "secrets.json").read_text()
    assert settings.choose_secrets(environment, intent) == made_up


def managed(intent: Intent) -> ManagedDatabase:
    assert isinstance(intent.database, ManagedDatabase)
    return intent.database


def test_an_empty_redis_password_means_none(environment: Environment, intent: Intent) -> None:
    open_redis = replace(intent, redis=replace(intent.redis, password=Secret("")))
    assert settings.choose_secrets(environment, open_redis).redis_password is None


def test_an_external_database_needs_no_password_of_ours(
    environment: Environment, intent: Intent
) -> None:
    external = replace(intent, database=ExternalDatabase(Secret("postgresql://u:p@h/d")))
    assert settings.choose_secrets(environment, external).database_password == Secret("")
    assert "database_password" not in (environment.home / "secrets.json").read_text()


def test_what_is_needed_later_is_added(environment: Environment, intent: Intent) -> None:
    given = replace(intent, redis=replace(intent.redis, password=Secret("given-redis")))
    first = settings.choose_secrets(environment, given)
    later = settings.choose_secrets(environment, intent)
    assert later.redis_password not in (None, first.redis_password)
    assert replace(later, redis_password=first.redis_password) == first


def test_runs_that_start_together_agree(environment: Environment, tmp_path: Path) -> None:
    code = "\n".join(
        [
            "import sys",
            "from pathlib import Path",
            "from algaenv.drivers.state import settings, state_dir",
            "from tests.runtimes.locks import make_lock",
            "spec = Path(sys.argv[1])",
            "intent, environment = make_lock(spec.parent).intent, state_dir.identify(spec, 'demo')",
            "sys.stdin.readline()",
            "print(settings.choose_secrets(environment, intent).secret_key.reveal())",
        ]
    )
    command = [sys.executable, "-c", code, str(environment.spec)]
    runs = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for run in runs:
        assert run.stdin
        run.stdin.write("go\n")
        run.stdin.flush()
    assert len({run.communicate()[0] for run in runs}) == 1
    assert all(run.returncode == 0 for run in runs)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"format": 2, "secrets": {}}',
        b'{"format": 1, "secrets": []}',
        b'{"format": 1, "secrets": {"secret_key": 5}}',
        b'{"format": 1, "secrets": {"secret_key": "short"}}',
        b'{"format": 1, "secrets": {"secret_key": "TOPSECRETTOPSECRET"}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_never_replaced(
    environment: Environment, intent: Intent, content: bytes
) -> None:
    path = state_dir.open_state_dir(environment) / "secrets.json"
    path.write_bytes(content)
    with pytest.raises(Failed) as caught:
        settings.choose_secrets(environment, intent)
    problem = caught.value.problem
    assert problem.code == "secrets-damaged"
    assert "down --volumes" in problem.hint
    assert "TOPSECRET" not in str(problem)
    assert caught.value.__cause__ is None
    assert path.read_bytes() == content
    assert settings.existing_secrets(environment, intent) is None


def test_a_cut_file_is_damaged_at_every_length(environment: Environment, intent: Intent) -> None:
    settings.choose_secrets(environment, intent)
    path = environment.home / "secrets.json"
    whole = path.read_bytes().rstrip()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(Failed):
            settings.choose_secrets(environment, intent)


def test_a_link_is_not_followed(environment: Environment, intent: Intent, tmp_path: Path) -> None:
    (state_dir.open_state_dir(environment) / "secrets.json").symlink_to(tmp_path / "theirs")
    with pytest.raises(Failed) as caught:
        settings.choose_secrets(environment, intent)
    assert caught.value.problem.code == "secrets-damaged"
    assert not (tmp_path / "theirs").exists()


def test_peeking_makes_nothing_up(environment: Environment, intent: Intent) -> None:
    assert settings.existing_secrets(environment, intent) is None
    assert not environment.home.exists()
    made_up = settings.choose_secrets(environment, intent)
    assert settings.existing_secrets(environment, intent) == made_up
    assert settings.existing_secrets(environment, None) == made_up
    path = environment.home / "secrets.json"
    kept = json.loads(path.read_text())
    del kept["secrets"]["auth_key"]
    path.write_text(json.dumps(kept))
    assert settings.existing_secrets(environment, intent) is None


def test_nothing_shows_a_secret(environment: Environment, intent: Intent) -> None:
    found = settings.choose_secrets(environment, intent)
    assert not any(text in repr(found) for text in texts(found))
