"""6.1, 6.2, 6.7: the context, words for the log, and the person behind a call."""

from __future__ import annotations

import pytest

from .calls import USER, Caller, do

V1, V2 = do("user.get-user"), do("user-v2.get-user")
SAME = ("user_id", "user_email", "user_name", "user_type", "client_name")


def test_6_1_the_context(caller: Caller) -> None:
    assert caller.gets(do("context.get-context")) == {
        "ok": {
            "request_id": caller.request_id,
            "tenant_id": caller.tenant,
            "extension_id": caller.extension,
            "install_id": caller.install,
            "version_id": "v-1",
        }
    }


def test_6_1_options_of_the_context(caller: Caller) -> None:
    given = caller.gets(
        do("context.get-context"),
        context__request_id=None,
        context__install_id="",
        context__version_id=...,
    )["ok"]
    assert (given["request_id"], given["install_id"], given["version_id"]) == (None, "", None)


@pytest.mark.parametrize("level", ["info", "warn", "error"])
@pytest.mark.parametrize("message", ["", "words", "ü 𝄞\n\0\x1b[31m", "x" * 5000])
def test_6_2_words(caller: Caller, *, level: str, message: str) -> None:
    assert caller.gets(do(f"logging.log-{level}", message)) == {"ok": None}
    (event,) = caller.peers.redis.events(caller.key())
    assert (event["level"], event["message"]) == (level, message)


def test_6_7_user(caller: Caller) -> None:
    first, second = caller.does(V1, V2, user=USER)
    same = {name: USER[name] for name in SAME} | {"tenant_id": caller.tenant}
    assert first == {"ok": same}
    assert second == {
        "ok": same
        | {
            "client_id": "c-1",
            "additional_fields": [["Beta", "3"], ["alpha", "2"], ["zeta", "1"]],
        }
    }


def test_6_7_user_with_no_more_than_needed(caller: Caller) -> None:
    least = {name: "" for name in SAME if name != "client_name"}
    first, second = caller.does(V1, V2, user=least)
    assert first["ok"]["client_name"] == ""
    assert (second["ok"]["client_id"], second["ok"]["additional_fields"]) == (None, [])


def test_6_7_company_name(caller: Caller) -> None:
    user = {name: value for name, value in USER.items() if name != "client_name"}
    given = caller.gets(V1, user=user | {"company_name": "Company"})
    assert given["ok"]["client_name"] == "Company"


def test_6_7_fields_in_byte_order(caller: Caller) -> None:
    fields = {name: name for name in ("b", "a", "B", "é", "z", "\U0001d11e", "\uffff", "", "aa")}
    given = caller.gets(V2, user=USER | {"additional_fields": fields})["ok"]["additional_fields"]
    assert given == [[name, name] for name in sorted(fields, key=str.encode)]


@pytest.mark.parametrize("absent", [None, ...], ids=["6.7-null", "6.7-absent"])
def test_6_7_nobody(caller: Caller, absent: object) -> None:
    assert caller.does(V1, V2, user=absent) == [{"err": "not-available"}] * 2
