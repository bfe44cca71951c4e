"""Which tenant a page belongs to, and whether that tenant has the extension installed.

A page is opened as `index.html?tenant=T`. Its scripts and styles come without the query and, on
their way through the application server, without the headers that name the tenant. So the tenant
of the first request is remembered for the others once its response was a success.

A page may be served by one worker and its scripts by another, so hints go to a log that all
workers share. Where the cache is read-only, each worker has only its own memory. The registry is
the application server, which knows installations.
"""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import anyio

from algaenv.bundle.digest import Digest
from algaenv.runner.locks import SingleFlight
from algaenv.runner.outbound import Outbound
from algaenv.runner.shared_log import LogBounds, SharedLog

if TYPE_CHECKING:
    import httpx


_log = logging.getLogger(__name__)

VALIDATE_SECONDS = 0.75
"""To the head of the answer; Alga's runner waits as long."""
LOOKUP_SECONDS = 5.0
BODY_SECONDS = 5.0
VALID_SECONDS = 45.0
INVALID_SECONDS = 2.0
"""Short: an extension that is just being installed should not stay refused."""
MAX_CACHED = 10_000
_MOST_REDIRECTS = 5
_MOST_BYTES = 64 * 1024


class RegistryUnavailable(Exception):
    """The registry did not answer in time, or not so that it could be read."""


@dataclass(frozen=True, slots=True)
class RegistryResponse:
    """An HTTP status and the JSON object that came with it, None when it was something else."""

    status: int
    fields: Mapping[str, object] | None

    @property
    def fine(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300


_InstallKey = tuple[str, str, str]


class Registry:
    """Asks `base`, whose own path is replaced, and shows `auth_key` to no other host."""

    def __init__(self, base: str, auth_key: str, outbound: Outbound) -> None:
        parts = urlsplit(base)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._auth_key = auth_key
        self._outbound = outbound
        self._verdicts: OrderedDict[_InstallKey, tuple[bool, float]] = OrderedDict()
        self._flights: SingleFlight[_InstallKey, bool] = SingleFlight()

    async def has(self, tenant: str, extension: str, content_hash: str) -> bool:
        """Whether the tenant has this bundle of the extension installed.

        A verdict is remembered for a while, silence is not: it counts as no, this once.
        """
        question = (tenant, extension, content_hash)
        verdict, until = self._verdicts.get(question, (False, 0.0))
        if time.monotonic() < until:
            return verdict
        return await self._flights.join(question, lambda: self._validate(question))

    async def lookup(self, host: str) -> RegistryResponse:
        """The installation behind a host name. Raises NoAnswer."""
        return await self._ask("lookup-by-host", {"host": host}, LOOKUP_SECONDS)

    async def _validate(self, question: _InstallKey) -> bool:
        tenant, extension, content_hash = question
        query = {"tenant": tenant, "extension": extension, "hash": content_hash}
        try:
            reply = await self._ask("validate", query, VALIDATE_SECONDS)
        except RegistryUnavailable as silence:
            _log.warning("registry silent", extra={"fields": {"why": str(silence)}})
            return False
        valid = reply.fields.get("valid") if reply.fine and reply.fields else None
        if not isinstance(valid, bool):
            _log.warning("registry unclear", extra={"fields": {"answer": reply.status}})
            return False
        until = time.monotonic() + (VALID_SECONDS if valid else INVALID_SECONDS)
        self._verdicts[question] = (valid, until)
        self._verdicts.move_to_end(question)
        while len(self._verdicts) > MAX_CACHED:
            self._verdicts.popitem(last=False)
        return valid

    async def _ask(self, what: str, query: Mapping[str, str], seconds: float) -> RegistryResponse:
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
                    return RegistryResponse(answer.status_code, _object(await _body(answer)))
            finally:
                await answer.aclose()
        except TimeoutError:
            raise RegistryUnavailable("timed out") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise RegistryUnavailable(type(error).__name__) from None


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
            raise RegistryUnavailable("too long")
    return bytes(body)


def _object(body: bytes) -> Mapping[str, object] | None:
    try:
        fields = json.loads(body)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


MAX_HINTS = 10_000
FRESH_SECONDS = 0.05
"""How long a tenant that is served again and again needs no look at what others did."""
REPEAT_SECONDS = 3600.0
"""After so long a tenant that is still served is told again, lest it be forgotten."""
_BOUNDS = LogBounds(MAX_HINTS, 16 * 1024 * 1024, 7 * 86_400.0)

_PageKey = tuple[str, Digest]


@dataclass(slots=True)
class _KnownTenant:
    name: bytes
    tenant: str
    told: float
    sure_until: float


class TenantHints:
    """The tenant last served, by extension and bundle; with `root` None in memory only."""

    def __init__(self, root: Path | None, *, workers: int = 1) -> None:
        self._chronicle: SharedLog | None = None
        if root is not None:
            self._chronicle = SharedLog(root / ".algaenv" / "hints", _BOUNDS, processes=workers)
        self._prepared = False
        self._known: OrderedDict[_PageKey, _KnownTenant] = OrderedDict()

    def get(self, extension: str, digest: Digest) -> str:
        """The tenant whose page was opened last, whoever served it; empty when nobody knows."""
        where = (extension, digest)
        known = self._known.get(where)
        told = self._look(known.name if known else _name(where))
        if told:
            return told
        return known.tenant if known else ""

    def served(self, extension: str, digest: Digest, tenant: str) -> None:
        """Remember a tenant that was just served well."""
        where = (extension, digest)
        now = monotonic()
        known = self._known.get(where)
        if known is not None and known.tenant == tenant:
            if now < known.sure_until:
                return
            if now - known.told < REPEAT_SECONDS and self._look(known.name) in {tenant, None}:
                known.sure_until = now + FRESH_SECONDS
                return
        name = known.name if known else _name(where)
        self._tell(name, tenant)
        self._known[where] = _KnownTenant(name, tenant, now, now + FRESH_SECONDS)
        self._known.move_to_end(where)
        if len(self._known) > MAX_HINTS:
            self._known.popitem(last=False)

    def _look(self, name: bytes) -> str | None:
        """What is told about it; empty for nothing, and None when nobody can be asked."""
        chronicle = self._ready()
        if chronicle is None:
            return None
        try:
            return (chronicle.get(name) or b"").decode(errors="replace")
        except OSError as error:
            self._give_up(error)
            return None

    def _tell(self, name: bytes, tenant: str) -> None:
        chronicle = self._ready()
        if chronicle is not None:
            try:
                chronicle.put(name, tenant.encode(errors="replace"))
            except OSError as error:
                self._give_up(error)

    def _ready(self) -> SharedLog | None:
        if self._chronicle is not None and not self._prepared:
            try:
                self._chronicle.prepare()
                # Once for each process is often enough: it takes few words to say all hints.
                self._chronicle.sweep()
                self._prepared = True
            except OSError as error:
                self._give_up(error)
        return self._chronicle

    def _give_up(self, error: OSError) -> None:
        self._chronicle = None
        fields = {"why": error.strerror or str(error)}
        _log.warning("hints only in memory", extra={"fields": fields})


def _name(where: _PageKey) -> bytes:
    extension, digest = where
    return blake2b(f"{digest.hex}{extension}".encode(errors="replace"), digest_size=20).digest()


class TenantResolver:
    """Asks what the request says, then what is remembered, then the registry."""

    def __init__(self, registry: Registry, hints: TenantHints | None = None) -> None:
        self._registry = registry
        self._hints = hints or TenantHints(None)

    async def resolve(
        self, extension: str, digest: Digest, *, query: str | None, header: str, host: str
    ) -> str:
        """The tenant; empty when nothing tells.

        The first that is not empty counts: the query (`query` is None when it has no such key;
        an empty value hides the header), the header, what is remembered, and what the registry
        knows about the host.
        """
        told = header if query is None else query
        return told or self._hints.get(extension, digest) or await self._of_host(host)

    def served(self, extension: str, digest: Digest, tenant: str) -> None:
        """Remember a tenant that was just served well."""
        if tenant:
            self._hints.served(extension, digest, tenant)

    async def _of_host(self, host: str) -> str:
        name = host.partition(":")[0]
        if not name:
            return ""
        try:
            reply = await self._registry.lookup(name)
        except RegistryUnavailable:
            return ""
        tenant = reply.fields.get("tenant_id") if reply.fine and reply.fields else None
        return tenant if isinstance(tenant, str) else ""
