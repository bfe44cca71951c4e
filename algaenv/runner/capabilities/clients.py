"""`clients`: the customers that the user may see."""

from __future__ import annotations

from typing import Any

from algaenv.runner.capabilities import grants
from algaenv.runner.capabilities.catalogue import Catalogue
from algaenv.runner.capabilities.fields import Fields, flag, needed, text
from algaenv.runner.capabilities.peers import Peers
from algaenv.runner.outbound import Outbound


def clients(peers: Peers, outbound: Outbound) -> Catalogue:
    """The catalogue of client-summary."""
    return Catalogue(
        "clients", grants.CLIENTS, "client_id", summary, peers=peers, outbound=outbound
    )


def summary(fields: Fields) -> dict[str, Any]:
    """client-summary. Raises Malformed without an id or a name."""
    return {
        "client_id": needed(fields, "client_id"),
        "client_name": needed(fields, "client_name"),
        "client_type": text(fields, "client_type"),
        "is_inactive": flag(fields, "is_inactive", default=False),
        "default_currency_code": text(fields, "default_currency_code"),
        "account_manager_id": text(fields, "account_manager_id"),
        "account_manager_name": text(fields, "account_manager_name"),
        "billing_email": text(fields, "billing_email"),
    }
