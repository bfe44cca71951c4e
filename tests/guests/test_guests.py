"""Every guest is what it says: it builds, imports what it should, and does what it is asked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from wasmtime import WasmtimeError
from wasmtime.component import Variant

from tests.params import slow_params

from . import NAMES, built, made
from .host import Answer, call, imports, record
from .recipe import HERE, WIT
from .recipes import RECIPES
from .world import CASES, reply

WITHOUT_WASI = {"minimal", "everything-js", "python-stub"}
SCRIPTED = ("script", *slow_params("everything-js", "plain-js"))
"""The last two hold a JavaScript engine of 12 MB, which is compiled before the first call."""
SMALL = {"minimal", "script"}


def scripted(name: str, **script: object) -> Answer:
    return call(built(name), body=json.dumps(script).encode())


def told(answer: Answer) -> Any:
    assert answer.body is not None
    return json.loads(answer.body)


@pytest.mark.parametrize(
    "name",
    [
        it
        for name in NAMES
        if not name.startswith(("sample-", "mistakes-"))
        for it in ([name] if name in SMALL else slow_params(name))
    ],
)
def test_a_guest_answers_and_imports_only_what_its_tool_chain_does(name: str) -> None:
    wasi = [found for found in imports(built(name)) if not found.startswith("alga:extension/")]
    assert bool(wasi) == (name not in WITHOUT_WASI)
    assert any("wasi:http/" in found for found in wasi) == (name in {"plain-js", "fetch-js"})
    assert call(built(name), url="/").status == 200


def test_the_world_is_all_25_functions() -> None:
    world = set(re.findall(r"^  ([a-z-]+): func", WIT.read_text(), re.M))
    assert {name.split(".")[1] for name, _, _ in CASES} == world - {"handler"}
    assert len({name for name, _, _ in CASES}) == 25


@pytest.mark.parametrize("name", SCRIPTED)
def test_a_script_calls_every_function_with_its_values(name: str) -> None:
    heard: list[tuple[str, list[Any]]] = []
    calls = [{"fn": function, "args": args} for function, args, _ in CASES]
    replies = {function: reply(function, heard) for function, _, _ in CASES}
    body = json.dumps({"calls": calls}).encode()
    found = told(call(built(name), body=body, replies=replies))
    for (function, _, value), result in zip(CASES, found["results"], strict=True):
        match value:
            case {"bytes": text}:
                assert result == {"ok": text}, function
            case Variant():
                assert result == {"err": value.payload}, function
            case _:
                assert result == {"ok": value}, function
    given = dict(heard)
    assert [function for function, _ in heard] == [function for function, _, _ in CASES]
    assert given["logging.log-warn"] == ["ababab"]
    assert given["logging.log-error"] == ["ü"]
    assert given["storage.put"][0]["revision"] == 2**53 - 1
    assert given["http.fetch"][0]["body"] == b"\x00\xffbytes"
    item = given["invoicing.create-manual-invoice"][0]["items"][0]
    assert item["rate"] == float("inf")
    assert item["discount-type"] == "fixed"
    assert given["scheduler.update-schedule"][1]["enabled"] is False


@pytest.mark.parametrize("name", SCRIPTED)
def test_an_answer_is_as_the_script_wants(name: str) -> None:
    wanted = {"status": 599, "headers": [["a", "1"], ["a", "2"]], "body": "hé"}
    answer = scripted(name, respond=wanted)
    assert (answer.status, answer.headers) == (599, (("a", "1"), ("a", "2")))
    assert answer.body == "hé".encode()
    assert scripted(name, respond={"body_size": 100_000}).body == b"x" * 100_000
    assert scripted(name, respond={"body_b64": ""}).body == b""
    assert scripted(name, respond={}).body is None


@pytest.mark.parametrize("name", SCRIPTED)
def test_what_is_no_script_is_told_back(name: str) -> None:
    headers = {"Accept": "a", "x-B": "b"}
    found = told(call(built(name), method="odd", headers=headers, body=b"\xff\x00"))
    seen = found["request"]
    assert seen == {
        "method": "odd",
        "url": "/x?a=b",
        "headers": [["Accept", "a"], ["x-B", "b"]],
        "body_b64": "/wA=",
    }
    assert found["script"]
    assert told(call(built(name), body=b""))["request"]["body_b64"] == ""
    nothing = told(call(built(name)))
    assert (nothing["request"]["body_b64"], nothing["script"]) == (None, None)
    assert nothing["context"]["tenant_id"] == "t1"
    assert nothing["context"]["install_id"] is None


@pytest.mark.parametrize("name", SCRIPTED)
def test_a_mistake_in_a_script_is_called_one(name: str) -> None:
    calls = [{"fn": "no.such"}, {"fn": "secrets.get", "args": [7]}]
    assert ["bad" in result for result in told(scripted(name, calls=calls))["results"]] == [
        True
    ] * 2


@pytest.mark.parametrize("name", SCRIPTED)
@pytest.mark.parametrize("how", ["trap", "panic", "grow", "recurse"])
def test_a_guest_ends_as_it_is_told(name: str, how: str) -> None:
    with pytest.raises(WasmtimeError):
        scripted(name, then=how)


@pytest.mark.parametrize("how", ["exit", {"exit": 3}])
def test_a_guest_leaves_through_wasi(how: object) -> None:
    with pytest.raises(WasmtimeError):
        scripted("script", then=how)


def test_a_guest_knocks_at_every_door_of_wasi() -> None:
    asked: list[tuple[str, list[object]]] = [
        ("env.vars", []),
        ("env.args", []),
        ("files.preopens", []),
        ("net.connect", ["127.0.0.1:80"]),
        ("net.resolve", ["localhost:80"]),
        ("stdin.read", []),
        ("memory.grow", [100_000]),
    ]
    calls = [{"fn": name, "args": args} for name, args in asked]
    answer = scripted("script", calls=calls, stdout=["out"], stderr=["a\nb"])
    results = [result.get("ok", result.get("err")) for result in told(answer)["results"]]
    assert results[:3] == [[], [], {"names": [], "writable": False}]
    assert "denied" in results[3]
    assert "lookup" in results[4]
    assert results[5:] == ["", "refused"]
    assert answer.said == {"stdout": "out", "stderr": "a\nb"}


@pytest.mark.parametrize(("name", "ticks"), [("script", 30), *slow_params(("everything-js", 3))])
def test_a_guest_computes_and_repeats(name: str, ticks: int) -> None:
    calls = [{"fn": "spin", "args": [ticks]}, {"fn": "times", "args": [3, {"fn": "no.such"}]}]
    assert "bad" in told(scripted(name, calls=calls))["results"][1]


@pytest.mark.slow
def test_the_python_guest_tells_its_errors() -> None:
    answer = call(built("python"), url="/print")
    assert answer.said == {"stdout": "out of python\n", "stderr": "wrong in python\n"}
    with pytest.raises(WasmtimeError) as failed:
        call(built("python"), url="/throw")
    assert "as it was asked to" in str(failed.value.__notes__)


@pytest.mark.slow
def test_a_guest_that_fetches_around_its_host_says_what_became_of_it() -> None:
    found = told(call(built("fetch-js"), headers={"x-fetch-url": "http://127.0.0.1:9/"}))
    assert "NetworkError" in found["error"]


@pytest.mark.slow
def test_what_the_repository_holds_is_made_from_its_sources() -> None:
    """`python -m tests.guests --commit` renews it."""
    for recipe in RECIPES.values():
        if recipe.prebuilt is not None:
            assert recipe.prebuilt.current(recipe.ingredients())
            assert recipe.prebuilt.file.stat().st_size < 1 << 20
            assert imports(recipe.prebuilt.file) == imports(made(recipe.name))


def test_a_committed_guest_names_no_path_of_the_machine_that_built_it() -> None:
    for file in HERE.glob("prebuilt/*.wasm"):
        assert str(Path.home()).encode() not in file.read_bytes()
        assert str(HERE.parents[1]).encode() not in file.read_bytes()


@pytest.mark.slow
def test_the_command_says_where_a_guest_is_and_refuses_a_name_it_does_not_know() -> None:
    command = [sys.executable, "-m", "tests.guests"]
    said = subprocess.run([*command, "script"], capture_output=True, text=True, check=True)
    assert re.match(r"script  [\d,]+ bytes  /.*script.wasm\n", said.stdout)
    wrong = subprocess.run([*command, "nobody"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "no such guest: nobody" in wrong.stderr


def one_host(**more: Any) -> dict[str, Any]:
    """Replies for the paths of `everything-js`, and the calls that were made."""
    calls: list[str] = []

    def noting(name: str, value: Any) -> Any:
        def noted(store: object, *args: object) -> Any:
            calls.append(name)
            return value

        return noted

    context = record(
        request_id="r1", tenant_id="t1", extension_id="e1", install_id=None, version_id=None
    )
    fetched = record(status=203, headers=[], body=b'{"items": []}')
    replies = {
        "context.get-context": context,
        "logging.log-info": None,
        "logging.log-warn": None,
        "secrets.get": Variant("ok", "sk_live"),
        "secrets.list-keys": ["ALGA_API_KEY"],
        "storage.get": "denied",
        "user.get-user": "not-available",
        "http.fetch": fetched,
        "ui-proxy.call-route": b"\x01\x02",
    } | more
    return {name: noting(name, value) for name, value in replies.items()} | {"calls": calls}


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/typical", "/typical-io"])
def test_the_typical_calls_are_six_of_the_host(path: str) -> None:
    host = one_host()
    calls = host.pop("calls")
    answer = told(call(built("everything-js"), url=path, replies=host))
    assert len(calls) == 6
    assert ("http.fetch" in calls) == (path == "/typical-io")
    assert (answer["tenant"], answer["secret"], answer["storage"]) == ("t1", 7, "denied")
    assert answer["count"] == (0 if path == "/typical-io" else 6)


@pytest.mark.slow
def test_the_fixture_of_the_original_answers_as_it_did() -> None:
    granted, denied = one_host(), one_host(**{"secrets.get": Variant("err", "denied")})
    for host in (granted, denied):
        del host["calls"]

    def at(path: str, host: dict[str, Any]) -> Any:
        answer = call(built("everything-js"), url=path, body=b"\x07", replies=host)
        assert answer.headers[1] == ("x-generated-by", "js-component")
        return told(answer)

    secrets = at("/dynamic/secrets", granted)
    assert (secrets["ok"], secrets["path"]) == (True, "/dynamic/secrets")
    assert secrets["secrets"] == {"value": "sk_live", "keys": ["ALGA_API_KEY"], "error": None}
    refused = at("/dynamic/secrets", denied)
    assert not refused["ok"]
    assert "denied" in refused["secrets"]["error"]
    assert at("/dynamic/ui-proxy", granted)["proxy"] == {"response": [1, 2], "error": None}
    assert at("/dynamic/echo?a=b", granted)["echo"] == [7]


@pytest.mark.slow
def test_the_paths_of_the_benchmarks() -> None:
    guest = built("everything-js")
    assert call(guest, url="/min").status == 204
    assert told(call(guest, url="/small")) == {"ok": True}
    assert told(call(guest, url="/fib/15")) == {"fib": 610}
    echo = call(guest, url="/echo", headers={"a": "b"}, body=b"\x00" * 100_000)
    assert (echo.body, echo.headers) == (b"\x00" * 100_000, (("a", "b"),))
    for path in ("/throw", "/deep", "/hog"):
        with pytest.raises(WasmtimeError):
            call(guest, url=path)
