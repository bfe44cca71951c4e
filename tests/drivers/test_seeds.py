"""Seeds: SQL files, objects and records, on a real database and a real store."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from algaenv.drivers.database import sql_seeds
from algaenv.drivers.database.sql_text import line_and_column, split_statements
from algaenv.drivers.object_store import Bucket
from algaenv.drivers.seed_files import read_seed_files
from algaenv.model.intent import ObjectSeed, RecordSeed, SeedIntent, SqlSeed
from algaenv.model.kind import Address
from algaenv.model.problem import Conflict, Failed, ResolveError, Where
from algaenv.model.resource import Json
from tests.drivers.content_environment import ContentEnvironment

HERE = Where("algaenv.yaml", 3, 5)


def sql(env: ContentEnvironment, name: str, text: str) -> SqlSeed:
    path = env.root / name
    path.write_text(text, encoding="utf-8")
    return SqlSeed(name, str(path), name, HERE)


def objects(env: ContentEnvironment, **files: str) -> ObjectSeed:
    directory = env.root / "files"
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_txt", ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return ObjectSeed(str(directory), env.bucket, "demo/", HERE)


def records(**values: Json) -> RecordSeed:
    return RecordSeed("hello", {"settings": values}, HERE)


def stored(env: ContentEnvironment) -> dict[str, Json]:
    return dict(env.sql("SELECT key, value FROM ext_storage_records WHERE namespace = 'settings'"))


def seeds(done: list[str]) -> list[str]:
    return [it for it in done if "seed-" in it]


def test_a_file_of_sql_is_applied_once_and_again_when_it_changes(env: ContentEnvironment) -> None:
    first = sql(env, "a.sql", "CREATE TABLE notes (text text);\nINSERT INTO notes VALUES ('a;b');")
    second = sql(env, "b.sql", "INSERT INTO notes SELECT name FROM extension_registry")
    env.seed = SeedIntent(sql=(first, second))
    done = env.up()
    assert done[-3:] == [
        "create release/hello",
        "create seed-sql/a.sql",
        "create seed-sql/b.sql",
    ]
    assert env.sql("SELECT text FROM notes") == [("a;b",), ("com.example.hello",)]
    assert env.settled()
    sql(env, "b.sql", "INSERT INTO notes VALUES ('again')")
    assert "content changed" in env.plan()
    assert env.up() == ["update seed-sql/b.sql"]
    assert env.sql("SELECT count(*) FROM notes") == [(3,)]
    env.seed = SeedIntent(sql=(second,))
    assert env.up() == ["delete seed-sql/a.sql"]
    assert env.messages[-1] == "what its statements did stays"
    assert env.sql("SELECT count(*) FROM notes") == [(3,)]
    assert env.settled()


def test_a_statement_that_fails_is_named_by_its_line_and_undoes_the_file(
    env: ContentEnvironment,
) -> None:
    text = "CREATE TABLE twice (id int PRIMARY KEY);\n\n  INSERT INTO twice\n  VALUES (1), (1);\n"
    env.seed = SeedIntent(sql=(sql(env, "twice.sql", text),))
    with pytest.raises(Failed) as caught:
        env.up()
    problem = caught.value.problem
    assert (problem.code, str(problem.where)) == ("seed-sql", "twice.sql:3:3")
    assert "duplicate key" in problem.summary
    assert "(1)" not in problem.summary  # Details quote rows.
    assert env.sql("SELECT to_regclass('twice')::text") == [(None,)]
    sql(env, "twice.sql", "SELECT 1;\nSELECT \n  nothing FROM tenants;")
    with pytest.raises(Failed) as caught:
        env.up()
    assert str(caught.value.problem.where) == "twice.sql:3:3"
    sql(env, "twice.sql", "SELECT 1")
    assert env.up() == ["create seed-sql/twice.sql"]


def test_what_cannot_be_part_of_a_transaction_is_refused_at_once(env: ContentEnvironment) -> None:
    text = "BEGIN;\nCREATE TABLE x (a int);\n\\copy x from 'f'\nCOPY x FROM stdin;\nCOMMIT;\n"
    env.seed = SeedIntent(sql=(sql(env, "x.sql", text),))
    with pytest.raises(Failed) as caught:
        env.up()
    places = [f"{it.code} {it.where}" for it in caught.value.problems]
    assert places == [f"seed-sql-form x.sql:{line}:1" for line in (1, 3, 4, 5)]
    assert env.sql("SELECT to_regclass('x')::text") == [(None,)]


def test_settings_of_a_file_reach_nothing_else(env: ContentEnvironment) -> None:
    env.seed = SeedIntent(sql=(sql(env, "a.sql", "CREATE SCHEMA s; SET search_path TO s"),))
    env.up()
    assert env.settled()
    assert env.sql("SELECT schemaname FROM pg_tables WHERE tablename = 'algaenv_seeds'") == [
        ("public",)
    ]


def test_statements_are_told_apart_as_psql_does() -> None:
    text = (
        "-- a;\n/* b; /* c; */ ; */\n"
        "SELECT 'it''s;', E'\\';', \"a;b\" ;\n"
        "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);\n"
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $x$ BEGIN RETURN 1; END; $x$;\n"
        "CREATE OR REPLACE FUNCTION g() RETURNS int BEGIN ATOMIC"
        " SELECT CASE WHEN true THEN 1 END; SELECT 2; END;\n"
        "SELECT $1, '\u00e9' ; ;; ROLLBACK TO s"
    )
    found = list(split_statements(text))
    assert [line_and_column(text, it.offset) for it in found] == [
        (3, 1),
        (4, 1),
        (5, 1),
        (6, 1),
        (7, 1),
        (7, 21),
    ]
    assert [it.text.split()[-1] for it in found] == ['"a;b"', "2)", "$x$", "END", "'\u00e9'", "s"]
    assert [it.refusal for it in found] == [None] * 6
    assert list(split_statements(" -- nothing\n")) == []
    assert [it.text for it in split_statements("SELECT 'open; \n")] == ["SELECT 'open"]


def test_objects_follow_the_directory(env: ContentEnvironment) -> None:
    env.seed = SeedIntent(objects=(objects(env, a_txt="one", sub__b_txt="two"),))
    assert f"create seed-objects/{env.bucket}/demo/" in env.up()
    demo = [it for it in env.objects() if it.startswith("demo/")]
    assert demo == ["demo/a.txt", "demo/sub/b.txt"]
    assert env.settled()
    objects(env, a_txt="three", c_txt="four")
    (env.root / "files/sub/b.txt").unlink()
    plan = env.plan()
    assert "objects.a.txt changed" in plan
    assert "objects.c.txt added" in plan
    assert "objects.sub/b.txt removed" in plan
    assert seeds(env.up()) == [f"update seed-objects/{env.bucket}/demo/"]
    assert [it for it in env.objects() if it.startswith("demo/")] == ["demo/a.txt", "demo/c.txt"]
    env.store.s3().put_object(Bucket=env.bucket, Key="demo/a.txt", Body=b"other")
    env.store.s3().delete_object(Bucket=env.bucket, Key="demo/c.txt")
    drift = env.present(f"seed-objects/{env.bucket}/demo/").drift
    assert list(drift) == ["the object a.txt holds other bytes", "the object c.txt is gone"]
    env.up()
    assert env.store.s3().get_object(Bucket=env.bucket, Key="demo/a.txt")["Body"].read() == b"three"
    assert env.settled()
    env.store.s3().put_object(Bucket=env.bucket, Key="demo/theirs", Body=b"kept")
    env.seed = SeedIntent()
    assert env.up() == [f"delete seed-objects/{env.bucket}/demo/"]
    assert [it for it in env.objects() if it.startswith("demo/")] == ["demo/theirs"]


def test_objects_of_others_are_not_overwritten(env: ContentEnvironment) -> None:
    env.up()
    s3 = env.store.s3()
    s3.put_object(Bucket=env.bucket, Key="demo/a.txt", Body=b"theirs")
    s3.put_object(Bucket=env.bucket, Key="demo/same.txt", Body=b"same")
    env.seed = SeedIntent(objects=(objects(env, a_txt="ours", same_txt="same"),))
    with pytest.raises(Conflict) as caught:
        env.up()
    assert [it.code for it in caught.value.problems] == ["seed-foreign"]
    assert "demo/a.txt" in caught.value.problem.summary
    assert s3.get_object(Bucket=env.bucket, Key="demo/a.txt")["Body"].read() == b"theirs"
    s3.delete_object(Bucket=env.bucket, Key="demo/a.txt")
    env.up()
    assert env.settled()


def test_an_upload_that_was_killed_is_finished_and_its_objects_are_known(
    env: ContentEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    env.seed = SeedIntent(objects=(objects(env, a_txt="one", b_txt="two"),))
    write = Bucket.write

    def killed(bucket: Bucket, key: str, content: bytes) -> None:
        if key.endswith("b.txt"):
            raise KeyboardInterrupt
        write(bucket, key, content)

    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            env.up()
    address = f"seed-objects/{env.bucket}/demo/"
    assert list(env.present(address).drift) == ["an earlier run did not finish it"]
    wanted, env.seed = env.seed, SeedIntent()
    assert seeds(env.up()) == [f"delete {address}"]
    assert [it for it in env.objects() if it.startswith("demo/")] == []
    env.seed = wanted
    env.up()
    assert env.settled()


def test_records_follow_the_spec_and_what_the_extension_changed_stays(
    env: ContentEnvironment,
) -> None:
    env.seed = SeedIntent(records=(records(theme={"dark": True}, size=3, none=None),))
    assert env.up()[-1] == "create seed-records/hello"
    assert stored(env) == {"theme": {"dark": True}, "size": 3, "none": None}
    assert env.sql("SELECT keys_count, bytes_used FROM ext_storage_usage") == [(3, 24)]
    assert env.settled()
    env.sql("UPDATE ext_storage_records SET value = '4', revision = 2 WHERE key = 'size'")
    assert env.settled()
    env.seed = SeedIntent(records=(records(theme={"dark": False}, size=3, new="x"),))
    plan = env.plan()
    assert "records.settings/theme changed" in plan
    assert "dark" not in plan
    assert env.up() == ["update seed-records/hello"]
    assert stored(env) == {"theme": {"dark": False}, "size": 4, "new": "x"}
    env.sql(
        "INSERT INTO ext_storage_records (tenant, extension_install_id, namespace, key, value)"
        " SELECT tenant, extension_install_id, namespace, 'own', '1' FROM ext_storage_records"
        " LIMIT 1"
    )
    env.seed = SeedIntent()
    assert env.up() == ["delete seed-records/hello"]
    assert stored(env) == {"own": 1}


def test_records_of_the_extension_are_not_overwritten(env: ContentEnvironment) -> None:
    env.seed = SeedIntent(records=(records(mine=1),))
    env.up()
    env.sql(
        "INSERT INTO ext_storage_records (tenant, extension_install_id, namespace, key, value)"
        " SELECT tenant, extension_install_id, namespace, 'own', '1' FROM ext_storage_records"
    )
    env.seed = SeedIntent(records=(records(mine=2, own=2),))
    with pytest.raises(Conflict) as caught:
        env.up()
    assert caught.value.problem.code == "seed-foreign"
    assert "record own in settings of hello" in caught.value.problem.summary
    assert stored(env) == {"mine": 1, "own": 1}
    env.seed = SeedIntent(records=(records(mine=2, own=1),))
    env.up()
    assert stored(env) == {"mine": 2, "own": 1}


def test_records_need_the_install(env: ContentEnvironment) -> None:
    env.seed = SeedIntent(records=(records(a=1),))
    env.up()
    seed = env.resource("seed-records/hello")
    env.sql("DELETE FROM tenant_extension_install")
    driver = dict(env.drivers())["seed-records"]
    with pytest.raises(Failed) as caught:
        driver.create(seed, env.messages.append)
    assert caught.value.problem.code == "seed-install"


def test_a_file_that_changes_between_plan_and_upload_is_not_uploaded(
    env: ContentEnvironment,
) -> None:
    env.seed = SeedIntent(objects=(objects(env, a_txt="one"),))
    seed = env.resource(f"seed-objects/{env.bucket}/demo/")
    env.up()
    objects(env, a_txt="two")
    stale = dataclasses.replace(seed, inputs={})
    env.sql("UPDATE algaenv_seeds SET finished = false")
    with pytest.raises(Failed) as caught:
        dict(env.drivers())["seed-objects"].create(stale, env.messages.append)
    assert caught.value.problem.code == "seed-changed"


def test_everything_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_bytes(b"SELECT 1;\n  \xff")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "link").symlink_to(tmp_path / "a.sql")
    seed = SeedIntent(
        sql=(
            SqlSeed("a.sql", str(tmp_path / "a.sql"), "a.sql", HERE),
            SqlSeed("b.sql", str(tmp_path / "b.sql"), "b.sql", HERE),
        ),
        objects=(ObjectSeed(str(tmp_path / "files"), "extensions", "", HERE),),
    )
    with pytest.raises(ResolveError) as caught:
        read_seed_files(seed)
    assert [(it.code, str(it.where)) for it in caught.value.problems] == [
        ("seed-unreadable", "a.sql:2:3"),
        ("seed-unreadable", "algaenv.yaml:3:5"),
        ("seed-unreadable", "algaenv.yaml:3:5"),
    ]
    assert "link is a link" in caught.value.problems[2].summary


def test_a_seed_of_nothing_asks_nothing_more(env: ContentEnvironment) -> None:
    env.up()
    assert env.snapshot().seeds == {}
    env.seed = SeedIntent(sql=(sql(env, "a.sql", "SELECT 1"),))
    env.up()
    assert list(env.snapshot().seeds) == [Address("seed-sql", "a.sql")]


def test_long_files_report_their_progress(
    env: ContentEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_seeds, "_REPORTED", 2)
    env.seed = SeedIntent(sql=(sql(env, "a.sql", "SELECT 1;" * 5),))
    env.up()
    assert [it for it in env.messages if "statement" in it] == [
        "statement 2 of 5",
        "statement 4 of 5",
    ]
