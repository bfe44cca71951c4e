"""Whose page is it? Browsers say so for the first file only.

A page is opened as `index.html?tenant=T`; its scripts and styles come without the query and, on
their way through the application server, without the headers that could tell. So the answer to
the first is remembered for the others, once it turned out to be a good one.
"""

from __future__ import annotations

from collections import OrderedDict

from algaenv.bundle.digest import Digest
from algaenv.runner.registry import NoAnswer, Registry

MOST_HINTS = 10_000


class Tenancy:
    """Remembers who opened which bundle of which extension, the last ones of them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._hints: OrderedDict[tuple[str, Digest], str] = OrderedDict()

    async def resolve(
        self, extension: str, digest: Digest, *, query: str | None, header: str, host: str
    ) -> str:
        """The tenant; empty when nothing tells.

        The first that is not empty counts: the query (`query` is None when it has no such key;
        an empty value hides the header), the header, what is remembered, and what the registry
        knows about the host.
        """
        told = header if query is None else query
        return told or self._hints.get((extension, digest), "") or await self._of_host(host)

    def served(self, extension: str, digest: Digest, tenant: str) -> None:
        """Remember a tenant that was just served well."""
        where = (extension, digest)
        if tenant and self._hints.get(where) != tenant:
            self._hints[where] = tenant
            if len(self._hints) > MOST_HINTS:
                self._hints.popitem(last=False)

    async def _of_host(self, host: str) -> str:
        name = host.partition(":")[0]
        if not name:
            return ""
        try:
            reply = await self._registry.lookup(name)
        except NoAnswer:
            return ""
        tenant = reply.fields.get("tenant_id") if reply.fine and reply.fields else None
        return tenant if isinstance(tenant, str) else ""
