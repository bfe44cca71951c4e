"""The twelve interfaces of the world and their twenty-five functions, put together."""

from __future__ import annotations

from algaenv.runner.capabilities import context_data, logging, secrets, user
from algaenv.runner.capabilities.clients import clients
from algaenv.runner.capabilities.fetch import Http
from algaenv.runner.capabilities.invoicing import Invoicing
from algaenv.runner.capabilities.peers import Peers
from algaenv.runner.capabilities.scheduler import Scheduler
from algaenv.runner.capabilities.services import services
from algaenv.runner.capabilities.storage import Storage
from algaenv.runner.capabilities.ui_proxy import UiProxy
from algaenv.runner.invocation import HostTable
from algaenv.runner.outbound import Outbound


def table(peers: Peers, outbound: Outbound) -> HostTable:
    """What guests can import; opens no connection and imports no client library."""
    storage = Storage(peers, outbound)
    scheduler = Scheduler(peers, outbound)
    client_list, service_list = clients(peers, outbound), services(peers, outbound)
    return {
        "context": {"get-context": context_data.get_context},
        "secrets": {"get": secrets.get, "list-keys": secrets.list_keys},
        "http": {"fetch": Http(peers, outbound).fetch},
        "storage": {
            "get": storage.get,
            "put": storage.put,
            "delete": storage.delete,
            "list-entries": storage.list_entries,
        },
        "logging": {
            "log-info": logging.log_info,
            "log-warn": logging.log_warn,
            "log-error": logging.log_error,
        },
        "ui-proxy": {"call-route": UiProxy(peers, outbound).call_route},
        "user": {"get-user": user.get_user},
        "user-v2": {"get-user": user.get_user_v2},
        "scheduler": {
            "list-schedules": scheduler.list_schedules,
            "get-schedule": scheduler.get_schedule,
            "create-schedule": scheduler.create_schedule,
            "update-schedule": scheduler.update_schedule,
            "delete-schedule": scheduler.delete_schedule,
            "get-endpoints": scheduler.get_endpoints,
        },
        "invoicing": {
            "create-manual-invoice": Invoicing(peers, outbound).create_manual_invoice,
        },
        "clients": {"list-clients": client_list.list, "get-client": client_list.get},
        "services": {"list-services": service_list.list, "get-service": service_list.get},
    }
