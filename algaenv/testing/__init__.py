"""Tests of extensions with pytest: the fixture `algaenv`, a tenant of its own for each test.

`plugin` is what pytest loads; nothing else of the package imports pytest.
"""

from __future__ import annotations

from algaenv.testing.environment import Environment, EnvironmentFailed
from algaenv.testing.http import PreparedHttp, SentRequest
from algaenv.testing.response import Response
from algaenv.testing.schedules import Clock, ScheduleRun, Schedules
from algaenv.testing.storage import Storage
from algaenv.testing.tenant import Page, ScratchTenant

__all__ = [
    "Clock",
    "Environment",
    "EnvironmentFailed",
    "Page",
    "PreparedHttp",
    "Response",
    "ScheduleRun",
    "Schedules",
    "ScratchTenant",
    "SentRequest",
    "Storage",
]
