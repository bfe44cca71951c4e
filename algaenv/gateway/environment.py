"""What the process environment says, read once, and the file of settings that it names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from algaenv.bundle.ids import canonical_uuid
from algaenv.gateway.origin import is_http_url, origin
from algaenv.gateway.settings import BadSettings, Settings

__all__ = ["BadEnvironment", "DebugStream", "Environment", "is_http_url"]

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 3000
DEFAULT_RUNNER = "http://localhost:8080"
DEFAULT_PUBLIC = "/runner"
DEFAULT_TIMEOUT_MS = 30_000
DEFAULT_STREAM_PREFIX = "ext-debug:"
DEFAULT_TAIL = 50
MOST_TAIL = 1_000

_MAX_PORT = 65_535
_MAX_TIMEOUT_MS = 86_400_000
_LONGEST_NUMBER = 10


SECRETS_FILE = "GATEWAY_SECRETS_FILE"


class BadEnvironment(Exception):
    """The process cannot run with these variables; the text is one line for its operator."""


@dataclass(frozen=True, slots=True)
class DebugStream:
    """The Redis that runners write the debug stream to, and how the keys of its streams begin."""

    url: str = field(repr=False)
    """With the password in it."""
    prefix: str = DEFAULT_STREAM_PREFIX
    tail: int = DEFAULT_TAIL
    """Entries of the past that come first, at most MOST_TAIL."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Every setting of the process; see `read` for the variables behind it."""

    host: str
    port: int
    log_level: str
    database_url: str = field(repr=False)
    runner_url: str
    """Without a slash at the end."""
    runner_public: str
    """Where browsers find the runner: `RUNNER_PUBLIC_BASE`, else `/runner` of the gateway."""
    allowed_origins: frozenset[str]
    """Other origins that may call through the proxy: `EXT_PROXY_ALLOWED_ORIGINS`, and those of
    the runner and of development servers."""
    storage_token: str = field(repr=False)
    """`RUNNER_STORAGE_API_TOKEN`; empty when unset, as the other two tokens are."""
    service_token: str = field(repr=False)
    """`RUNNER_SERVICE_TOKEN`."""
    inbound_token: str = field(repr=False)
    """`RUNNER_INBOUND_TOKEN`, which the runner wants with every call."""
    config_token: str = field(repr=False)
    """`RUNNER_CONFIG_API_TOKEN`."""
    auth_key: str = field(repr=False)
    """`ALGA_AUTH_KEY`: what a runner shows when it asks for installs."""
    tenant: str
    """Canonical UUID; the tenant of every user."""
    debug_stream: DebugStream | None
    timeout_ms: int
    """Of one call; `EXT_GATEWAY_TIMEOUT_MS`, 30000 as in the product."""
    settings: Settings = field(repr=False)

    @classmethod
    def read(cls, env: Mapping[str, str]) -> Environment:
        """Read the variables. Raises BadEnvironment with all that is wrong.

        `DATABASE_URL` and `TENANT_ID` must be there; `HOST` (127.0.0.1), `PORT` (3000),
        `LOG_LEVEL` (info), `RUNNER_BASE_URL` (http://localhost:8080) and the rest need not.
        `GATEWAY_SETTINGS` names a file of JSON that nobody but its owner may read.
        """
        wrong: list[str] = []
        database = env.get("DATABASE_URL", "").strip()
        if urlsplit(database).scheme not in {"postgresql", "postgres"}:
            wrong.append("DATABASE_URL is not set to a postgresql:// URL")
        runner = (env.get("RUNNER_BASE_URL") or DEFAULT_RUNNER).strip().rstrip("/")
        if not is_http_url(runner):
            wrong.append("RUNNER_BASE_URL is not an http(s) URL")
        file = env.get("GATEWAY_SETTINGS")
        settings = Settings()
        try:
            settings = Settings.load(Path(file)) if file else settings
        except BadSettings as error:
            wrong.append(str(error))
        public = (env.get("RUNNER_PUBLIC_BASE") or DEFAULT_PUBLIC).strip().rstrip("/")
        others = [it.ui_dev_server for it in settings.extensions.values()]
        listed = env.get("EXT_PROXY_ALLOWED_ORIGINS", "").split(",")
        read = cls(
            host=env.get("HOST") or DEFAULT_HOST,
            port=_number(env, "PORT", DEFAULT_PORT, _MAX_PORT, wrong),
            log_level=(env.get("LOG_LEVEL") or "info").strip().lower(),
            database_url=database,
            runner_url=runner,
            runner_public=public,
            allowed_origins=frozenset(
                found for it in (runner, public, *others, *listed) if (found := origin(it or ""))
            ),
            storage_token=env.get("RUNNER_STORAGE_API_TOKEN", ""),
            service_token=env.get("RUNNER_SERVICE_TOKEN", ""),
            inbound_token=env.get("RUNNER_INBOUND_TOKEN", ""),
            config_token=env.get("RUNNER_CONFIG_API_TOKEN", ""),
            auth_key=env.get("ALGA_AUTH_KEY", "").strip(),
            tenant=_tenant(env.get("TENANT_ID", ""), wrong),
            debug_stream=_debug_stream(env, wrong),
            timeout_ms=_number(
                env, "EXT_GATEWAY_TIMEOUT_MS", DEFAULT_TIMEOUT_MS, _MAX_TIMEOUT_MS, wrong
            )
            or DEFAULT_TIMEOUT_MS,
            settings=settings,
        )
        if wrong:
            raise BadEnvironment("; ".join(wrong))
        return read


def secrets(env: Mapping[str, str]) -> Mapping[str, str]:
    """What the file of `GATEWAY_SECRETS_FILE` holds, JSON of names and texts; goes before `env`.

    Raises BadEnvironment.
    """
    path = env.get(SECRETS_FILE, "")
    try:
        held = json.loads(Path(path).read_text("utf-8")) if path else {}
    except OSError as error:
        raise BadEnvironment(f"{SECRETS_FILE}: cannot read {path}: {error.strerror}") from None
    except ValueError:
        held = None  # The complaint would quote what it found.
    if isinstance(held, dict) and all(isinstance(text, str) for text in held.values()):
        return held
    raise BadEnvironment(f"{SECRETS_FILE}: {path} is not a JSON object of texts")


def _tenant(value: str, wrong: list[str]) -> str:
    try:
        return canonical_uuid(value.strip())
    except ValueError:
        wrong.append("TENANT_ID is not set to a UUID")
        return ""


def _debug_stream(env: Mapping[str, str], wrong: list[str]) -> DebugStream | None:
    """As the runner reads it: the password becomes part of a URL that has no login."""
    tail = _number(env, "EXT_DEBUG_SSE_TAIL_COUNT", DEFAULT_TAIL, MOST_TAIL, wrong)
    url = env.get("RUNNER_DEBUG_REDIS_URL", "").strip()
    if not url:
        return None
    password = env.get("RUNNER_DEBUG_REDIS_PASSWORD", "")
    scheme, mark, rest = url.partition("://")
    if password and mark and "@" not in rest.partition("/")[0]:
        url = f"{scheme}://:{quote(password, safe='')}@{rest}"
    prefix = env.get("RUNNER_DEBUG_REDIS_STREAM_PREFIX", DEFAULT_STREAM_PREFIX)
    return DebugStream(url, prefix, tail)


def _number(env: Mapping[str, str], name: str, default: int, at_most: int, wrong: list[str]) -> int:
    text = (env.get(name) or "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > _LONGEST_NUMBER:
        wrong.append(f"{name} is not a number")
        return default
    if int(text) > at_most:
        wrong.append(f"{name} is more than {at_most}")
        return default
    return int(text)
