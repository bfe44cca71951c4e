"""The operations on schedules, as their bodies must look."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from algaenv.bundle.ids import UUID_PATTERN

Id = Annotated[str, Field(pattern=rf"^(?i:{UUID_PATTERN})$")]


class Operation(BaseModel):
    """What every body has. Strict about types, blind to fields it does not know."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    operation: Literal["list", "get", "create", "update", "delete", "getEndpoints"]


class One(Operation):
    """Read or delete one schedule."""

    scheduleId: Id


class Create(Operation):
    """Make one."""

    endpoint: Annotated[str, Field(min_length=1, max_length=256)]
    cron: Annotated[str, Field(min_length=1, max_length=128)]
    timezone: Annotated[str, Field(max_length=64)] = ""
    enabled: StrictBool = True
    name: Annotated[str, Field(max_length=128)] = ""
    payload: Any = None


class Update(One):
    """Change those fields that are given; `model_fields_set` knows which."""

    endpoint: Annotated[str, Field(min_length=1, max_length=256)] = ""
    cron: Annotated[str, Field(min_length=1, max_length=128)] = ""
    timezone: Annotated[str, Field(max_length=64)] = ""
    enabled: StrictBool = True
    name: Annotated[str, Field(max_length=128)] | None = None
    payload: Any = None
