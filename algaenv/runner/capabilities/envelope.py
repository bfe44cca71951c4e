"""The secrets of a request, opened before its handler runs."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from algaenv.runner.capabilities import wire
from algaenv.runner.capabilities.peers import Peers
from algaenv.runner.capabilities.vault import Vault, VaultFailure
from algaenv.runner.flight import Flights
from algaenv.runner.outbound import Outbound

if TYPE_CHECKING:
    from algaenv.runner.call import Caller, SecretEnvelope

KEEP_SECONDS = 30.0
MOST_KEPT = 1_000
VAULT = "vault-transit"

Secrets = Mapping[str, str]
_Key = tuple[str | None, ...]


class SecretFailure(Exception):
    """The envelope cannot be opened; `detail` is for the log and the debug stream, and holds no
    secret. The answer to the caller is `secret_decrypt_failed` and nothing else."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)


@dataclass(frozen=True, slots=True)
class _Kept:
    secrets: Secrets = field(repr=False)
    until: float


class Envelopes:
    """Opens envelopes. What Vault says is kept for 30 s, or until `expires_at` if that is sooner.

    An `expires_at` in the past, or one that cannot be read, counts as none.
    """

    def __init__(self, peers: Peers, outbound: Outbound) -> None:
        self._vault = Vault(peers, outbound)
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._flights: Flights[_Key, Secrets] = Flights()

    async def resolve(self, envelope: SecretEnvelope | None, caller: Caller) -> Secrets | None:
        """The secrets by name; None without an envelope. Raises SecretFailure."""
        if envelope is None:
            return None
        ciphertext = envelope.ciphertext_b64
        if not ciphertext.strip():
            return {}
        if not (envelope.algorithm or "").strip().lower().startswith(VAULT):
            return _opened(ciphertext)
        key = (
            caller.tenant_id,
            caller.extension_id,
            caller.install_id,
            envelope.version,
            envelope.mount,
            envelope.key_path,
            sha256(ciphertext.encode()).hexdigest(),
        )
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() < kept.until:
            return kept.secrets
        return await self._flights.join(key, lambda: self._ask(key, envelope))

    async def _ask(self, key: _Key, envelope: SecretEnvelope) -> Secrets:
        try:
            plaintext = await self._vault.decrypt(
                envelope.ciphertext_b64, key_path=envelope.key_path, mount=envelope.mount
            )
        except VaultFailure as failure:
            raise SecretFailure(f"secret_envelope.vault_failed: {failure}") from None
        secrets = _opened(plaintext)
        self._keep(key, _Kept(secrets, time.monotonic() + _seconds(envelope.expires_at)))
        return secrets

    def _keep(self, key: _Key, kept: _Kept) -> None:
        now = time.monotonic()
        self._kept[key] = kept
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEPT or next(iter(self._kept.values())).until <= now:
            self._kept.popitem(last=False)
            if not self._kept:
                break


def _opened(text: str) -> Secrets:
    try:
        plain = wire.decode(text)
    except ValueError as error:
        raise SecretFailure(f"secret_envelope.base64_decode_failed: {error}") from None
    try:
        secrets = wire.parse(plain)
    except ValueError as error:
        raise SecretFailure(f"secret_envelope.json_parse_failed: {error}") from None
    if not isinstance(secrets, dict) or not all(
        isinstance(value, str) for value in secrets.values()
    ):
        raise SecretFailure("secret_envelope.json_parse_failed: not an object of strings")
    return secrets


def _seconds(expires_at: str | None) -> float:
    try:
        moment = datetime.fromisoformat(expires_at or "")
    except ValueError:
        return KEEP_SECONDS
    if moment.tzinfo is None:
        return KEEP_SECONDS
    left = (moment - datetime.now(UTC)).total_seconds()
    return min(left, KEEP_SECONDS) if left > 0 else KEEP_SECONDS
