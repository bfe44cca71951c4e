"""The machines that handlers may reach through the runner, and how; from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from algaenv.runner.capabilities.local_egress import LocalEgress

DEFAULT_UI_PROXY_MS = 5000
DEFAULT_VAULT_TOKEN_FILE = "/run/secrets/alga_vault_token"  # noqa: S105 - a path
DEFAULT_VAULT_MOUNT = "transit"

_MAX_U64 = 2**64 - 1
_LONGEST_NUMBER = 20


@dataclass(frozen=True, slots=True)
class Peers:
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
    complaints: tuple[str, ...] = ()
    """Variables that are not what they should be and were ignored; a line each, for a log."""

    @classmethod
    def read(cls, env: Mapping[str, str]) -> Peers:
        """Read the variables of Alga's runner, by their names there.

        `EXT_EGRESS_ALLOWLIST`, `UI_PROXY_BASE_URL`, `UI_PROXY_TIMEOUT_MS`,
        `STORAGE_API_BASE_URL` else `REGISTRY_BASE_URL`, `RUNNER_STORAGE_API_TOKEN` else
        `RUNNER_SERVICE_TOKEN` (not trimmed), `VAULT_ADDR` else `ALGA_VAULT_ADDR`,
        `ALGA_VAULT_TOKEN_FILE`, `VAULT_NAMESPACE`, `ALGA_VAULT_TRANSIT_MOUNT`; and ours, see
        `LocalEgress`.
        """
        complaints: list[str] = []
        hosts = (host.strip().lower() for host in env.get("EXT_EGRESS_ALLOWLIST", "").split(","))
        milliseconds = _milliseconds(env.get("UI_PROXY_TIMEOUT_MS", ""), complaints)
        return cls(
            egress=frozenset(filter(None, hosts)),
            ui_proxy=_ui_proxy(env.get("UI_PROXY_BASE_URL", ""), complaints),
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
            complaints=tuple(complaints),
        )


def _first(env: Mapping[str, str], *names: str) -> str | None:
    return next((value for name in names if (value := env.get(name))), None)


def _internal(base: str | None) -> str | None:
    return (base or "").strip().rstrip("/").removesuffix("/api") or None


def _ui_proxy(base: str, complaints: list[str]) -> str | None:
    base = base.strip()
    if not base:
        return None
    try:
        parts = urlsplit(base)
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return base
    except ValueError:
        pass
    complaints.append("UI_PROXY_BASE_URL is not an http(s) URL: no route will be found")
    return None


def _milliseconds(text: str, complaints: list[str]) -> int:
    text = text.strip()
    if not text:
        return DEFAULT_UI_PROXY_MS
    if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER:
        value = int(text)
        if 0 < value <= _MAX_U64:
            return value
    complaints.append(
        f"UI_PROXY_TIMEOUT_MS is not a number of milliseconds: {DEFAULT_UI_PROXY_MS} is used"
    )
    return DEFAULT_UI_PROXY_MS
