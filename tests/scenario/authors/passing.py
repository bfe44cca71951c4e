"""Tests as an author of an extension writes them; `test_testing.py` copies and runs this file.

The handler of `hello` does what the body of a call says (`tests/guests/script/README.md`).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from algaenv.testing import Response, ScratchTenant

FETCH: dict[str, object] = {
    "method": "GET",
    "url": "https://api.example.com/x?a=1&b=2",
    "headers": [],
    "body": None,
}


def do(algaenv: ScratchTenant, *calls: tuple[str, list[Any]]) -> Response:
    script = {"calls": [{"fn": name, "args": arguments} for name, arguments in calls]}
    response = algaenv.call("hello", "POST", "/x", json=script)
    assert response.status == 200, response.report()
    return response


def results(algaenv: ScratchTenant, *calls: tuple[str, list[Any]]) -> Any:
    return do(algaenv, *calls).json()["results"]


def entry(key: str, value: str) -> dict[str, Any]:
    return {"namespace": "n", "key": key, "value": value, "revision": None}


@pytest.mark.parametrize("number", range(12))
def test_a_tenant_never_sees_the_records_of_another(algaenv: ScratchTenant, number: int) -> None:
    storage = algaenv.storage("n")
    assert storage.list() == {}
    # "MQ==" is the bytes of `1`.
    (before, written) = results(
        algaenv, ("storage.get", ["n", "same"]), ("storage.put", [entry("same", "MQ==")])
    )
    assert before == {"err": "missing"}
    assert written["ok"]["revision"] == 1
    storage.put(f"own-{number}", {"number": number})
    assert storage.list() == {"same": 1, f"own-{number}": {"number": number}}
    assert storage.list("own-") == {f"own-{number}": {"number": number}}
    storage.delete("same")
    with pytest.raises(KeyError):
        storage.get("same")


def test_more_records_than_one_page_holds(algaenv: ScratchTenant) -> None:
    storage = algaenv.storage("n")
    for number in range(101):
        storage.put(f"{number:03}", number)
    assert list(storage.list().values()) == list(range(101))


@pytest.mark.parametrize("word", ["one", "two", "three", "four"])
def test_a_server_is_prepared_for_one_tenant(algaenv: ScratchTenant, word: str) -> None:
    algaenv.http.respond("GET", "https://api.example.com/x", json={"word": word}, status=203)
    response = do(algaenv, ("http.fetch", [{**FETCH, "headers": [["x-word", word]]}]))
    answer = response.json()["results"][0]["ok"]
    assert answer["status"] == 203
    assert ["content-type", "application/json"] in answer["headers"]
    (sent,) = algaenv.http.requests
    assert (sent.method, sent.url) == ("GET", FETCH["url"])
    assert sent.headers["x-word"] == word
    assert sent.headers["host"] == "api.example.com"
    assert sent.request_id == response.request_id
    assert [it.name for it in response.host_calls] == ["http.fetch"]
    assert algaenv.http.unused == []


def test_which_response_a_request_gets(algaenv: ScratchTenant) -> None:
    http = algaenv.http
    http.respond("GET", "https://api.example.com/x?b=2&a=1", text="first")
    http.respond("*", "https://api.example.com/*", content=b"then")
    http.respond("GET", "https://api.example.com/x?b=3", text="never")
    http.fail("POST", "https://api.example.com/x")
    post = {**FETCH, "method": "POST", "body": "e30="}
    *got, failed = results(
        algaenv,
        *[("http.fetch", [FETCH])] * 3,
        ("http.fetch", [{**post, "url": "https://api.example.com/y"}]),
        ("http.fetch", [post]),
    )
    assert [it["ok"]["body"] for it in got] == ["Zmlyc3Q=", "dGhlbg==", "dGhlbg==", "dGhlbg=="]
    assert failed == {"err": "transport"}
    assert http.unused[0] == ("GET", "https://api.example.com/x?b=3")
    assert http.requests[-1].json() == {}
    with pytest.raises(TypeError):
        http.respond("GET", "https://a.example/", text="a", json=1)


def test_schedules_run_when_the_clock_says_so(algaenv: ScratchTenant) -> None:
    payload = json.dumps({"calls": [{"fn": "storage.put", "args": [entry("ran", "MQ==")]}]})
    broken = json.dumps({"then": "trap"})
    made = [
        {"endpoint": "POST /x", "cron": "30 * * * *", "name": "hourly", "payload": payload},
        {"endpoint": "POST /x", "cron": "0 */2 * * *", "name": "broken", "payload": broken},
    ]
    for fields in made:
        more = {"timezone": None, "enabled": True}
        (done,) = results(algaenv, ("scheduler.create-schedule", [{**more, **fields}]))
        assert done["ok"]["success"], done
    assert {it["name"] for it in algaenv.schedules.list()} == {"hourly", "broken"}
    clock = algaenv.clock
    now = datetime.now(UTC)
    clock.now = now.replace(hour=23, minute=15, second=0, microsecond=0)
    assert clock.advance(minutes=14) == []
    runs = clock.advance(hours=3)
    assert [(it.name, it.ok, it.due and (it.due.hour, it.due.minute)) for it in runs] == [
        ("hourly", True, (23, 30)),
        ("broken", False, (0, 0)),
        ("hourly", True, (0, 30)),
        ("hourly", True, (1, 30)),
        ("broken", False, (2, 0)),
    ]
    assert algaenv.storage("n").get("ran") == 1
    assert algaenv.schedules.run("hourly").ok
    failed = algaenv.schedules.run("broken")
    assert not failed.ok
    assert "execute_failed" in (failed.detail or "")
    with pytest.raises(KeyError):
        algaenv.schedules.run("none")


def test_no_schedule_is_left_of_another_test(algaenv: ScratchTenant) -> None:
    assert algaenv.schedules.list() == []
    assert algaenv.invoices == []


def test_what_a_handler_wrote(algaenv: ScratchTenant) -> None:
    response = do(algaenv, ("logging.log-info", ["to the log"]), ("user.get-user", []))
    assert response.logs == ["to the log"]
    assert response.json()["results"][1]["ok"]["user_type"] == "internal"
    as_client = algaenv.call("hello", "POST", "/x", user="client", json={})
    assert as_client.status == 403
    assert as_client.error is not None
    assert response.json()["context"]["tenant_id"] == algaenv.id


def test_its_page(algaenv: ScratchTenant) -> None:
    page = algaenv.page()
    assert "<h1>hello</h1>" in page.text
    assert page.url.startswith(algaenv.environment.gateway)
