"""One question to a peer that the environment names, and the whole of its answer.

A peer may point elsewhere on its own origin. Alga's runner follows it to any host and shows that
host the token and, as referer, the internal address; here the answer is then the redirect itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from algaenv.runner.outbound import Outbound

if TYPE_CHECKING:
    import httpx

MOST_BYTES = 64 * 1024 * 1024
"""Of an answer; a handler has 256 MiB by default and needs room to work with it."""
_MOST_REDIRECTS = 10
_PORTS = {"http": 80, "https": 443}


class NoAnswer(Exception):
    """Nobody answered, or not in time. The text is a reason without an address."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, and the body as it was on the wire."""

    status: int
    chunks: tuple[bytes, ...]
    whole: bool = True
    """False when the body was cut short, or longer than MOST_BYTES."""

    @property
    def body(self) -> bytes:
        """Put together by whom it is for, since a long one would hold up the event loop."""
        return b"".join(self.chunks)

    @property
    def fine(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Question:
    """An HTTP request; `headers` are complete but for host and length."""

    method: str
    url: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes | None = None


async def exchange(outbound: Outbound, question: Question, *, seconds: float) -> Answer:
    """Ask, and read the answer to its end, in so many seconds altogether. Raises NoAnswer."""
    import httpx

    answer: httpx.Response | None = None
    chunks: list[bytes] = []
    size = 0
    try:
        with anyio.fail_after(seconds):
            client = await outbound.peers()
            answer = await _send(client, question)
            async for chunk in answer.aiter_raw():
                chunks.append(chunk)
                size += len(chunk)
                if size > MOST_BYTES:
                    return Answer(answer.status_code, (), whole=False)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, UnicodeError, OverflowError) as error:
        if answer is None:
            # The library's own text may hold the address or a header.
            raise NoAnswer(type(error).__name__) from None
        return Answer(answer.status_code, tuple(chunks), whole=False)
    finally:
        if answer is not None:
            await answer.aclose()
    return Answer(answer.status_code, tuple(chunks))


async def _send(client: httpx.AsyncClient, question: Question) -> httpx.Response:
    import httpx

    request = httpx.Request(
        question.method, question.url, headers=list(question.headers), content=question.body
    )
    asked = request.url
    answer = await client.send(request, stream=True)
    for _ in range(_MOST_REDIRECTS):
        following = answer.next_request
        if following is None or not _stays(asked, following.url):
            break
        await answer.aclose()
        answer = await client.send(following, stream=True)
    return answer


def _stays(asked: httpx.URL, following: httpx.URL) -> bool:
    """Whether this is the same origin, or its secure twin."""
    here = (asked.scheme, asked.port or _PORTS.get(asked.scheme))
    there = (following.scheme, following.port or _PORTS.get(following.scheme))
    return asked.host == following.host and (
        here == there or (here, there) == (("http", 80), ("https", 443))
    )
