"""Whose page is it? Browsers say so for the first file only.

A page is opened as `index.html?tenant=T`; its scripts and styles come without the query and, on
their way through the application server, without the headers that could tell. So the answer to
the first is remembered for the others, once it turned out to be a good one.
"""

from __future__ import annotations

from algaenv.bundle.digest import Digest
from algaenv.runner.hints import Hints
from algaenv.runner.registry import NoAnswer, Registry


class Tenancy:
    """Asks what the request says, then what is remembered, then the registry."""

    def __init__(self, registry: Registry, hints: Hints | None = None) -> None:
        self._registry = registry
        self._hints = hints or Hints(None)

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
        except NoAnswer:
            return ""
        tenant = reply.fields.get("tenant_id") if reply.fine and reply.fields else None
        return tenant if isinstance(tenant, str) else ""
