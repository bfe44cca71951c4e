import pytest

from algaenv.bundle.digest import Digest
from algaenv.bundle.layout import (
    BundleKey,
    bundle_key,
    call_path,
    content_path,
    extension_prefix,
    extensions_prefix,
    page_path,
    parse_bundle_key,
)

TENANT = "51bbbfe5-0720-4d9b-b3e5-b5b43e441a52"
REGISTRY = "3b8b0204-25d9-57d0-951b-3ed518145469"
DIGEST = Digest("ab" * 32)
KEY = f"tenants/{TENANT}/extensions/{REGISTRY}/sha256/{DIGEST.hex}/bundle.tar.zst"


def test_key_of_a_bundle() -> None:
    assert bundle_key(TENANT, REGISTRY, DIGEST) == KEY
    assert KEY.startswith(extension_prefix(TENANT, REGISTRY))
    assert extension_prefix(TENANT, REGISTRY).startswith(extensions_prefix(TENANT))
    assert extensions_prefix(TENANT).endswith("/")
    assert extension_prefix(TENANT, REGISTRY).endswith("/")


def test_key_takes_ids_as_they_are() -> None:
    assert (
        bundle_key("", "X y", DIGEST)
        == f"tenants//extensions/X y/sha256/{DIGEST.hex}/bundle.tar.zst"
    )


def test_key_is_read_back() -> None:
    assert parse_bundle_key(KEY) == BundleKey(TENANT, REGISTRY, DIGEST)


@pytest.mark.parametrize(
    "key",
    [
        "",
        f"/{KEY}",
        f"{KEY}\n",
        KEY.upper(),
        KEY.replace(TENANT, TENANT.upper()),
        KEY.replace(DIGEST.hex, DIGEST.hex[:-1]),
        KEY.replace(TENANT, "_staging"),
        KEY.replace("bundle.tar.zst", "manifest.json"),
        KEY.replace("bundle.tar.zst", "bundleXtar.zst"),
        f"sha256/{DIGEST.hex}/bundle.tar.zst",
    ],
)
def test_other_keys_are_not_bundles(key: str) -> None:
    assert parse_bundle_key(key) is None


def test_paths() -> None:
    content = f"/ext-ui/{REGISTRY}/sha256%3A{DIGEST.hex}"
    assert page_path(REGISTRY, DIGEST, TENANT) == (
        f"{content}/index.html?path=/&tenant={TENANT}&extensionId={REGISTRY}"
    )
    assert content_path(REGISTRY, DIGEST, "/a b/ü?.js") == f"{content}/a%20b/%C3%BC%3F.js"
    assert call_path(REGISTRY, "/agreements/7?all=1") == f"/api/ext/{REGISTRY}/agreements/7?all=1"
    assert call_path(REGISTRY, "x") == f"/api/ext/{REGISTRY}/x"
