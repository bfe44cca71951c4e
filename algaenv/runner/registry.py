"""Questions to the application server about who has what installed."""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import anyio

from algaenv.runner.flight import Flights
from algaenv.runner.outbound import Outbound

if TYPE_CHECKING:
    import httpx

_log = logging.getLogger(__name__)

VALIDATE_SECONDS = 0.75
"""To the head of the answer; Alga's runner waits as long."""
LOOKUP_SECONDS = 5.0
BODY_SECONDS = 5.0
YES_SECONDS = 45.0
NO_SECONDS = 2.0
"""Short: an extension that is just being installed should not stay refused."""
MOST_VERDICTS = 10_000
_MOST_REDIRECTS = 5
_MOST_BYTES = 64 * 1024


class NoAnswer(Exception):
    """The registry did not answer in time, or not so that it could be read."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP status and the JSON object that came with it, None when it was something else."""

    status: int
    fields: Mapping[str, object] | None

    @property
    def fine(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300


_Question = tuple[str, str, str]


class Registry:
    """Asks `base`, whose own path is replaced, and shows `auth_key` to no other host."""

    def __init__(self, base: str, auth_key: str, outbound: Outbound) -> None:
        parts = urlsplit(base)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._auth_key = auth_key
        self._outbound = outbound
        self._verdicts: OrderedDict[_Question, tuple[bool, float]] = OrderedDict()
        self._flights: Flights[_Question, bool] = Flights()

    async def has(self, tenant: str, extension: str, content_hash: str) -> bool:
        """Whether the tenant has this bundle of the extension installed.

        A verdict is remembered for a while, silence is not: it counts as no, this once.
        """
        question = (tenant, extension, content_hash)
        verdict, until = self._verdicts.get(question, (False, 0.0))
        if time.monotonic() < until:
            return verdict
        return await self._flights.join(question, lambda: self._validate(question))

    async def lookup(self, host: str) -> Reply:
        """The installation behind a host name. Raises NoAnswer."""
        return await self._ask("lookup-by-host", {"host": host}, LOOKUP_SECONDS)

    async def _validate(self, question: _Question) -> bool:
        tenant, extension, content_hash = question
        query = {"tenant": tenant, "extension": extension, "hash": content_hash}
        try:
            reply = await self._ask("validate", query, VALIDATE_SECONDS)
        except NoAnswer as silence:
            _log.warning("registry silent", extra={"fields": {"why": str(silence)}})
            return False
        valid = reply.fields.get("valid") if reply.fine and reply.fields else None
        if not isinstance(valid, bool):
            _log.warning("registry unclear", extra={"fields": {"answer": reply.status}})
            return False
        until = time.monotonic() + (YES_SECONDS if valid else NO_SECONDS)
        self._verdicts[question] = (valid, until)
        self._verdicts.move_to_end(question)
        while len(self._verdicts) > MOST_VERDICTS:
            self._verdicts.popitem(last=False)
        return valid

    async def _ask(self, what: str, query: Mapping[str, str], seconds: float) -> Reply:
        import httpx

        # The time makes the URL new, for caches on the way.
        asked = urlencode({**query, "ts": str(time.time_ns() // 1_000_000)})
        client = await self._outbound.client()
        try:
            request = client.build_request(
                "GET",
                f"{self._origin}/api/installs/{what}?{asked}",
                headers={"x-api-key": self._auth_key},
            )
            with anyio.fail_after(seconds):
                answer = await _follow(client, request)
            try:
                with anyio.fail_after(BODY_SECONDS):
                    return Reply(answer.status_code, _object(await _body(answer)))
            finally:
                await answer.aclose()
        except TimeoutError:
            raise NoAnswer("timed out") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise NoAnswer(type(error).__name__) from None


async def _follow(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """Go where the registry points, but not to another host: the key would go along."""
    asked = request.url
    answer = await client.send(request, stream=True)
    for _ in range(_MOST_REDIRECTS):
        following = answer.next_request
        if following is None or following.url.host != asked.host:
            break
        if following.url.scheme not in {asked.scheme, "https"}:
            break
        await answer.aclose()
        answer = await client.send(following, stream=True)
    return answer


async def _body(answer: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise NoAnswer("too long")
    return bytes(body)


def _object(body: bytes) -> Mapping[str, object] | None:
    try:
        fields = json.loads(body)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None
