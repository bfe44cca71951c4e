"""The secrets of a request, decrypted before its handler runs.

Envelopes are plain base64, or ciphertext that Vault's transit engine decrypts.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote

from algaenv.bundle.diagnostics import escape_unprintable
from algaenv.runner.host import internal_api
from algaenv.runner.host.settings import HostSettings
from algaenv.runner.locks import SingleFlight
from algaenv.runner.outbound import (
    InvalidHeader,
    NoResponse,
    Outbound,
    PeerRequest,
    header_pair,
    send_request,
)

if TYPE_CHECKING:
    from algaenv.runner.execute.request_models import ExecuteContext, SecretEnvelope


SECONDS = 10.0
"""For the whole response. Alga's runner would wait for ever."""
_DOTS = frozenset((".", ".."))


class VaultFailure(Exception):
    """No plaintext; the text is a reason without a secret."""


class Vault:
    """Decrypts with a token that is read from its file each time, since agents renew it."""

    def __init__(self, host_settings: HostSettings, outbound: Outbound) -> None:
        self._host_settings = host_settings
        self._outbound = outbound

    async def decrypt(self, ciphertext: str, *, key_path: str | None, mount: str | None) -> str:
        """The plaintext in base64, trimmed. Raises VaultFailure."""
        url = self._url(key_path, mount)
        token = await asyncio.to_thread(self._token)
        request = self._request(url, ciphertext, token)
        try:
            response = await send_request(self._outbound, request, seconds=SECONDS)
        except NoResponse as error:
            raise VaultFailure(f"no answer: {error}") from None
        if not response.ok:
            words = _error_words(response.body, token, ciphertext)
            raise VaultFailure(f"http {response.status}{words and f': {words}'}")
        if not response.complete:
            raise VaultFailure("the answer was cut short")
        try:
            match internal_api.parse_json(response.body):
                case {"data": {"plaintext": str(plaintext)}}:
                    return plaintext.strip()
        except ValueError as error:
            raise VaultFailure(f"the answer is not JSON: {error}") from None
        raise VaultFailure("the answer has no plaintext")

    def _url(self, key_path: str | None, mount: str | None) -> str:
        if self._host_settings.vault is None:
            raise VaultFailure("VAULT_ADDR is not set")
        key = (key_path or "").strip("/")
        if not key:
            raise VaultFailure("the envelope has no key_path")
        path = f"{(mount or self._host_settings.vault_mount).strip('/')}/decrypt/{key}"
        if _DOTS.intersection(path.split("/")):
            raise VaultFailure("the envelope's key_path or mount would change the path")
        return f"{self._host_settings.vault.rstrip('/')}/v1/{quote(path)}"

    def _request(self, url: str, ciphertext: str, token: str) -> PeerRequest:
        try:
            headers = [
                (b"accept", b"*/*"),
                (b"content-type", b"application/json"),
                header_pair("X-Vault-Token", token),
            ]
            if self._host_settings.vault_namespace is not None:
                headers.append(
                    header_pair("X-Vault-Namespace", self._host_settings.vault_namespace)
                )
        except InvalidHeader:
            raise VaultFailure("the token or the namespace cannot be sent") from None
        return PeerRequest(
            "POST",
            url,
            tuple(headers),
            internal_api.dump_json({"ciphertext": ciphertext}).encode(),
        )

    def _token(self) -> str:
        try:
            token = self._host_settings.vault_token_file.read_text().strip()
        except (OSError, UnicodeDecodeError):
            token = ""
        if not token:
            raise VaultFailure("there is no token in ALGA_VAULT_TOKEN_FILE")
        return token


CACHE_SECONDS = 30.0
MAX_CACHED = 1_000
_MAX_WORDS = 300
"""Characters of Vault's own words in a reason."""
VAULT = "vault-transit"


def _error_words(body: bytes, token: str, ciphertext: str) -> str:
    """What Vault says of its refusal, in one line: its `errors`, or the text of anything else.

    Should it repeat what it was sent, that is left out.
    """
    for sent in (token, ciphertext, ciphertext.rpartition(":")[2]):
        if sent:
            body = body.replace(sent.encode(), b"***")
    text = body.decode("utf-8", "replace")
    try:
        match internal_api.parse_json(body):
            case {"errors": [*errors]}:
                text = "; ".join(str(error) for error in errors)
    except ValueError:
        pass
    return escape_unprintable(" ".join(text.split())[:_MAX_WORDS])


Secrets = Mapping[str, str]
_Key = tuple[str | None, ...]


class SecretFailure(Exception):
    """The envelope cannot be opened; `detail` is for the log and the debug stream, and holds no
    secret. The response to the caller is `secret_decrypt_failed` and nothing else."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)


@dataclass(frozen=True, slots=True)
class _CachedSecrets:
    secrets: Secrets = field(repr=False)
    expires_at_monotonic: float


class SecretEnvelopes:
    """Opens envelopes. What Vault says is kept for 30 s, or until `expires_at` if that is sooner.

    An `expires_at` in the past, or one that cannot be read, counts as none.
    """

    def __init__(self, host_settings: HostSettings, outbound: Outbound) -> None:
        self._vault = Vault(host_settings, outbound)
        self._cache: OrderedDict[_Key, _CachedSecrets] = OrderedDict()
        self._flights: SingleFlight[_Key, Secrets] = SingleFlight()

    async def resolve(
        self, envelope: SecretEnvelope | None, caller: ExecuteContext
    ) -> Secrets | None:
        """The secrets by name; None without an envelope. Raises SecretFailure."""
        if envelope is None:
            return None
        ciphertext = envelope.ciphertext_b64
        if not ciphertext.strip():
            return {}
        if not (envelope.algorithm or "").strip().lower().startswith(VAULT):
            return _decode_secrets(ciphertext)
        key = (
            caller.tenant_id,
            caller.extension_id,
            caller.install_id,
            envelope.version,
            envelope.mount,
            envelope.key_path,
            sha256(ciphertext.encode()).hexdigest(),
        )
        cached = self._cache.get(key)
        if cached is not None and time.monotonic() < cached.expires_at_monotonic:
            return cached.secrets
        return await self._flights.join(key, lambda: self._call(key, envelope))

    async def _call(self, key: _Key, envelope: SecretEnvelope) -> Secrets:
        try:
            plaintext = await self._vault.decrypt(
                envelope.ciphertext_b64, key_path=envelope.key_path, mount=envelope.mount
            )
        except VaultFailure as failure:
            raise SecretFailure(f"secret_envelope.vault_failed: {failure}") from None
        secrets = _decode_secrets(plaintext)
        self._store(key, _CachedSecrets(secrets, time.monotonic() + _seconds(envelope.expires_at)))
        return secrets

    def _store(self, key: _Key, cached: _CachedSecrets) -> None:
        now = time.monotonic()
        self._cache[key] = cached
        self._cache.move_to_end(key)
        while (
            len(self._cache) > MAX_CACHED
            or next(iter(self._cache.values())).expires_at_monotonic <= now
        ):
            self._cache.popitem(last=False)
            if not self._cache:
                break


def _decode_secrets(text: str) -> Secrets:
    try:
        plain = internal_api.decode_base64(text)
    except ValueError as error:
        raise SecretFailure(f"secret_envelope.base64_decode_failed: {error}") from None
    try:
        secrets = internal_api.parse_json(plain)
    except ValueError as error:
        raise SecretFailure(f"secret_envelope.json_parse_failed: {error}") from None
    if not isinstance(secrets, dict) or not all(
        isinstance(value, str) for value in secrets.values()
    ):
        raise SecretFailure("secret_envelope.json_parse_failed: not an object of strings")
    return secrets


def _seconds(expires_at: str | None) -> float:
    try:
        expires = datetime.fromisoformat(expires_at or "")
    except ValueError:
        return CACHE_SECONDS
    if expires.tzinfo is None:
        return CACHE_SECONDS
    seconds_left = (expires - datetime.now(UTC)).total_seconds()
    return min(seconds_left, CACHE_SECONDS) if seconds_left > 0 else CACHE_SECONDS
