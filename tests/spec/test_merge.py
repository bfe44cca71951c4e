"""Merging: `extends`, local files over, and where each error points."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from algaenv.model.intent import Intent, ManagedDatabase
from algaenv.model.problem import SpecError
from algaenv.spec.load import load


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path, environ: Mapping[str, str] | None = None) -> Intent:
    return load(path, environ or {}).intent


def errors_of(path: Path, stacks: Path | None = None) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(path, {}, stacks=stacks)
    return [str(problem).partition("\n")[0] for problem in caught.value.problems]


def test_local_file_is_laid_over(tmp_path: Path) -> None:
    spec = write(
        tmp_path / "algaenv.yaml",
        "name: demo\nredis: {port: 7000, persistent: false}\nstore: {buckets: [a-one, a-two]}\n",
    )
    write(tmp_path / "algaenv.local.yaml", "redis: {port: 7001}\nstore: {buckets: [b-one]}\n")
    intent = read(spec)
    assert (intent.redis.port, intent.redis.persistent) == (7001, False)
    assert intent.store.buckets == ("extensions", "b-one")


def test_null_in_the_local_file_removes(tmp_path: Path) -> None:
    spec = write(
        tmp_path / "algaenv.yaml",
        "name: demo\nruntime: process\nrunner: {environment: {A: a, B: b}}\nredis: {port: 7000}\n",
    )
    write(
        tmp_path / "algaenv.local.yaml",
        "runtime: null\nredis:\nrunner: {environment: {A: null}}\n",
    )
    intent = read(spec)
    assert (intent.runtime, intent.redis.port) == ("auto", 6380)
    assert intent.runner.environment == {"B": "b"}


def test_local_file_is_named_after_its_spec(tmp_path: Path) -> None:
    spec = write(tmp_path / "other.yaml", "name: demo\n")
    write(tmp_path / "algaenv.local.yaml", "redis: {port: 7001}\n")
    write(tmp_path / "other.local.yaml", "redis: {port: 7002}\n")
    assert read(spec).redis.port == 7002


@pytest.mark.parametrize("text", ["", "# nothing yet\n"])
def test_local_file_may_be_empty(tmp_path: Path, text: str) -> None:
    spec = write(tmp_path / "algaenv.yaml", "name: demo\n")
    write(tmp_path / "algaenv.local.yaml", text)
    assert read(spec).name == "demo"


def test_local_file_may_replace_another_kind(tmp_path: Path) -> None:
    spec = write(
        tmp_path / "algaenv.yaml",
        "name: demo\nruntime: ${NOT_SET}\ndatabase: {url: '${NOT_SET}'}\n",
    )
    write(
        tmp_path / "algaenv.local.yaml",
        "runtime: docker\ndatabase: {url: null, port: 7003}\n",
    )
    database = read(spec).database
    assert isinstance(database, ManagedDatabase)
    assert database.port == 7003


def test_local_file_cannot_extend(tmp_path: Path) -> None:
    spec = write(tmp_path / "algaenv.yaml", "name: demo\n")
    write(tmp_path / "algaenv.local.yaml", "extends: ./base.yaml\nredis: {prot: 1}\n")
    local = tmp_path / "algaenv.local.yaml"
    assert errors_of(spec) == [
        f"{local}:1:1: error[spec-extends-local]: cannot extend another file from a local one",
        f"{local}:2:9: error[spec-key-unknown]: cannot use the key `prot` in redis: "
        "there is no such key",
    ]


def test_the_nearer_file_wins_along_a_chain(tmp_path: Path) -> None:
    write(tmp_path / "a" / "one.yaml", "name: one\nredis: {port: 7001}\nkeep_versions: 1\n")
    write(tmp_path / "a" / "two.yaml", "extends: ./one.yaml\nname: two\nkeep_versions: 2\n")
    spec = write(tmp_path / "algaenv.yaml", "extends: a/two.yaml\nkeep_versions: 3\n")
    intent = read(spec)
    assert (intent.name, intent.redis.port, intent.keep_versions) == ("two", 7001, 3)


def test_paths_start_where_they_stand(tmp_path: Path) -> None:
    write(tmp_path / "lib" / "hello" / "manifest.json", "{}")
    write(tmp_path / "lib" / "key", "a-long-secret\n")
    write(
        tmp_path / "lib" / "base.yaml",
        "extensions: {hello: {source: ./hello, secrets: {k: {file: key}}}}\n"
        "runner: {volumes: [./hello:/hello]}\n",
    )
    spec = write(tmp_path / "app" / "algaenv.yaml", "name: demo\nextends: ../lib/base.yaml\n")
    intent = read(spec)
    assert intent.extensions[0].source == str(tmp_path / "lib" / "hello")
    assert intent.extensions[0].secrets["k"].reveal() == "a-long-secret"
    assert intent.runner.volumes == (f"{tmp_path}/lib/hello:/hello",)
    assert intent.extensions[0].where.file == str(tmp_path / "lib" / "base.yaml")


def test_a_stack_by_name(tmp_path: Path) -> None:
    write(tmp_path / "stacks" / "small" / "algaenv.yaml", "name: small\nredis: {port: 7005}\n")
    write(tmp_path / "stacks" / "engines" / "silo.yaml", "serves: store\n")
    spec = write(tmp_path / "algaenv.yaml", "extends: small\n")
    assert load(spec, {}, stacks=tmp_path / "stacks").intent.redis.port == 7005
    other = write(tmp_path / "other.yaml", "name: demo\nextends: smal\n")
    assert errors_of(other, tmp_path / "stacks") == [
        f"{other}:2:10: error[spec-stack-unknown]: cannot extend smal: there is no such stack"
    ]


def test_a_stack_that_extends_itself(tmp_path: Path) -> None:
    stack = write(tmp_path / "stacks" / "loop" / "algaenv.yaml", "extends: loop\nname: a\n")
    spec = write(tmp_path / "algaenv.yaml", "name: demo\nextends: loop\n")
    (reported,) = errors_of(spec, tmp_path / "stacks")
    assert reported.startswith(f"{stack}:1:10: error[spec-extends-cycle]")


def test_a_missing_spec(tmp_path: Path) -> None:
    path = tmp_path / "algaenv.yaml"
    assert errors_of(path) == [f"error[spec-missing]: cannot find the file {path}"]
    assert errors_of(tmp_path / ("x" * 400))[0].startswith("error[spec-unreadable]: cannot read")
    path.mkdir()
    assert errors_of(path)[0].endswith("not a regular file")


def test_what_was_read_and_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "key", "a-long-secret")
    write(tmp_path / "base.yaml", "redis: {password: {file: key}}\n")
    spec = write(
        tmp_path / "algaenv.yaml",
        "name: ${NAME:-demo}\nextends: ./base.yaml\ndatabase: {password: {env: PASSWORD}}\n",
    )
    loaded = load(spec, {"PASSWORD": "a-password", "UNRELATED": "x"})
    here = [path.name for path in loaded.files if path.parent == tmp_path]
    assert sorted(here) == [".env", "algaenv.local.yaml", "algaenv.yaml", "base.yaml", "key"]
    assert {"silo.yaml", "valkey.yaml", "postgres-18.yaml"} <= {p.name for p in loaded.files}
    assert sorted(loaded.variables) == ["ALGAENV_PROFILES", "NAME", "PASSWORD"]


def test_warnings(tmp_path: Path) -> None:
    spec = write(
        tmp_path / "algaenv.yaml",
        "name: demo\n"
        "store: {engine: rclone, console_port: 7000}\n"
        "extensions: {x-ray: ./ray, x-template: {enabled: false}, x-two: {source: a}}\n",
    )
    assert [f"{w.where}: {w.code}" for w in load(spec, {}).warnings] == [
        f"{spec}:3:14: spec-extension-ignored",
        f"{spec}:3:58: spec-extension-ignored",
        f"{spec}:2:25: spec-console-unused",
    ]
    write(spec, "name: demo\nstore: {engine: minio}\n")
    (warning,) = load(spec, {}).warnings
    assert (warning.code, str(warning.where)) == ("spec-engine-caution", f"{spec}:2:17")
    assert warning.summary.startswith("cannot ")
    source = Path(__file__).parent / "good" / "with" / "hello"
    text = f"name: demo\ngateway: none\nextensions: {{hello: {{source: {source}, probe: /x}}}}\n"
    (warning,) = load(write(spec, text), {}).warnings
    assert (warning.code, warning.where and warning.where.line) == ("spec-probe-unused", 3)
    (warning,) = load(write(spec, text.replace("probe: /x", "checks: [/x]")), {}).warnings
    assert (warning.code, warning.where and warning.where.line) == ("spec-check-unused", 3)


@pytest.mark.parametrize(
    ("store", "names"),
    [
        ("", ["minio", "silo", "rclone"]),
        ("store: {port: 7000}\n", ["minio", "silo", "rclone"]),
        ("store: {engine: {environment: {A: b}}}\n", ["silo", "minio", "rclone"]),
        ("store: {engine: rustfs}\n", ["rustfs"]),
        ("store: {engine: {from: silo}}\n", ["silo"]),
    ],
)
def test_an_engine_that_is_named_has_no_stand_in(
    tmp_path: Path, store: str, names: list[str]
) -> None:
    spec = write(tmp_path / "algaenv.yaml", f"name: demo\n{store}")
    assert sorted(it.name for it in read(spec).store.local) == sorted(names)
    redis = read(write(spec, "name: demo\nredis: {engine: redis}\n")).redis.profile
    assert redis.binaries == ("redis-server",)
    assert len(read(write(spec, "name: demo\n")).redis.profile.binaries) == 2


@pytest.mark.parametrize("text", ["$FOO", "a$FOO/b"])
def test_a_variable_without_braces_is_warned_of_where_it_stays_text(
    tmp_path: Path, text: str
) -> None:
    write(tmp_path / "x" / "manifest.json", "{}")
    spec = write(
        tmp_path / "algaenv.yaml",
        f"name: demo\nrunner: {{environment: {{A: {text}, B: '$$E', C: 1$2}}}}\n"
        f"extensions: {{x: {{source: ./x, build: {{command: 'ls $HOME', environment: "
        f"{{D: {text}}}}}}}}}\n",
    )
    found = [(w.code, w.where and w.where.line) for w in load(spec, {"FOO": "f"}).warnings]
    assert found == [("spec-variable-bare", 2), ("spec-variable-bare", 3)]
    assert "FOO" not in str(load(spec, {"FOO": "f"}).warnings)


def test_secrets_stay_out_of_reprs(tmp_path: Path) -> None:
    spec = write(tmp_path / "algaenv.yaml", "name: demo\nredis: {password: hunter2-hunter2}\n")
    assert "hunter2" not in repr(load(spec, {}))


@pytest.mark.parametrize(
    ("below", "above"),
    [
        ("x: ./x", "x: {config: {a: 1}}"),
        ("x: {config: {a: 1}}", "x: ./x"),
        ("x: {source: ./y, config: {a: 1}}", "x: ./x"),
        ("x: ./y", "x: {source: ./x, config: {a: 1}}"),
    ],
)
@pytest.mark.parametrize("layer", ["local", "extends"])
def test_short_and_long_form_of_an_extension_merge(
    tmp_path: Path, layer: str, below: str, above: str
) -> None:
    for name in ("x", "y"):
        write(tmp_path / name / "manifest.json", "{}")
    low, high = f"extensions: {{{below}}}\n", f"extensions: {{{above}}}\n"
    if layer == "local":
        spec = write(tmp_path / "algaenv.yaml", f"name: demo\n{low}")
        write(tmp_path / "algaenv.local.yaml", high)
    else:
        write(tmp_path / "base.yaml", low)
        spec = write(tmp_path / "algaenv.yaml", f"name: demo\nextends: ./base.yaml\n{high}")
    (extension,) = read(spec).extensions
    assert extension.source == str(tmp_path / "x")
    assert extension.config == {"a": 1}


@pytest.mark.parametrize("short", ["npm run a", "[npm, run, a]"])
@pytest.mark.parametrize("short_below", [True, False])
def test_short_and_long_form_of_a_build_merge(
    tmp_path: Path, short: str, short_below: bool
) -> None:
    write(tmp_path / "x" / "manifest.json", "{}")
    forms = [f"{{x: {{source: ./x, build: {short}}}}}", "{x: {build: {timeout: 7s}}}"]
    if not short_below:
        forms = [
            "{x: {source: ./x, build: {command: b, timeout: 7s}}}",
            f"{{x: {{build: {short}}}}}",
        ]
    spec = write(tmp_path / "algaenv.yaml", f"name: demo\nextensions: {forms[0]}\n")
    write(tmp_path / "algaenv.local.yaml", f"extensions: {forms[1]}\n")
    build = read(spec).extensions[0].build
    assert build is not None
    assert build.timeout == 7
    assert build.steps[0].command == (("npm run a",) if short[0] == "n" else ("npm", "run", "a"))


def test_two_short_forms_replace_and_configuration_is_left_alone(tmp_path: Path) -> None:
    for name in ("x", "y"):
        write(tmp_path / name / "manifest.json", "{}")
    spec = write(
        tmp_path / "algaenv.yaml",
        "name: demo\nextensions: {x: ./x, y: {source: ./y, config: {build: {a: 1}}}}\n",
    )
    write(tmp_path / "algaenv.local.yaml", "extensions: {y: {config: {build: text}}}\n")
    write(tmp_path / "z" / "manifest.json", "{}")
    found = {it.name: it for it in read(spec).extensions}
    assert found["y"].config == {"build": "text"}


@pytest.mark.parametrize(
    ("declared", "granted", "gateway", "warned"),
    [
        ("cap:http.fetch", "", "", True),
        ("cap:http.fetch", "cap:storage.kv", "", True),
        ("cap:http.fetch", "", "gateway: none\n", True),
        ("cap:http.fetch", "cap:http.fetch", "", False),
        ("cap:log.emit", "", "", False),
        ("cap:http.fetch", "", "gateway: {faults: [capabilities-union]}\n", False),
        ("cap:http.fetch", "", "gateway: {faults: fixed}\n", False),
    ],
)
def test_a_grant_that_takes_nothing_away(
    tmp_path: Path, declared: str, granted: str, gateway: str, warned: bool
) -> None:
    manifest = {"name": "a.b", "version": "1.0.0", "capabilities": [declared]}
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello" / "manifest.json").write_text(json.dumps(manifest))
    hello = f"{{source: ./hello, capabilities: [{granted}]}}"
    text = f"name: demo\nextensions:\n  hello: {hello}\n{gateway}"
    warnings = load(write(tmp_path / "algaenv.yaml", text), {}).warnings
    assert [w.code for w in warnings] == (["spec-capabilities-kept"] if warned else [])
    for warning in warnings:
        assert declared in warning.summary
        assert warning.where
        assert warning.where.line == 3


def test_a_manifest_that_cannot_be_read_is_told_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "hello").mkdir()
    text = "name: demo\nextensions: {hello: {source: ./hello, capabilities: []}}\n"
    for content in ("{", "[]", '{"capabilities": 7}', "[" * 100_000, "x" * (2 << 20)):
        (tmp_path / "hello" / "manifest.json").write_text(content)
        assert load(write(tmp_path / "algaenv.yaml", text), {}).warnings == ()
