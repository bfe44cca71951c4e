"""The environments a runner is asked in, each with a name."""

from __future__ import annotations

from collections.abc import Callable

from .peers import AUTH_KEY, SERVICE_TOKEN, TOKEN, Peers

Variables = dict[str, str]
CSP = "default-src 'self'; connect-src 'self' https:"
ANCESTORS = "https://app.example.com"
MOST_STATIC_BYTES = 1024
MOST_EVENT_BYTES = 40
MOST_EVENTS = 50
PREFIX = "Conformance/"


def plain(peers: Peers) -> Variables:
    """All peers there, no rules: most cases."""
    return {
        "ALGA_AUTH_KEY": f" {AUTH_KEY} ",
        "REGISTRY_BASE_URL": f"{peers.app.url}/api/",
        "BUNDLE_STORE_BASE": f"{peers.store.url}/bundles/",
        "EXT_CACHE_ROOT": str(peers.folder / "cache-plain"),
        "EXT_CACHE_MAX_BYTES": "536870912",
        "EXT_STATIC_STRICT_VALIDATION": "false",
        "UI_PROXY_BASE_URL": f"{peers.proxy.url}/api/ui-proxy/?ignored=1",
        "UI_PROXY_AUTH_KEY": "never-sent",
        "RUNNER_STORAGE_API_TOKEN": TOKEN,
        "RUNNER_SERVICE_TOKEN": SERVICE_TOKEN,
        "VAULT_ADDR": f"{peers.vault.url}/",
        "ALGA_VAULT_TOKEN_FILE": str(peers.folder / "vault-token"),
        "RUNNER_DEBUG_REDIS_URL": peers.redis.url,
        "NO_COLOR": "1",
    }


def strict(peers: Peers) -> Variables:
    """The registry decides about pages; the key comes from a file; files are small."""
    variables = plain(peers) | {
        "EXT_CACHE_ROOT": str(peers.folder / "cache-strict"),
        "ALGA_AUTH_KEY_FILE": str(peers.folder / "auth-key"),
        "EXT_STATIC_MAX_FILE_BYTES": str(MOST_STATIC_BYTES),
        "EXT_UI_FRAME_ANCESTORS": f" {ANCESTORS} ",
    }
    del variables["ALGA_AUTH_KEY"], variables["EXT_STATIC_STRICT_VALIDATION"]
    return variables


def configured(peers: Peers) -> Variables:
    """Whatever can be set is set, by its second name where it has two."""
    variables = plain(peers) | {
        "EXT_CACHE_ROOT": str(peers.folder / "cache-configured"),
        "EXT_STATIC_STRICT_VALIDATION": "Yes",
        "EXT_UI_CONTENT_SECURITY_POLICY": f" {CSP} ",
        "EXT_UI_FRAME_ANCESTORS": ANCESTORS,
        "EXT_EGRESS_ALLOWLIST": (
            " , LOCALHOST, example.test ,.dotted.test,*.star.test,port.test:80,http://scheme.test"
        ),
        "UI_PROXY_TIMEOUT_MS": "300",
        "STORAGE_API_BASE_URL": f" {peers.app.url}/inner/api// ",
        "ALGA_VAULT_ADDR": peers.vault.url,
        "ALGA_VAULT_TRANSIT_MOUNT": "/mounted/",
        "VAULT_NAMESPACE": "team-a",
        "RUNNER_DEBUG_REDIS_URL": peers.locked_redis.url,
        "RUNNER_DEBUG_REDIS_PASSWORD": peers.locked_redis.password,
        "RUNNER_DEBUG_REDIS_STREAM_PREFIX": PREFIX,
        "RUNNER_DEBUG_REDIS_MAXLEN": str(MOST_EVENTS),
        "RUNNER_DEBUG_MAX_EVENT_BYTES": str(MOST_EVENT_BYTES),
        "MINIO_ACCESS_KEY": "minio-access",
        "MINIO_SECRET_KEY": "minio-secret-key",
        "S3_REGION": "eu-test-1",
    }
    for name in ("VAULT_ADDR", "RUNNER_STORAGE_API_TOKEN"):
        del variables[name]
    return variables


def closed(peers: Peers) -> Variables:
    """Whatever may be missing is missing; the strict flag has blanks around it."""
    return {
        "ALGA_AUTH_KEY": AUTH_KEY,
        "REGISTRY_BASE_URL": f"{peers.app.url}/api",
        "BUNDLE_STORE_BASE": f"{peers.store.url}/bundles",
        "EXT_CACHE_ROOT": str(peers.folder / "cache-closed"),
        "EXT_STATIC_STRICT_VALIDATION": " true ",
        "EXT_STATIC_MAX_FILE_BYTES": "not-a-number",
        "EXT_UI_CONTENT_SECURITY_POLICY": " ",
        "EXT_UI_FRAME_ANCESTORS": "",
        "UI_PROXY_BASE_URL": "not a url",
        "NO_COLOR": "1",
    }


def storeless(peers: Peers) -> Variables:
    """No base for bundles is configured."""
    variables = plain(peers) | {"EXT_CACHE_ROOT": str(peers.folder / "cache-storeless")}
    del variables["BUNDLE_STORE_BASE"]
    return variables


def dead(peers: Peers) -> Variables:
    """Nobody answers: neither the store nor the application server."""
    return {
        "ALGA_AUTH_KEY": "test-key",
        "REGISTRY_BASE_URL": peers.nowhere,
        "BUNDLE_STORE_BASE": peers.nowhere,
        "EXT_CACHE_ROOT": str(peers.folder / "cache-dead"),
        "NO_COLOR": "1",
    }


def lonely(peers: Peers) -> Variables:
    """There is a store, and none of the other peers."""
    return plain(peers) | {
        "EXT_CACHE_ROOT": str(peers.folder / "cache-lonely"),
        "REGISTRY_BASE_URL": peers.nowhere,
        "UI_PROXY_BASE_URL": peers.nowhere,
        "VAULT_ADDR": peers.nowhere,
        "RUNNER_DEBUG_REDIS_URL": peers.nowhere.replace("http:", "redis:"),
    }


def outage(peers: Peers) -> Variables:
    """The debug stream goes to a Redis that comes and goes."""
    return plain(peers) | {
        "EXT_CACHE_ROOT": str(peers.folder / "cache-outage"),
        "RUNNER_DEBUG_REDIS_URL": peers.frail_redis.url,
    }


PROFILES: dict[str, Callable[[Peers], Variables]] = {
    profile.__name__: profile
    for profile in (plain, strict, configured, closed, storeless, dead, lonely, outage)
}
