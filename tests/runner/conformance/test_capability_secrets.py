"""6.3: secrets, in the clear and sealed by Vault."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from .calls import Caller, Json, b64, do, envelope
from .peers import VAULT_TOKEN
from .stub import Reply, said
from .test_execute_rows import fails

FAILED = "secret_decrypt_failed"
GET, KEYS = do("secrets.get", "a"), do("secrets.list-keys")


def test_6_3_get_and_list(caller: Caller) -> None:
    secrets = {"a": "sk_1", "b": "", "ü": "é\n"}
    got = caller.does(
        *(do("secrets.get", name) for name in secrets),
        do("secrets.get", "A"),
        KEYS,
        secret_envelope=envelope(secrets),
    )
    assert got[:3] == [{"ok": value} for value in secrets.values()]
    assert got[3] == {"err": "missing"}
    assert sorted(got[4]["ok"]) == sorted(secrets)


@pytest.mark.parametrize("absent", [None, ...], ids=["6.3-null", "6.3-absent"])
def test_6_3_without_an_envelope(caller: Caller, absent: object) -> None:
    assert caller.does(GET, KEYS, secret_envelope=absent) == [{"err": "missing"}, {"ok": []}]


@pytest.mark.parametrize(
    "sealed",
    [
        pytest.param({"ciphertext_b64": ""}, id="6.3-empty"),
        pytest.param({"ciphertext_b64": " \n"}, id="6.3-blank"),
        pytest.param(
            {"ciphertext_b64": " ", "algorithm": "vault-transit:v1"}, id="6.3-blank-vault"
        ),
        pytest.param(envelope({}), id="6.3-no-secrets"),
    ],
)
def test_6_3_empty_envelopes(caller: Caller, sealed: Json) -> None:
    assert caller.does(GET, KEYS, secret_envelope=sealed) == [{"err": "missing"}, {"ok": []}]


@pytest.mark.parametrize(
    "algorithm", [None, ..., "inline/base64", "", "INLINE", "anything", "transit"]
)
def test_6_3_whatever_is_not_vault_is_in_the_clear(caller: Caller, algorithm: object) -> None:
    sealed = envelope({"a": "1"})
    if algorithm is not ...:
        sealed["algorithm"] = algorithm
    assert caller.gets(GET, secret_envelope=sealed) == {"ok": "1"}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("no base64!", id="6.3-no-base64"),
        pytest.param(b64('{"a":"1"}').rstrip("=") + "x", id="6.3-wrong-padding"),
        pytest.param(f" {b64('{}')}", id="6.3-not-trimmed"),
        pytest.param(b64("no json"), id="6.3-no-json"),
        pytest.param(b64('["a"]'), id="6.3-array"),
        pytest.param(b64('{"a": 1}'), id="6.3-number"),
        pytest.param(b64('{"a": null}'), id="6.3-null"),
        pytest.param(b64('{"a": {"b": "c"}}'), id="6.3-nested"),
        pytest.param(b64(b'{"a": "\xff"}'), id="6.3-not-utf8"),
    ],
)
@pytest.mark.parametrize("granted", [True, False], ids=["granted", "not-granted"])
def test_6_3_envelopes_that_cannot_be_read(caller: Caller, *, text: str, granted: bool) -> None:
    changes: Json = {"secret_envelope": envelope(text)}
    if not granted:
        changes["providers"] = []
    fails(caller.send({"calls": [GET]}, changes), 500, FAILED)
    (event,) = caller.peers.redis.events(caller.key())
    assert (event["stream"], event["level"]) == ("log", "error")
    assert event["message"].startswith("secret envelope decryption failed: ")
    assert event["request"] == caller.request_id


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("no base64!", "secret_envelope.base64_decode_failed: "),
        (b64("no json"), "secret_envelope.json_parse_failed: "),
    ],
)
def test_6_3_the_detail_is_in_the_debug_stream(caller: Caller, *, text: str, detail: str) -> None:
    caller.send(None, {"secret_envelope": envelope(text)})
    (event,) = caller.peers.redis.events(caller.key())
    assert event["message"].startswith(f"secret envelope decryption failed: {detail}")


@pytest.mark.parametrize(
    "expires_at",
    [
        pytest.param("2001-01-01T00:00:00Z", id="6.3-past"),
        pytest.param("no date", id="6.3-no-date"),
        pytest.param("", id="6.3-empty"),
        pytest.param("2999-01-01T00:00:00+02:00", id="6.3-future"),
    ],
)
def test_6_3_expiry_does_not_reject(caller: Caller, expires_at: str) -> None:
    sealed = envelope({"a": "1"}, expires_at=expires_at)
    assert caller.gets(GET, secret_envelope=sealed) == {"ok": "1"}


def test_6_3_other_ciphertext_other_secrets(caller: Caller) -> None:
    for value in ("1", "2", "1"):
        sealed = envelope({"a": value}, version="v1")
        assert caller.gets(GET, secret_envelope=sealed) == {"ok": value}


# Vault


class Vault:
    """A key of a case's own."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.key = f"key-{uuid.uuid4().hex}"
        self.sealed = f"vault:v1:{uuid.uuid4().hex}"

    def answers(self, *replies: Reply) -> None:
        self.caller.peers.vault.on(self.key, *replies)

    def envelope(self, **more: object) -> Json:
        return {
            "ciphertext_b64": self.sealed,
            "algorithm": "vault-transit:v1",
            "key_path": self.key,
            **more,
        }


@pytest.fixture
def vault(caller: Caller) -> Vault:
    made = Vault(caller)
    made.answers(said({"data": {"plaintext": b64('{"a": "of-vault"}')}}))
    return made


def test_6_3_vault(vault: Vault) -> None:
    assert vault.caller.gets(GET, secret_envelope=vault.envelope()) == {"ok": "of-vault"}
    (asked,) = vault.caller.peers.vault.seen(vault.key)
    assert (asked.method, asked.target) == ("POST", f"/v1/transit/decrypt/{vault.key}")
    assert asked.header("x-vault-token") == VAULT_TOKEN
    assert asked.header("x-vault-namespace") is None
    assert asked.json == {"ciphertext": vault.sealed}


@pytest.mark.profile("configured")
@pytest.mark.parametrize(
    ("mount", "path"),
    [
        pytest.param(..., "mounted", id="6.3-mount-of-the-environment"),
        pytest.param("other", "other", id="6.3-mount-of-the-envelope"),
        pytest.param("/a/b/", "a/b", id="6.3-slashes-around-the-mount"),
    ],
)
def test_6_3_vault_by_its_other_names(vault: Vault, *, mount: object, path: str) -> None:
    sealed = vault.envelope(key_path=f"/{vault.key}/")
    if mount is not ...:
        sealed["mount"] = mount
    assert vault.caller.gets(GET, secret_envelope=sealed) == {"ok": "of-vault"}
    (asked,) = vault.caller.peers.vault.seen(vault.key)
    assert asked.target == f"/v1/{path}/decrypt/{vault.key}"
    assert asked.header("x-vault-namespace") == "team-a"


@pytest.mark.parametrize("algorithm", [" VAULT-Transit:v1 ", "vault-transit", "vault-transit/v9"])
def test_6_3_names_of_the_algorithm(vault: Vault, algorithm: str) -> None:
    sealed = vault.envelope(algorithm=algorithm)
    assert vault.caller.gets(GET, secret_envelope=sealed) == {"ok": "of-vault"}


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(403), id="6.3-403"),
        pytest.param(Reply(404), id="6.3-404"),
        pytest.param(Reply(500), id="6.3-500"),
        pytest.param(Reply(200, b"no json"), id="6.3-no-json"),
        pytest.param(said({}), id="6.3-no-data"),
        pytest.param(said({"data": {}}), id="6.3-no-plaintext"),
        pytest.param(said({"data": {"plaintext": 5}}), id="6.3-number"),
        pytest.param(said({"data": {"plaintext": "!"}}), id="6.3-no-base64"),
        pytest.param(said({"data": {"plaintext": b64("no json")}}), id="6.3-no-json-inside"),
        pytest.param(said({"data": {"plaintext": b64('{"a": 1}')}}), id="6.3-number-inside"),
    ],
)
def test_6_3_what_vault_may_say(vault: Vault, reply: Reply) -> None:
    vault.answers(reply)
    outcome = vault.caller.send(None, {"secret_envelope": vault.envelope()})
    fails(outcome, 500, FAILED)
    assert VAULT_TOKEN not in str(vault.caller.peers.redis.events(vault.caller.key()))


@pytest.mark.parametrize(("before", "after"), [("", "\n"), (" \n", "\r\n ")])
def test_6_3_what_vault_says_is_trimmed(vault: Vault, *, before: str, after: str) -> None:
    plaintext = before + b64('{"a": "of-vault"}') + after
    vault.answers(said({"data": {"plaintext": plaintext}}))
    assert vault.caller.gets(GET, secret_envelope=vault.envelope()) == {"ok": "of-vault"}


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        pytest.param(
            said({"errors": ["permission denied", "no policy"]}, status=403),
            "permission denied; no policy",
            id="6.3-errors",
        ),
        pytest.param(
            said({"errors": [f"bad token {VAULT_TOKEN}"]}, status=403),
            "bad token ***",
            id="6.3-never-the-token",
        ),
        pytest.param(Reply(502, b"<h1>no\nproxy</h1>"), "<h1>no proxy</h1>", id="6.3-no-json"),
        pytest.param(Reply(503), "http 503", id="6.3-no-words"),
    ],
)
def test_6_3_the_words_of_vault_are_in_the_debug_stream(
    vault: Vault, *, reply: Reply, words: str
) -> None:
    vault.answers(reply)
    fails(vault.caller.send(None, {"secret_envelope": vault.envelope()}), 500, FAILED)
    (event,) = vault.caller.peers.redis.events(vault.caller.key())
    assert event["message"].endswith(words)
    assert VAULT_TOKEN not in str(event)


@pytest.mark.parametrize("absent", [None, ...], ids=["6.3-null", "6.3-absent"])
def test_6_3_vault_needs_a_key_path(vault: Vault, absent: object) -> None:
    sealed = vault.envelope()
    if absent is None:
        sealed["key_path"] = None
    else:
        del sealed["key_path"]
    fails(vault.caller.send(None, {"secret_envelope": sealed}), 500, FAILED)


@pytest.mark.profile("closed")
def test_6_3_no_vault_is_configured(vault: Vault) -> None:
    fails(vault.caller.send(None, {"secret_envelope": vault.envelope()}), 500, FAILED)


@pytest.mark.profile("lonely")
def test_6_3_vault_is_not_there(vault: Vault) -> None:
    fails(vault.caller.send(None, {"secret_envelope": vault.envelope()}), 500, FAILED)


def test_6_3_what_was_unsealed_is_kept_for_a_while(vault: Vault) -> None:
    for _ in range(8):
        assert vault.caller.gets(GET, secret_envelope=vault.envelope()) == {"ok": "of-vault"}
    # Once for each process that answers.
    assert len(vault.caller.peers.vault.seen(vault.key)) < 8


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"context.tenant_id": "another"}, id="6.3-tenant"),
        pytest.param({"context.extension_id": "another"}, id="6.3-extension"),
        pytest.param({"context.install_id": "another"}, id="6.3-install"),
        pytest.param({"context.install_id": None}, id="6.3-no-install"),
        pytest.param({"secret_envelope.version": "v2"}, id="6.3-version"),
    ],
)
def test_6_3_for_whom_it_is_kept(vault: Vault, changes: Json) -> None:
    sealed = {"secret_envelope": vault.envelope()}
    vault.caller.send(None, sealed)
    before = len(vault.caller.peers.vault.seen(vault.key))
    assert vault.caller.send(None, sealed | changes).status == 200
    assert len(vault.caller.peers.vault.seen(vault.key)) == before + 1


def test_6_3_failures_are_not_kept(vault: Vault) -> None:
    good = said({"data": {"plaintext": b64('{"a": "1"}')}})
    vault.answers(Reply(503), good)
    sealed = {"secret_envelope": vault.envelope()}
    fails(vault.caller.send(None, sealed), 500, FAILED)
    assert vault.caller.send(None, sealed).status == 200


def test_6_3_it_is_kept_no_longer_than_it_is_valid(vault: Vault) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=1.2)).isoformat().replace("+00:00", "Z")
    sealed = vault.envelope(expires_at=soon)
    for _ in range(8):
        vault.caller.gets(GET, secret_envelope=sealed)
    vault.answers(said({"data": {"plaintext": b64('{"a": "again"}')}}))
    until = time.monotonic() + 5
    while vault.caller.gets(GET, secret_envelope=sealed) != {"ok": "again"}:
        assert time.monotonic() < until, "kept beyond its expiry"
        time.sleep(0.05)
