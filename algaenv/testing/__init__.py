"""Tests of extensions with pytest: the fixture `algaenv`, a tenant of its own for each test.

`plugin` is what pytest loads, in every project where algaenv is installed; nothing else of the
package imports pytest. So the names below are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from algaenv.testing.environment import Environment, EnvironmentFailed
    from algaenv.testing.gateway import GatewayRefused
    from algaenv.testing.http import PreparedHttp, SentRequest
    from algaenv.testing.response import Response
    from algaenv.testing.schedules import Clock, ScheduleRun, Schedules
    from algaenv.testing.storage import Storage
    from algaenv.testing.tenant import Page, ScratchTenant

__all__ = [
    "Clock",
    "Environment",
    "EnvironmentFailed",
    "GatewayRefused",
    "Page",
    "PreparedHttp",
    "Response",
    "ScheduleRun",
    "Schedules",
    "ScratchTenant",
    "SentRequest",
    "Storage",
]

_MODULES = {
    "environment": ("Environment", "EnvironmentFailed"),
    "gateway": ("GatewayRefused",),
    "http": ("PreparedHttp", "SentRequest"),
    "response": ("Response",),
    "schedules": ("Clock", "ScheduleRun", "Schedules"),
    "storage": ("Storage",),
    "tenant": ("Page", "ScratchTenant"),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"algaenv.testing.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
