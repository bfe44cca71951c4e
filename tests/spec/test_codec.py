"""What is encoded comes back equal, through JSON text."""

from __future__ import annotations

import json
import typing
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algaenv.model.intent import (
    AppServer,
    BuildIntent,
    BuildStep,
    BundledGateway,
    BundledImage,
    ContextImage,
    ExtensionIntent,
    ExternalDatabase,
    GatewayUser,
    Intent,
    ManagedDatabase,
    NamedImage,
    NoGateway,
    ObjectSeed,
    Profile,
    PullRef,
    RecordSeed,
    RedisIntent,
    RunnerIntent,
    SeedIntent,
    SqlSeed,
    StoreIntent,
    TenantIntent,
)
from algaenv.model.problem import Problem, Where
from algaenv.model.secret import Secret
from algaenv.spec.cache import class_table, decode, encode, intent_classes, with_build_steps
from algaenv.spec.load import load

TEXT = st.text(max_size=6)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
SECRETS = st.builds(Secret, TEXT)
PORTS = st.none() | st.integers(1, 65535)
SECONDS = st.floats(0.001, 1e6)
PROFILES = st.builds(Profile, command=st.lists(TEXT).map(tuple))


def intents() -> st.SearchStrategy[Intent]:
    store = st.builds(
        StoreIntent,
        profile=PROFILES,
        local=st.lists(PROFILES, max_size=2).map(tuple),
        access_key=st.none() | SECRETS,
        secret_key=st.none() | SECRETS,
    )
    steps = st.lists(st.builds(BuildStep, timeout=SECONDS), max_size=2).map(tuple)
    build = st.builds(BuildIntent, steps=steps, timeout=SECONDS)
    extension = st.builds(
        ExtensionIntent,
        build=st.none() | build,
        config=st.dictionaries(TEXT, JSON, max_size=3),
        secrets=st.dictionaries(TEXT, SECRETS, max_size=2),
    )
    image = st.builds(BundledImage) | st.builds(NamedImage) | st.builds(ContextImage)
    fixtures = st.lists(st.dictionaries(TEXT, JSON, max_size=2), max_size=2).map(tuple)
    gateway = st.builds(
        BundledGateway,
        port=PORTS,
        users=st.lists(st.builds(GatewayUser), max_size=1).map(tuple),
        clients=fixtures,
        services=fixtures,
    )
    records = st.builds(
        RecordSeed, records=st.dictionaries(TEXT, st.dictionaries(TEXT, JSON, max_size=2))
    )
    seed = st.builds(
        SeedIntent,
        sql=st.lists(st.builds(SqlSeed), max_size=1).map(tuple),
        objects=st.lists(st.builds(ObjectSeed), max_size=1).map(tuple),
        records=st.lists(records, max_size=1).map(tuple),
    )
    return st.builds(
        Intent,
        seed=seed,
        gateway=gateway | st.builds(AppServer) | st.builds(NoGateway),
        store=store,
        redis=st.builds(RedisIntent, profile=PROFILES, password=st.none() | SECRETS),
        database=st.builds(ManagedDatabase, profile=PROFILES, password=st.none() | SECRETS)
        | st.builds(ExternalDatabase, url=SECRETS),
        runner=st.builds(
            RunnerIntent,
            image=image,
            port=PORTS,
            environment=st.dictionaries(TEXT, TEXT | SECRETS, max_size=3),
        ),
        tenant=st.builds(TenantIntent),
        extensions=st.lists(extension, max_size=2).map(tuple),
        ready_timeout=SECONDS,
    )


CLASSES = class_table(
    [
        *typing.get_args(ManagedDatabase | ExternalDatabase | BundledImage | NamedImage),
        *typing.get_args(ContextImage | Intent | StoreIntent | RedisIntent | RunnerIntent),
        *typing.get_args(TenantIntent | ExtensionIntent | BuildIntent | BuildStep),
        *typing.get_args(Profile | PullRef),
        *typing.get_args(BundledGateway | AppServer | NoGateway | GatewayUser),
        *typing.get_args(SeedIntent | SqlSeed | ObjectSeed | RecordSeed),
        *typing.get_args(Problem | Where),
    ]
)


def round_trip(value: object) -> object:
    return decode(json.loads(json.dumps(encode(value))), CLASSES)


@settings(deadline=None, database=None)
@given(intents())
def test_intents_come_back(intent: Intent) -> None:
    assert round_trip(intent) == intent


@settings(deadline=None, database=None)
@given(JSON | st.tuples(JSON, JSON) | st.builds(Problem) | SECRETS)
def test_values_come_back(value: object) -> None:
    back = round_trip(value)
    assert back == value
    assert type(back) is type(value)


@dataclass(frozen=True)
class UnknownClass:
    name: str


@pytest.mark.parametrize(
    "value", [{1: "a"}, {"a", "b"}, float("nan"), Path("a"), object(), Where, [b"x"]]
)
def test_what_would_not_come_back_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"@": "UnknownClass", "name": "a"},
        {"@": "Where", "file": "a", "line": 1},
        {"@": "Where", "file": "a", "line": 1, "column": 1, "more": 1},
        {"@": "Secret", "value": 1},
        {"{}": [1]},
        {"{}": {}, "more": 1},
        {"[]": {}},
        [{"a": 1}],
    ],
)
def test_what_was_never_encoded_is_refused(plain: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - that it is a ValueError is the contract
        decode(plain, CLASSES)


def test_a_build_of_an_earlier_version_is_one_step(tmp_path: Path) -> None:
    """What version 0.1.0 saved of an environment is taken over by `up` and `down`."""
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello" / "manifest.json").write_text("{}")
    spec = tmp_path / "algaenv.yaml"
    spec.write_text(
        "version: 1\nname: demo\nextensions: {hello: {source: hello, build: make all}}\n"
    )
    intent = load(spec, {}).intent
    now = encode(intent)
    assert with_build_steps(json.loads(json.dumps(now))) == now
    earlier = json.loads(json.dumps(now))
    build = earlier["extensions"][0]["build"]
    (step,) = build.pop("steps")
    build |= {"command": step["command"], "shell": step["shell"]}
    found = decode(with_build_steps(earlier), class_table(intent_classes()))
    assert isinstance(found, Intent)
    made = found.extensions[0].build
    assert made is not None
    assert (made.steps[0].command, made.steps[0].shell) == (("make all",), True)
    assert made.timeout == 600
