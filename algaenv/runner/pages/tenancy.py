"""Which tenant a page belongs to, and whether that tenant has the extension installed.

A page is opened as `index.html?tenant=T`. Its scripts and styles come without the query and, on
their way through the application server, without the headers that name the tenant. So the tenant
of the first request is remembered for the others once its response was a success.

A page may be served by one worker and its scripts by another, so hints go to a database that all
workers share. Where the cache is read-only, each worker has only its own memory. The registry is
the application server, which knows installations.
"""

from __future__ import annotations

import errno
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
from algaenv.runner.shared_values import Bounds, SharedValues

if TYPE_CHECKING:
    import httpx


_log = logging.getLogger(__name__)

VALIDATE_SECONDS = 0.75
"""Until the response headers; Alga's runner waits as long."""
LOOKUP_SECONDS = 5.0
BODY_SECONDS = 5.0
VALID_SECONDS = 45.0
INVALID_SECONDS = 2.0
"""Short: an extension that is just being installed should not stay refused."""
MAX_CACHED = 10_000
_MAX_REDIRECTS = 5
_MAX_BYTES = 64 * 1024


class RegistryUnavailable(Exception):
    """The registry did not answer in time, or not so that it could be read."""


@dataclass(frozen=True, slots=True)
class RegistryResponse:
    """An HTTP status and the JSON object that came with it, None when it was something else."""

    status: int
    fields: Mapping[str, object] | None

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300


_InstallKey = tuple[str, str, str]


class Registry:
    """Sends requests to `base`, whose path is replaced, and `auth_key` to no other host."""

    def __init__(self, base: str, auth_key: str, outbound: Outbound) -> None:
        parts = urlsplit(base)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._auth_key = auth_key
        self._outbound = outbound
        self._cache: OrderedDict[_InstallKey, tuple[bool, float]] = OrderedDict()
        self._single_flight: SingleFlight[_InstallKey, bool] = SingleFlight()

    async def is_installed(self, tenant: str, extension: str, content_hash: str) -> bool:
        """Whether the tenant has this bundle of the extension installed.

        A verdict is remembered for a while, silence is not: it counts as no, this once.
        """
        install = (tenant, extension, content_hash)
        valid_cached, until = self._cache.get(install, (False, 0.0))
        if time.monotonic() < until:
            return valid_cached
        return await self._single_flight.join(install, lambda: self._validate(install))

    async def lookup(self, host: str) -> RegistryResponse:
        """The installation behind a host name. Raises RegistryUnavailable."""
        return await self._get("lookup-by-host", {"host": host}, LOOKUP_SECONDS)

    async def _validate(self, install: _InstallKey) -> bool:
        tenant, extension, content_hash = install
        query = {"tenant": tenant, "extension": extension, "hash": content_hash}
        try:
            reply = await self._get("validate", query, VALIDATE_SECONDS)
        except RegistryUnavailable as error:
            _log.warning("registry silent", extra={"fields": {"why": str(error)}})
            return False
        valid = reply.fields.get("valid") if reply.ok and reply.fields else None
        if not isinstance(valid, bool):
            _log.warning("registry unclear", extra={"fields": {"answer": reply.status}})
            return False
        until = time.monotonic() + (VALID_SECONDS if valid else INVALID_SECONDS)
        self._cache[install] = (valid, until)
        self._cache.move_to_end(install)
        while len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)
        return valid

    async def _get(self, what: str, query: Mapping[str, str], seconds: float) -> RegistryResponse:
        import httpx

        # The time makes the URL new, for caches on the way.
        query_string = urlencode({**query, "ts": str(time.time_ns() // 1_000_000)})
        client = await self._outbound.client()
        try:
            request = client.build_request(
                "GET",
                f"{self._origin}/api/installs/{what}?{query_string}",
                headers={"x-api-key": self._auth_key},
            )
            with anyio.fail_after(seconds):
                response = await _follow(client, request)
            try:
                with anyio.fail_after(BODY_SECONDS):
                    return RegistryResponse(response.status_code, _object(await _body(response)))
            finally:
                await response.aclose()
        except TimeoutError:
            raise RegistryUnavailable("timed out") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise RegistryUnavailable(type(error).__name__) from None


async def _follow(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """Go where the registry points, but not to another host: the key would go along."""
    query_string = request.url
    response = await client.send(request, stream=True)
    for _ in range(_MAX_REDIRECTS):
        next_request = response.next_request
        if next_request is None or next_request.url.host != query_string.host:
            break
        if next_request.url.scheme not in {query_string.scheme, "https"}:
            break
        await response.aclose()
        response = await client.send(next_request, stream=True)
    return response


async def _body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _MAX_BYTES:
            raise RegistryUnavailable("too long")
    return bytes(body)


def _object(body: bytes) -> Mapping[str, object] | None:
    try:
        fields = json.loads(body)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


MAX_HINTS = 10_000
REPEAT_SECONDS = 3600.0
"""After so long a tenant that is still served is written again, so that it does not expire."""
_BOUNDS = Bounds(MAX_HINTS, 16 * 1024 * 1024, 7 * 86_400.0)

_PageKey = tuple[str, Digest]


@dataclass(frozen=True, slots=True)
class _KnownTenant:
    name: bytes
    tenant: str
    noted_at: float


class TenantHints:
    """The tenant last served, by extension and bundle; with `root` None in memory only."""

    def __init__(self, root: Path | None) -> None:
        self._shared: SharedValues | None = None
        if root is not None:
            self._shared = SharedValues(root / ".algaenv" / "hints", _BOUNDS)
        self._prepared = False
        self._warned = False
        self._known: OrderedDict[_PageKey, _KnownTenant] = OrderedDict()

    def get(self, extension: str, digest: Digest) -> str:
        """The tenant whose page was opened last, by any worker; empty when unknown."""
        page = (extension, digest)
        known = self._known.get(page)
        if known is None:
            return self._read(_name(page)) or ""
        return self._read(known.name) or known.tenant

    def record(self, extension: str, digest: Digest, tenant: str, *, hinted: bool = False) -> None:
        """Record a tenant that was just served successfully.

        A tenant that is only known by a hint (`hinted`) is not written again before its time: the
        page of another tenant may have been opened meanwhile.
        """
        page = (extension, digest)
        now = monotonic()
        known = self._known.get(page)
        name = known.name if known else _name(page)
        if known is None or known.tenant != tenant:
            write = not hinted
        elif now - known.noted_at >= REPEAT_SECONDS:
            write = True
        else:
            write = not hinted and self._read(name) not in {tenant, None}
            if not write:
                return
        if write:
            self._write(name, tenant)
        self._known[page] = _KnownTenant(name, tenant, now)
        self._known.move_to_end(page)
        if len(self._known) > MAX_HINTS:
            self._known.popitem(last=False)

    def _read(self, name: bytes) -> str | None:
        """The tenant that any worker wrote; empty for none, and None in memory only."""
        shared = self._prepare()
        if shared is None:
            return None
        try:
            return (shared.get(name) or b"").decode(errors="replace")
        except OSError as error:
            self._use_memory_only(error)
            return None

    def _write(self, name: bytes, tenant: str) -> None:
        shared = self._prepare()
        if shared is not None:
            try:
                shared.put(name, tenant.encode(errors="replace"))
            except OSError as error:
                self._use_memory_only(error)

    def _prepare(self) -> SharedValues | None:
        if self._shared is not None and not self._prepared:
            try:
                # Once for each process is often enough: hints are small.
                self._shared.sweep()
                self._prepared = True
            except OSError as error:
                self._use_memory_only(error)
        return self._shared

    def _use_memory_only(self, error: OSError) -> None:
        """For good, unless the database was only busy."""
        if error.errno != errno.EBUSY:
            self._shared = None
        elif self._warned:
            return
        self._warned = True
        fields = {"why": error.strerror or str(error)}
        _log.warning("hints only in memory", extra={"fields": fields})


def _name(page: _PageKey) -> bytes:
    extension, digest = page
    return blake2b(f"{digest.hex}{extension}".encode(errors="replace"), digest_size=20).digest()


class TenantResolver:
    """Asks what the request says, then what is remembered, then the registry."""

    def __init__(self, registry: Registry, hints: TenantHints | None = None) -> None:
        self._registry = registry
        self._hints = hints or TenantHints(None)

    async def resolve(
        self, extension: str, digest: Digest, *, query: str | None, header: str, host: str
    ) -> tuple[str, bool]:
        """The tenant, empty when nothing tells, and whether only a hint told it.

        The first that is not empty counts: the query (`query` is None when it has no such key;
        an empty value hides the header), the header, what is remembered, and what the registry
        knows about the host.
        """
        if found_tenant := header if query is None else query:
            return found_tenant, False
        if remembered := self._hints.get(extension, digest):
            return remembered, True
        return await self._tenant_of_host(host), False

    def record(self, extension: str, digest: Digest, tenant: str, *, hinted: bool) -> None:
        """Record a tenant that was just served successfully."""
        if tenant:
            self._hints.record(extension, digest, tenant, hinted=hinted)

    async def _tenant_of_host(self, host: str) -> str:
        name = host.partition(":")[0]
        if not name:
            return ""
        try:
            reply = await self._registry.lookup(name)
        except RegistryUnavailable:
            return ""
        tenant = reply.fields.get("tenant_id") if reply.ok and reply.fields else None
        return tenant if isinstance(tenant, str) else ""
