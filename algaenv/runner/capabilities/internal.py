"""The internal APIs of the application server: one question shape, a mapping of statuses each.

`POST {base}/api/internal/{api}/install/{install id}` with a JSON object that names its operation.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from urllib.parse import quote

from algaenv.runner.capabilities import wire
from algaenv.runner.capabilities.exchange import NoAnswer, Question, exchange
from algaenv.runner.capabilities.head import BadHeader, pair
from algaenv.runner.capabilities.peers import Peers
from algaenv.runner.invocation import Invocation
from algaenv.runner.outbound import Outbound

_log = logging.getLogger(__name__)

SECONDS = 30.0
"""For a whole question; the call's own deadline may come first."""
_LONGEST = 300
"""Characters of a peer's words in a line of the log."""
_FIXED = (
    (b"accept", b"*/*"),
    (b"content-type", b"application/json"),
)


class Refusal(Exception):
    """A host function cannot do what it was asked.

    `name` is the case of the interface's error, the text a sentence for those interfaces that
    pass one on, `body` what came with an HTTP status.
    """

    def __init__(self, name: str, text: str = "", *, body: bytes = b"") -> None:
        self.name, self.text, self.body = name, text, body
        super().__init__(name)


class InternalApi:
    """The API of one topic (`storage`). `names` gives statuses the names of errors; the others
    are `internal`."""

    def __init__(
        self, topic: str, names: Mapping[int, str], *, peers: Peers, outbound: Outbound
    ) -> None:
        self._topic, self._names = topic, names
        self._prefix = peers.internal and f"{peers.internal}/api/internal/ext-{topic}/install/"
        self._token = peers.internal_token
        self._outbound = outbound

    def ask(
        self,
        invocation: Invocation,
        operation: str,
        fields: Mapping[str, object],
        *,
        about: Mapping[str, object] | None = None,
    ) -> object:
        """Ask about the installation of this invocation and return the JSON of the answer.

        An empty answer is None. `about` is added to a line of the log.
        Raises Refusal, and Expired when the time of the call is over.
        """
        noted: dict[str, object] = {"operation": operation, **(about or {})}
        try:
            question = self._question(invocation.install or "", {"operation": operation, **fields})
            answer = invocation.wait(exchange(self._outbound, question, seconds=SECONDS))
            if not answer.whole and answer.fine:
                raise NoAnswer("cut short")
        except NoAnswer as silence:
            self._warn(invocation, noted | {"why": str(silence)})
            raise Refusal("internal", "transport failure") from None
        except Refusal as refusal:
            self._warn(invocation, noted | {"why": refusal.text})
            raise
        if not answer.fine:
            said = answer.body.decode(errors="replace")
            self._warn(invocation, noted | {"status": answer.status, "body": said[:_LONGEST]})
            name = self._names.get(answer.status, "internal")
            raise Refusal(name, f"http {answer.status}: {said}", body=answer.body)
        if not answer.body.strip():
            return None
        try:
            return wire.parse(answer.body)
        except ValueError as error:
            self._warn(invocation, noted | {"status": answer.status, "why": str(error)})
            raise Refusal("internal", "invalid JSON response") from None

    def _question(self, install: str, fields: Mapping[str, object]) -> Question:
        if self._prefix is None:
            raise Refusal("internal", f"{self._topic} base URL not configured")
        if self._token is None:
            raise Refusal("internal", "runner auth token not configured")
        if install in {".", ".."}:
            raise NoAnswer("an install id that would change the path")
        try:
            token = pair("x-runner-auth", self._token)
            body = wire.dump(fields).encode()
        except BadHeader:
            raise NoAnswer("a token that cannot be sent") from None
        except ValueError as error:
            raise NoAnswer(str(error)) from None
        return Question("POST", self._prefix + quote(install, safe=""), (*_FIXED, token), body)

    def _warn(self, invocation: Invocation, noted: Mapping[str, object]) -> None:
        fields = {
            "request_id": invocation.request_id,
            "tenant": invocation.tenant,
            "extension": invocation.extension,
            **noted,
        }
        _log.warning("%s_request error", self._topic, extra={"fields": fields})
