"""The servers that handlers may reach through the runner, and how; from the environment.

Guests may be kept from the addresses of this machine and this environment. A host name says
nothing about where it leads, so the addresses it resolves to are checked, and the connection goes
to those and is not resolved again.
"""

from __future__ import annotations

import asyncio
import contextvars
import ipaddress
import socket
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import httpcore
    import httpx


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Endpoint = tuple[str, int | None]

DENY = "deny"
ALL = "*"
_OWN_SECONDS = 10.0
"""How long what the environment's names resolve to is not asked again."""
_NEXT_SECONDS = 4.0
"""For one address of a name that has more."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class EgressDenied(Exception):
    """The address is closed to guests; the text is the reason, and how to open it."""


@dataclass(frozen=True, slots=True)
class _AllowedTarget:
    host: str
    addresses: tuple[str, ...]


_allowed_target: contextvars.ContextVar[_AllowedTarget | None] = contextvars.ContextVar(
    "aim", default=None
)


@dataclass(frozen=True, slots=True)
class LocalEgress:
    """Addresses closed to guests; `restricted` is False where all are open."""

    restricted: bool = False
    allowed: frozenset[_Endpoint] = frozenset()
    own_addresses: frozenset[_Endpoint] = frozenset()

    @classmethod
    def read(cls, env: Mapping[str, str]) -> LocalEgress:
        """`RUNNER_LOCAL_EGRESS`: unset or `*` for all, `deny`, or what is open as `host[:port]`,
        separated by commas; `RUNNER_OWN_ADDRESSES`: the environment's services, likewise."""
        entries = [word.strip().lower() for word in env.get("RUNNER_LOCAL_EGRESS", "").split(",")]
        entries = [word for word in entries if word]
        if not entries or ALL in entries:
            return cls()
        own_addresses = env.get("RUNNER_OWN_ADDRESSES", "").lower().split(",")
        return cls(
            restricted=True,
            allowed=frozenset(_endpoint(word) for word in entries if word != DENY),
            own_addresses=frozenset(
                _endpoint(word.strip()) for word in own_addresses if word.strip()
            ),
        )

    async def check(self, host: str, port: int) -> None:
        """Resolve a host and remember for the connection which of its addresses are allowed.

        Raises EgressDenied when none is. A name that does not resolve here is left to a proxy.
        """
        _allowed_target.set(None)
        host = host.strip("[]")
        if not self.restricted or (host, port) in self.allowed:
            return
        if not (found := await _resolve(host, port)):
            return
        own_addresses = await _own.addresses(self.own_addresses)
        host_allowed = (host, None) in self.allowed
        reasons = {
            text: self._reason(text, port, own_addresses, host_allowed=host_allowed)
            for text in found
        }
        allowed = tuple(text for text, reason in reasons.items() if reason is None)
        if not allowed:
            reason = next(filter(None, reasons.values()))
            raise EgressDenied(
                f"{host}:{port} is {reason}; runner.local_egress in the spec can open it"
            )
        _allowed_target.set(_AllowedTarget(host, allowed))

    def _reason(
        self, text: str, port: int, own_addresses: frozenset[_Endpoint], *, host_allowed: bool
    ) -> str | None:
        """What is local about an address; None when nothing is, or when it is opened.

        The environment's own services are opened by their ports only.
        """
        if (text, port) in self.allowed:
            return None
        address = _embedded_ipv4(ipaddress.ip_address(text.partition("%")[0]))
        if {(str(address), port), (str(address), None)} & own_addresses:
            return "a service of this environment"
        if host_allowed or (text, None) in self.allowed:
            return None
        if address.is_loopback or address.is_unspecified or _is_local(address):
            return "this machine"
        if address.is_link_local:
            return "link-local"
        return None


def _endpoint(text: str) -> _Endpoint:
    """`host`, `host:port`, `[v6]` or `[v6]:port`; a bad port opens nothing."""
    if text.count(":") > 1 and not text.startswith("["):
        return text, None
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        return text.strip("[]"), None
    return host.strip("[]"), int(port) if port.isascii() and port.isdigit() else -1


def _embedded_ipv4(address: _Address) -> _Address:
    """The IPv4 address in an IPv6 one that only carries it."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.sixtofour is not None:
            return address.sixtofour
    return address


def _is_local(address: _Address) -> bool:
    """Whether an interface of this machine has the address: packets to it leave from it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return ipaddress.ip_address(probe.getsockname()[0].partition("%")[0]) == address
    except (OSError, ValueError):
        return False


async def _resolve(host: str, port: int) -> tuple[str, ...]:
    """Every address of a host, in the system's order; none when it has none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, OverflowError):
        return ()
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


class _OwnAddresses:
    """What names of the environment's services resolve to, remembered for a moment."""

    def __init__(self) -> None:
        self._known: dict[_Endpoint, tuple[float, tuple[str, ...]]] = {}

    async def addresses(self, places: Iterable[_Endpoint]) -> frozenset[tuple[str, int | None]]:
        now = time.monotonic()
        stale = [each for each in places if self._known.get(each, (0.0, ()))[0] < now]
        answers = await asyncio.gather(*(_resolve(host, port or 80) for host, port in stale))
        for place, found in zip(stale, answers, strict=True):
            # A container that is being made anew has no name for a while, and keeps its address.
            addresses = found or self._known.get(place, (0.0, ()))[1]
            self._known[place] = (now + _OWN_SECONDS, addresses)
        return frozenset(
            (str(_embedded_ipv4(ipaddress.ip_address(text.partition("%")[0]))), port)
            for host, port in places
            for text in self._known[host, port][1]
        )


_own = _OwnAddresses()


class EgressGuard:
    """The network of an HTTP client, but connections go to the addresses that `check` allowed."""

    def __init__(self, inner: httpcore.AsyncNetworkBackend) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, **more: Any
    ) -> httpcore.AsyncNetworkStream:
        """Connect, as the client's own network does; one address after the other."""
        import httpcore

        target = _allowed_target.get()
        if target is None or host.strip("[]") != target.host:  # a proxy, or nothing is closed
            return await self._inner.connect_tcp(host, port, timeout, **more)
        *first, last = target.addresses
        for address in first:
            try:
                return await self._inner.connect_tcp(address, port, _NEXT_SECONDS, **more)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._inner.connect_tcp(last, port, timeout, **more)


def is_allowed(entries: Collection[str], url: httpx.URL) -> bool:
    """Whether the host of a URL is an entry, or below one; no entries permit all.

    Ports, schemes and paths do not matter, and an entry that has one never matches. An address
    in numbers has to be an entry itself; IPv6 ones may stand in brackets.
    """
    if not entries:
        return True
    host = url.raw_host.decode()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return bool(host) and any(host == entry or host.endswith(f".{entry}") for entry in entries)
    written = str(address)
    return written in entries or f"[{written}]" in entries


DEFAULT_UI_PROXY_MS = 5000
DEFAULT_VAULT_TOKEN_FILE = "/run/secrets/alga_vault_token"  # noqa: S105 - a path
DEFAULT_VAULT_MOUNT = "transit"

_MAX_U64 = 2**64 - 1
_MAX_DIGITS = 20


@dataclass(frozen=True, slots=True)
class HostSettings:
    """See `read` for the variables behind this; an empty variable counts as unset."""

    egress: frozenset[str]
    """Hosts that `http.fetch` may ask, in lower case; empty: all."""
    ui_proxy: str | None
    """None: there is no route."""
    ui_proxy_seconds: float
    internal: str | None
    """Where `/api/internal/…` begins; without slashes at its end."""
    internal_token: str | None = field(repr=False)
    """Sent as `x-runner-auth`."""
    vault: str | None
    vault_token_file: Path
    vault_namespace: str | None
    vault_mount: str
    local: LocalEgress = field(default_factory=LocalEgress)
    """Which addresses of this machine `http.fetch` may ask."""
    scratch_tenants: bool = False
    """Whether a call may have the gateway answer its HTTP requests; `ALGAENV_SCRATCH_TENANTS`."""
    warnings: tuple[str, ...] = ()
    """Variables that are not what they should be and were ignored; a line each, for a log."""

    @classmethod
    def read(cls, env: Mapping[str, str]) -> HostSettings:
        """Read the variables of Alga's runner, by their names there.

        `EXT_EGRESS_ALLOWLIST`, `UI_PROXY_BASE_URL`, `UI_PROXY_TIMEOUT_MS`,
        `STORAGE_API_BASE_URL` else `REGISTRY_BASE_URL`, `RUNNER_STORAGE_API_TOKEN` else
        `RUNNER_SERVICE_TOKEN` (not trimmed), `VAULT_ADDR` else `ALGA_VAULT_ADDR`,
        `ALGA_VAULT_TOKEN_FILE`, `VAULT_NAMESPACE`, `ALGA_VAULT_TRANSIT_MOUNT`; and ours:
        `ALGAENV_SCRATCH_TENANTS` (false), and those of `LocalEgress`.
        """
        warnings: list[str] = []
        hosts = (host.strip().lower() for host in env.get("EXT_EGRESS_ALLOWLIST", "").split(","))
        milliseconds = _milliseconds(env.get("UI_PROXY_TIMEOUT_MS", ""), warnings)
        return cls(
            egress=frozenset(filter(None, hosts)),
            ui_proxy=_ui_proxy(env.get("UI_PROXY_BASE_URL", ""), warnings),
            ui_proxy_seconds=milliseconds / 1000,
            internal=_internal(_first(env, "STORAGE_API_BASE_URL", "REGISTRY_BASE_URL")),
            # Set but empty is sent as empty, as Alga does; but the other name comes first.
            internal_token=_first(env, "RUNNER_STORAGE_API_TOKEN", "RUNNER_SERVICE_TOKEN")
            or env.get("RUNNER_STORAGE_API_TOKEN", env.get("RUNNER_SERVICE_TOKEN")),
            vault=_first(env, "VAULT_ADDR", "ALGA_VAULT_ADDR"),
            vault_token_file=Path(env.get("ALGA_VAULT_TOKEN_FILE") or DEFAULT_VAULT_TOKEN_FILE),
            vault_namespace=env.get("VAULT_NAMESPACE") or None,
            vault_mount=env.get("ALGA_VAULT_TRANSIT_MOUNT") or DEFAULT_VAULT_MOUNT,
            local=LocalEgress.read(env),
            scratch_tenants=env.get("ALGAENV_SCRATCH_TENANTS", "").strip().lower() == "true",
            warnings=tuple(warnings),
        )


def _first(env: Mapping[str, str], *names: str) -> str | None:
    return next((value for name in names if (value := env.get(name))), None)


def _internal(base: str | None) -> str | None:
    return (base or "").strip().rstrip("/").removesuffix("/api") or None


def _ui_proxy(base: str, warnings: list[str]) -> str | None:
    base = base.strip()
    if not base:
        return None
    try:
        parts = urlsplit(base)
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return base
    except ValueError:
        pass
    warnings.append("UI_PROXY_BASE_URL is not an http(s) URL: no route will be found")
    return None


def _milliseconds(text: str, warnings: list[str]) -> int:
    text = text.strip()
    if not text:
        return DEFAULT_UI_PROXY_MS
    if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS:
        value = int(text)
        if 0 < value <= _MAX_U64:
            return value
    warnings.append(
        f"UI_PROXY_TIMEOUT_MS is not a number of milliseconds: {DEFAULT_UI_PROXY_MS} is used"
    )
    return DEFAULT_UI_PROXY_MS
