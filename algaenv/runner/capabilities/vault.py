"""Vault's transit engine: from ciphertext to plaintext."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from algaenv.runner.capabilities import wire
from algaenv.runner.capabilities.exchange import NoAnswer, Question, exchange
from algaenv.runner.capabilities.head import BadHeader, pair
from algaenv.runner.capabilities.peers import Peers
from algaenv.runner.outbound import Outbound

SECONDS = 10.0
"""For the whole answer. Alga's runner would wait for ever."""
_DOTS = frozenset((".", ".."))


class VaultFailure(Exception):
    """No plaintext; the text is a reason without a secret."""


class Vault:
    """Decrypts with a token that is read from its file each time, since agents renew it."""

    def __init__(self, peers: Peers, outbound: Outbound) -> None:
        self._peers = peers
        self._outbound = outbound

    async def decrypt(self, ciphertext: str, *, key_path: str | None, mount: str | None) -> str:
        """The plaintext as Vault spells it, in base64. Raises VaultFailure."""
        question = await self._question(ciphertext, key_path, mount)
        try:
            answer = await exchange(self._outbound, question, seconds=SECONDS)
        except NoAnswer as silence:
            raise VaultFailure(f"no answer: {silence}") from None
        if not answer.fine:
            raise VaultFailure(f"http {answer.status}")
        if not answer.whole:
            raise VaultFailure("the answer was cut short")
        try:
            match wire.parse(answer.body):
                case {"data": {"plaintext": str(plaintext)}}:
                    return plaintext
        except ValueError as error:
            raise VaultFailure(f"the answer is not JSON: {error}") from None
        raise VaultFailure("the answer has no plaintext")

    async def _question(self, ciphertext: str, key_path: str | None, mount: str | None) -> Question:
        if self._peers.vault is None:
            raise VaultFailure("VAULT_ADDR is not set")
        key = (key_path or "").strip("/")
        if not key:
            raise VaultFailure("the envelope has no key_path")
        path = f"{(mount or self._peers.vault_mount).strip('/')}/decrypt/{key}"
        if _DOTS.intersection(path.split("/")):
            raise VaultFailure("the envelope's key_path or mount would change the path")
        try:
            headers = [
                (b"accept", b"*/*"),
                (b"content-type", b"application/json"),
                pair("X-Vault-Token", await asyncio.to_thread(self._token)),
            ]
            if self._peers.vault_namespace is not None:
                headers.append(pair("X-Vault-Namespace", self._peers.vault_namespace))
        except BadHeader:
            raise VaultFailure("the token or the namespace cannot be sent") from None
        return Question(
            "POST",
            f"{self._peers.vault.rstrip('/')}/v1/{quote(path)}",
            tuple(headers),
            wire.dump({"ciphertext": ciphertext}).encode(),
        )

    def _token(self) -> str:
        try:
            token = self._peers.vault_token_file.read_text().strip()
        except (OSError, UnicodeDecodeError):
            token = ""
        if not token:
            raise VaultFailure("there is no token in ALGA_VAULT_TOKEN_FILE")
        return token
