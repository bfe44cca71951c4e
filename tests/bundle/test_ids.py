"""The ids below were made by Alga's own development installer."""

import uuid

import pytest

from algaenv.bundle.digest import Digest
from algaenv.bundle.layout import (
    bundle_id,
    canonical_uuid,
    install_id,
    registry_id,
    slug,
    version_id,
)

TENANT = "51bbbfe5-0720-4d9b-b3e5-b5b43e441a52"
HELLO = "com.alga.sample.hello-world"


def test_ids_of_a_published_extension() -> None:
    assert registry_id("Alga", HELLO) == "3b8b0204-25d9-57d0-951b-3ed518145469"
    assert version_id("Alga", HELLO, "0.1.1") == "d1164241-1ba8-525c-bcee-689e6fa1a534"
    assert install_id(TENANT, "Alga", HELLO) == "16a77336-ea5a-5b0e-9402-db2e9936f29d"


@pytest.mark.parametrize("publisher", [None, "", "local-dev"])
def test_ids_without_a_publisher(publisher: str | None) -> None:
    name = "com.example.demo"
    assert registry_id(publisher, name) == "bba3f57c-8de2-5d81-bb68-050d3bf39ef2"
    assert version_id(publisher, name, "1.0.0") == "90b82b31-d2d1-5816-9d72-60ab468fc2fc"
    assert (
        bundle_id(publisher, name, "1.0.0", Digest("0" * 64))
        == "04a53285-4742-5ade-ac13-e41d20b8bfe4"
    )
    assert install_id(TENANT, publisher, name) == "d1be2c01-afc9-50b5-8d35-3a4ae385f661"


def test_ids_are_version_5_in_the_dns_namespace() -> None:
    found = uuid.UUID(registry_id("é", "ü"))
    assert (found.version, found.variant) == (5, uuid.RFC_4122)
    assert found == uuid.uuid5(uuid.NAMESPACE_DNS, "é/ü")


def test_the_spelling_of_a_tenant_does_not_matter() -> None:
    assert install_id(TENANT.upper(), "Alga", HELLO) == install_id(TENANT, "Alga", HELLO)
    assert canonical_uuid(TENANT.upper()) == TENANT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tenant",
        TENANT.replace("-", ""),
        f"{{{TENANT}}}",
        f" {TENANT}",
        f"{TENANT}\n",
        f"urn:uuid:{TENANT}",
        TENANT[:-1] + "g",
        "5" + TENANT,
    ],
)
def test_only_hyphenated_uuids_are_tenants(text: str) -> None:
    with pytest.raises(ValueError, match="not a UUID"):
        canonical_uuid(text)
    with pytest.raises(ValueError, match="not a UUID"):
        install_id(text, "Alga", HELLO)


def test_slug_holds_publisher_and_name() -> None:
    assert slug("Alga", HELLO) == "alga.com.alga.sample.hello-world"
    assert slug(None, "Demo") == "local-dev.demo"
