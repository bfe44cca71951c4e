"""`services`: what the tenant sells."""

from __future__ import annotations

from typing import Any

from algaenv.runner.capabilities import grants
from algaenv.runner.capabilities.catalogue import Catalogue
from algaenv.runner.capabilities.fields import Fields, flag, needed, number, one_of, raw, text
from algaenv.runner.capabilities.peers import Peers
from algaenv.runner.outbound import Outbound

KINDS = frozenset(("service", "product"))
METHODS = frozenset(("fixed", "hourly", "usage"))


def services(peers: Peers, outbound: Outbound) -> Catalogue:
    """The catalogue of service-summary."""
    return Catalogue(
        "services", grants.SERVICES, "service_id", summary, peers=peers, outbound=outbound
    )


def summary(fields: Fields) -> dict[str, Any]:
    """service-summary. Raises Malformed without an id or a name, or of no known kind or method."""
    return {
        "service_id": needed(fields, "service_id"),
        "service_name": needed(fields, "service_name"),
        "item_kind": one_of(fields, "item_kind", KINDS),
        "billing_method": one_of(fields, "billing_method", METHODS),
        "service_type_id": text(fields, "service_type_id"),
        "service_type_name": text(fields, "service_type_name"),
        "default_rate": number(raw(fields, "default_rate")) or 0.0,
        "unit_of_measure": text(fields, "unit_of_measure") or "",
        "is_active": flag(fields, "is_active", default=True),
        "sku": text(fields, "sku"),
    }
