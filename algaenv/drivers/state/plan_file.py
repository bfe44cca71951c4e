"""The file of a saved plan: JSON, 0600, as docs/reference/saved-plan.schema.json describes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from algaenv.bundle.value import field_names
from algaenv.drivers.state.private_files import write_private
from algaenv.model.problem import Problem, SpecError
from algaenv.plan.saved import PlanOptions, SavedPlan, SavedStep

FORMAT = 1
"""Version of the file; it changes when a key changes its meaning or goes away."""
MAX_BYTES = 1 << 24


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class _Options(_Part):
    runtime: Literal["auto", "docker", "process"] | None
    images: Literal["auto", "pull", "build"] | None
    adopt: bool
    thorough: bool
    extensions: tuple[str, ...]


class _Step(_Part):
    verb: str
    address: str
    cause: str
    needs: tuple[str, ...]
    wanted: str


class _Document(_Part):
    version: int
    time: str
    algaenv: str
    environment: str
    name: str
    spec: str
    options: _Options
    inputs: dict[str, str]
    observed: dict[str, str]
    steps: tuple[_Step, ...]
    deferred: tuple[str, ...]
    digests: dict[str, str]


def write_plan(path: Path, saved: SavedPlan) -> None:
    """Write a plan to a file of 0600, wholly or not at all. Raises Failed."""
    fields = {name: getattr(saved, name) for name in field_names(saved)}
    fields["options"] = _Options(**_fields(saved.options))
    fields["steps"] = tuple(_Step(**_fields(step)) for step in saved.steps)
    document = _Document.model_construct(version=FORMAT, **fields, digests=saved.digests)
    text = json.dumps(document.model_dump(mode="json"), indent=1, ensure_ascii=False)
    write_private(path, f"{text}\n".encode())


def read_plan(path: Path) -> SavedPlan:
    """The plan in a file; raises SpecError (`plan-file`) for what `write_plan` has not written."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None
    try:
        document = _Document.model_validate_json(content)
    except ValidationError:
        raise _unreadable(path, "it is no plan of `algaenv plan --out FILE`") from None
    if document.version != FORMAT:
        raise _unreadable(path, f"it has the format {document.version}, not {FORMAT}")
    fields = {name: getattr(document, name) for name in field_names(SavedPlan)}
    fields["options"] = PlanOptions(**document.options.model_dump())
    fields["steps"] = tuple(SavedStep(**step.model_dump()) for step in document.steps)
    saved = SavedPlan(**fields)
    if document.digests != saved.digests:
        raise _unreadable(path, "it was edited or cut short: its digests do not fit its content")
    return saved


def is_plan(path: Path) -> bool:
    """Whether a file is a saved plan."""
    try:
        read_plan(path)
    except SpecError:
        return False
    return True


def _fields(value: PlanOptions | SavedStep) -> dict[str, Any]:
    return {name: getattr(value, name) for name in field_names(value)}


def _unreadable(path: Path, why: str) -> SpecError:
    hint = "write one with `algaenv plan --out FILE`"
    return SpecError(Problem("plan-file", f"cannot read the plan {path}: {why}", hint))
