"""Secrets before the handler runs: inline ones, and a stub of Vault over real HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from algaenv.runner.execute.request_models import ExecuteContext, SecretEnvelope
from algaenv.runner.host import secret_envelope
from algaenv.runner.host.secret_envelope import SecretEnvelopes, SecretFailure
from algaenv.runner.host.settings import HostSettings

from .host import Loop
from .stub import Stub, StubResponse

SECRET = "sk_live_hush"
TOKEN = "vault-token-77"


def sealed(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.b64encode(text.encode()).decode()


def caller(**fields: Any) -> ExecuteContext:
    known = {"tenant_id": "t", "extension_id": "e", "install_id": "i", "content_hash": "sha256:x"}
    return ExecuteContext(**(known | fields))


Resolve = Callable[..., Mapping[str, str] | None]


@pytest.fixture
def resolve(loop: Loop, server: Stub, tmp_path: Path) -> Resolve:
    """Open an envelope of these fields, before a Vault; the same cache each time."""
    token = tmp_path / "token"
    token.write_text(f"  {TOKEN}\n")
    peers = HostSettings.read({"VAULT_ADDR": f"{server.url}/", "ALGA_VAULT_TOKEN_FILE": str(token)})
    envelopes = SecretEnvelopes(peers, loop.outbound)

    def open_one(ciphertext: str, who: ExecuteContext | None = None, **fields: Any) -> Any:
        envelope = SecretEnvelope(ciphertext_b64=ciphertext, **fields)
        return loop.run(envelopes.resolve(envelope, who or caller()))

    return open_one


def test_no_envelope(loop: Loop) -> None:
    envelopes = SecretEnvelopes(HostSettings.read({}), loop.outbound)
    assert loop.run(envelopes.resolve(None, caller())) is None


@pytest.mark.parametrize("algorithm", [None, "", "inline/base64", "anything", "xvault-transit"])
def test_inline(resolve: Resolve, server: Stub, algorithm: str | None) -> None:
    secrets = {"ALGA_API_KEY": "sk_test_123", "SERVICE_TOKEN": "abc123"}
    assert resolve(sealed(secrets), version="v1", algorithm=algorithm) == secrets
    assert server.asked == []


def test_another_ciphertext_is_another_secret(resolve: Resolve) -> None:
    assert resolve(sealed({"ALGA_API_KEY": "sk_old"}), version="v1") == {"ALGA_API_KEY": "sk_old"}
    newer = {"ALGA_API_KEY": "sk_new", "ANALYTICS_TOKEN": "tok_8"}
    assert resolve(sealed(newer), version="v2") == newer


@pytest.mark.parametrize("ciphertext", ["", "  \n"])
@pytest.mark.parametrize("algorithm", [None, "vault-transit:v1"])
def test_a_blank_one(resolve: Resolve, ciphertext: str, algorithm: str | None) -> None:
    assert resolve(ciphertext, algorithm=algorithm) == {}


@pytest.mark.parametrize(
    ("ciphertext", "detail"),
    [
        ("!", "secret_envelope.base64_decode_failed: "),
        (sealed({"ab": SECRET}).rstrip("="), "secret_envelope.base64_decode_failed: "),
        (f" {sealed({'a': SECRET})}", "secret_envelope.base64_decode_failed: "),
        (sealed(f'{{"a": "{SECRET}'), "secret_envelope.json_parse_failed: "),
        (sealed({"a": SECRET, "b": 5}), "secret_envelope.json_parse_failed: "),
        (sealed({"a": SECRET, "b": None}), "secret_envelope.json_parse_failed: "),
        (sealed([SECRET]), "secret_envelope.json_parse_failed: "),
        (sealed(f'{{"a": "{SECRET}"}} {SECRET}'), "secret_envelope.json_parse_failed: "),
        (base64.b64encode(b'{"a": "\xff"}').decode(), "secret_envelope.json_parse_failed: "),
    ],
)
def test_what_cannot_be_opened(resolve: Resolve, ciphertext: str, detail: str) -> None:
    with pytest.raises(SecretFailure) as caught:
        resolve(ciphertext)
    assert caught.value.detail.startswith(detail)
    assert SECRET not in caught.value.detail
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_the_question_to_vault(resolve: Resolve, server: Stub) -> None:
    server.respond_json({"data": {"plaintext": sealed({"a": SECRET})}})
    secrets = resolve(
        "vault:v1:xyz", algorithm=" Vault-Transit:v1 ", key_path="/alga/t 1/", mount=None
    )
    assert secrets == {"a": SECRET}
    asked = server.last
    assert (asked.method, asked.target) == ("POST", "/v1/transit/decrypt/alga/t%201")
    assert asked.json() == {"ciphertext": "vault:v1:xyz"}
    assert asked.one("x-vault-token") == TOKEN
    assert asked.one("content-type") == "application/json"
    assert "x-vault-namespace" not in asked.names()


@pytest.mark.parametrize(
    ("mount", "used"), [("/own/m/", "own/m"), (None, "from-env"), ("", "from-env")]
)
def test_mount_and_namespace(
    loop: Loop, server: Stub, tmp_path: Path, mount: str | None, used: str
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    peers = HostSettings.read(
        {
            "ALGA_VAULT_ADDR": f"{server.url}/vault/",
            "ALGA_VAULT_TOKEN_FILE": str(tmp_path / "token"),
            "VAULT_NAMESPACE": "team",
            "ALGA_VAULT_TRANSIT_MOUNT": "from-env",
        }
    )
    server.respond_json({"data": {"plaintext": sealed({})}})
    envelope = SecretEnvelope(
        ciphertext_b64="x", algorithm="vault-transit", key_path="k", mount=mount
    )
    assert loop.run(SecretEnvelopes(peers, loop.outbound).resolve(envelope, caller())) == {}
    assert server.last.target == f"/vault/v1/{used}/decrypt/k"
    assert server.last.one("x-vault-namespace") == "team"


SEALED = {"algorithm": "vault-transit:v1", "key_path": "k"}


@pytest.mark.parametrize(
    "said",
    [
        StubResponse(403, b'{"errors": ["hush"]}'),
        StubResponse(500),
        StubResponse(200),
        StubResponse(200, b"{"),
        StubResponse(200, b'{"data": {}}'),
        StubResponse(200, b'{"data": {"plaintext": 5}}'),
        StubResponse(200, b'{"data": {"plaintext": "!"}}'),
        StubResponse(200, json.dumps({"data": {"plaintext": sealed([SECRET])}}).encode()),
        StubResponse(200, b"{}", cut=True),
    ],
)
def test_vaults_refusals(resolve: Resolve, server: Stub, said: StubResponse) -> None:
    server.respond(said)
    with pytest.raises(SecretFailure) as caught:
        resolve("vault:v1:hush", **SEALED)
    for hidden in (SECRET, TOKEN, "hush", server.url):
        assert hidden not in caught.value.detail
    server.respond_json({"data": {"plaintext": sealed({"a": "b"})}})
    assert resolve("vault:v1:hush", **SEALED) == {"a": "b"}, "failures are not kept"


def test_what_vault_needs(loop: Loop, resolve: Resolve, server: Stub, tmp_path: Path) -> None:
    for fields in ({}, {"key_path": "/"}, {"key_path": "a/../b"}, {"key_path": "k", "mount": ".."}):
        with pytest.raises(SecretFailure, match="key_path"):
            resolve("x", algorithm="vault-transit", **fields)
    (tmp_path / "blank").write_text(" \n")
    envelope = SecretEnvelope(ciphertext_b64="x", **SEALED)
    for env, why in (
        ({}, "VAULT_ADDR"),
        ({"VAULT_ADDR": server.url}, "ALGA_VAULT_TOKEN_FILE"),
        ({"VAULT_ADDR": server.url, "ALGA_VAULT_TOKEN_FILE": "blank"}, "ALGA_VAULT_TOKEN_FILE"),
    ):
        file = {name: str(tmp_path / value) for name, value in env.items() if "FILE" in name}
        peers = HostSettings.read({"ALGA_VAULT_TOKEN_FILE": str(tmp_path / "none"), **env, **file})
        with pytest.raises(SecretFailure, match=why):
            loop.run(SecretEnvelopes(peers, loop.outbound).resolve(envelope, caller()))
    assert server.asked == []


def test_no_other_host_sees_the_token(resolve: Resolve, server: Stub, other: Stub) -> None:
    server.respond(StubResponse(307, b"", [(b"location", f"{other.url}/v1/x".encode())]))
    with pytest.raises(SecretFailure, match="http 307"):
        resolve("x", **SEALED)
    assert other.asked == []


def test_vault_has_little_time(
    resolve: Resolve, server: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert secret_envelope.SECONDS == 10
    monkeypatch.setattr(secret_envelope, "SECONDS", 0.2)
    server.respond(StubResponse(hang="head"))
    with pytest.raises(SecretFailure, match="no answer"):
        resolve("x", **SEALED)
    assert server.left.wait(5)


def test_what_vault_said_is_kept_a_while(
    resolve: Resolve, server: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert secret_envelope.CACHE_SECONDS == 30
    server.answer = lambda asked: StubResponse(
        200, json.dumps({"data": {"plaintext": sealed({"n": str(len(server.asked))})}}).encode()
    )
    assert resolve("x", **SEALED) == resolve("x", **SEALED) == {"n": "1"}
    different: list[tuple[str, ExecuteContext, dict[str, str]]] = [
        ("y", caller(), SEALED),
        ("x", caller(tenant_id="t2"), SEALED),
        ("x", caller(extension_id="e2"), SEALED),
        ("x", caller(install_id=None), SEALED),
        ("x", caller(), SEALED | {"version": "2"}),
        ("x", caller(), SEALED | {"mount": "m"}),
        ("x", caller(), SEALED | {"key_path": "k2"}),
    ]
    for count, (ciphertext, who, fields) in enumerate(different, 2):
        assert resolve(ciphertext, who, **fields) == {"n": str(count)}
    monkeypatch.setattr(secret_envelope, "CACHE_SECONDS", 0.0)
    assert resolve("z", **SEALED) == {"n": "9"}
    assert resolve("z", **SEALED) == {"n": "10"}


def test_how_much_is_kept(resolve: Resolve, server: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_envelope, "MAX_CACHED", 2)
    server.respond_json({"data": {"plaintext": sealed({})}})
    for ciphertext in ("a", "b", "c", "c", "b", "a", "a"):
        resolve(ciphertext, **SEALED)
    asked = [asked.json()["ciphertext"] for asked in server.asked]  # type: ignore[index]
    assert asked == ["a", "b", "c", "a"]


def test_until_when() -> None:
    def after(seconds: float) -> str:
        return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()

    assert 4 < secret_envelope._seconds(after(5)) <= 5
    assert 4 < secret_envelope._seconds(after(5).replace("+00:00", "Z")) <= 5
    for text in (None, "", "soon", after(3600), after(-1), after(5)[:19], "2020-01-01T00:00:00Z"):
        assert secret_envelope._seconds(text) == 30


def test_many_at_once_ask_once(loop: Loop, server: Stub, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    peers = HostSettings.read(
        {"VAULT_ADDR": server.url, "ALGA_VAULT_TOKEN_FILE": str(tmp_path / "token")}
    )
    server.respond_json({"data": {"plaintext": sealed({"a": "b"})}})
    envelopes = SecretEnvelopes(peers, loop.outbound)
    envelope = SecretEnvelope(ciphertext_b64="x", **SEALED)

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(envelopes.resolve(envelope, caller()) for _ in range(50)))

    assert loop.run(all_of_them()) == [{"a": "b"}] * 50
    assert len(server.asked) == 1
