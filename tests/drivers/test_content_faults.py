"""What goes wrong with the database, on a real one: each case has a code, a hint and no secret."""

from __future__ import annotations

import threading
import traceback

import psycopg
import pytest

from algaenv.drivers import retry
from algaenv.drivers.content_host import StoreAndDatabase
from algaenv.drivers.database import session
from algaenv.drivers.database.errors import DatabaseLocation, redact_passwords, translate_error
from algaenv.model.problem import Conflict, DriverError, Failed, Refused, Unavailable
from tests.drivers import alga
from tests.drivers.content_environment import ContentEnvironment
from tests.servers import free_port

PLACE = DatabaseLocation("the database x", managed=True)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same number of tries, without the waiting."""
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(session, "LOCK_SECONDS", 0.1)


def refused(env: ContentEnvironment) -> DriverError:
    with pytest.raises(DriverError) as caught:
        env.snapshot()
    assert env.database.server.password not in str(caught.value)
    return caught.value


def test_the_password_of_a_kept_volume(env: ContentEnvironment) -> None:
    env.password = "another-one"
    error = refused(env)
    assert isinstance(error, Refused)
    assert error.problem.code == "database-password"
    assert "keeps the password it was first made with" in error.problem.hint
    assert "another-one" not in str(error)


def test_the_password_of_an_external_database(env: ContentEnvironment) -> None:
    env.external = True
    env.url = env.database.url.replace(env.database.server.password, "wr%40ng")
    error = refused(env)
    assert isinstance(error, Refused)
    assert error.problem.code == "database-password"
    assert "database.url" in error.problem.hint
    assert "wr@ng" not in str(error)
    assert "wr%40ng" not in str(error)


@pytest.mark.parametrize("external", [False, True])
def test_a_database_that_is_not_there(env: ContentEnvironment, external: bool) -> None:
    env.database = type(env.database)(env.database.server, "nowhere")
    env.external = external
    assert refused(env).problem.code == "database-missing"


def test_nobody_at_the_port(env: ContentEnvironment) -> None:
    env.external = True
    env.url = f"postgresql://u:pa55@127.0.0.1:{free_port()}/x"
    error = refused(env)
    assert isinstance(error, Unavailable)
    assert error.problem.code == "database-unreachable"
    assert "Connection refused" in error.problem.summary
    assert env.url.partition("@")[2].removesuffix("/x") in error.problem.summary
    assert "pa55" not in str(error)


def test_a_store_that_does_not_answer(env: ContentEnvironment) -> None:
    env.store_port = free_port()
    error = refused(env)
    assert isinstance(error, Unavailable)
    assert error.problem.code == "store-unreachable"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("postgresql://u:pa55@127.0.0.1/x?schema=public", "database-url"),
        ("postgresql://u:pa55%%@127.0.0.1/x", "database-url"),
        ("postgresql://u:pa55@[::1/x", "database-url"),
        ("postgresql://u:no@pa55@host.invalid/x", "database-unreachable"),
    ],
)
def test_an_address_that_cannot_be_understood(env: ContentEnvironment, url: str, code: str) -> None:
    env.external, env.url = True, url
    error = refused(env)
    assert error.problem.code == code
    trace_text = "".join(traceback.format_exception(error))
    assert "pa55" not in trace_text


@pytest.mark.parametrize(
    ("message", "kind", "code"),
    [
        ("FATAL:  the database system is starting up", Unavailable, "database-unreachable"),
        ("FATAL:  the database system is shutting down", Unavailable, "database-unreachable"),
        ("FATAL:  sorry, too many clients already", Unavailable, "database-busy"),
        ('FATAL:  role "u" does not exist', Refused, "database-password"),
        ('FATAL:  no pg_hba.conf entry for host "x"', Refused, "database-password"),
        ('FATAL:  permission denied for database "x"', Refused, "database-permission"),
        ("FATAL:  what nobody has ever seen", Unavailable, "database-unreachable"),
        ("server closed the connection unexpectedly", Unavailable, "database-unreachable"),
    ],
)
def test_logins_that_fail_have_no_state_but_words(
    message: str, kind: type[DriverError], code: str
) -> None:
    error = translate_error(psycopg.OperationalError(f"connection failed: {message}"), PLACE)
    assert type(error) is kind
    assert error.problem.code == code


def test_addresses_lose_their_passwords() -> None:
    text = 'bad "postgresql://u:pa55@h/x" and http://a:b@c\nsecond line'
    assert redact_passwords(text) == 'bad "postgresql://u:***@h/x" and http://a:***@c'
    assert redact_passwords("cannot resolve host 'rest@host'") == "cannot resolve host '***@host'"
    assert redact_passwords('bad token: "pa%%ss"') == 'bad token: "***"'
    assert redact_passwords("") == ""


@pytest.mark.parametrize(
    ("state", "kind", "code"),
    [
        ("40001", Unavailable, "database-busy"),
        ("53100", Failed, "database-full"),
        ("53200", Failed, "database-full"),
        ("57P01", Unavailable, "database-unreachable"),
        ("22P05", Refused, "text-unstorable"),
        ("42P01", Refused, "schema-missing"),
        ("23514", Conflict, "rows-conflict"),
        ("XX000", Failed, "database-error"),
    ],
)
def test_states_decide_where_there_is_one(
    env: ContentEnvironment, state: str, kind: type[DriverError], code: str
) -> None:
    body = f"BEGIN RAISE EXCEPTION 'sad' USING ERRCODE = '{state}', DETAIL = 'ciphertext'; END"
    try:
        env.sql(f"DO $$ {body} $$")
    except psycopg.Error as raised:
        error = translate_error(raised, PLACE)
        assert type(error) is kind
        assert error.problem.code == code
        assert "sad" in error.problem.summary
        error.__cause__ = raised
        assert "ciphertext" not in "".join(traceback.format_exception(error))
    else:
        pytest.fail("nothing was raised")


def test_a_user_that_may_not_write(env: ContentEnvironment) -> None:
    env.external = True
    alga.migrate(env.database)
    alga.tenant(env.database, "Oz")
    role = f"reader_{env.environment}"
    env.sql(f"CREATE ROLE {role} LOGIN PASSWORD 'pa55'")
    env.sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    server = env.database.server
    env.url = f"postgresql://{role}:pa55@127.0.0.1:{server.port}/{env.database.name}"
    with pytest.raises(Refused) as caught:
        env.up()
    assert caught.value.problem.code == "database-permission"
    env.sql(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}")
    with pytest.raises(Refused) as caught:
        env.snapshot()
    assert caught.value.problem.code == "database-permission"
    env.sql(f"DROP ROLE {role}")


def test_a_standby_takes_no_writes(env: ContentEnvironment) -> None:
    env.up()
    env.change(enabled=False)
    name = env.database.name
    env.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(Refused) as caught:
        env.up()
    assert caught.value.problem.code == "database-read-only"


def test_rows_that_somebody_holds_are_waited_for(env: ContentEnvironment) -> None:
    env.up()
    env.change(enabled=False)
    with psycopg.connect(**env.database.dsn) as holder:
        holder.execute("SELECT 1 FROM tenant_extension_install FOR UPDATE")
        with pytest.raises(Unavailable) as caught:
            env.up()
        assert caught.value.problem.code == "database-busy"
        tries = [it for it in env.messages if it.startswith("try ")]
        assert len(tries) == retry.ATTEMPTS - 1
        threading.Timer(0.15, holder.rollback).start()
        assert env.up() == ["update release/hello"]
    assert env.settled()


def test_a_text_with_a_null_character(env: ContentEnvironment) -> None:
    env.change(config={"region": "e\0u"})
    with pytest.raises(Refused) as caught:
        env.up()
    assert caught.value.problem.code == "text-unstorable"
    assert "s3cr3t-value" not in str(caught.value)


@pytest.mark.parametrize(
    "table",
    [
        "tenant_extension_install",
        "tenant_extension_install_secrets",
        "extension_api_endpoint",
    ],
)
def test_a_release_is_written_whole_or_not_at_all(env: ContentEnvironment, table: str) -> None:
    extensions, env.extensions = env.extensions, {}
    env.up()
    env.extensions = extensions
    env.sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no: %', NEW; END $$"
    )
    env.sql(f"CREATE TRIGGER fail BEFORE INSERT ON {table} EXECUTE FUNCTION fail()")
    with pytest.raises(Failed):
        env.up()
    for each in ("registry", "version", "bundle", "api_endpoint"):
        assert env.sql(f"SELECT count(*) FROM extension_{each}") == [(0,)], each
    assert env.sql("SELECT count(*) FROM tenant_extension_install") == [(0,)]
    env.sql(f"DROP TRIGGER fail ON {table}")
    done = env.up()
    assert done == ["create release/hello"]
    assert env.settled()


def test_the_same_release_from_many_threads(env: ContentEnvironment) -> None:
    env.up()
    env.sql("DELETE FROM extension_registry")
    resource = env.resource("release/hello")
    drivers, failed = StoreAndDatabase(env.lock()).drivers()["release"], list[BaseException]()

    def write() -> None:
        try:
            drivers.create(resource, env.messages.append)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [it for it in failed if not isinstance(it, Unavailable)] == []
    assert env.settled()
