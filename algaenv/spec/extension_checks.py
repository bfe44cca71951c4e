"""`checks` of an extension: what `algaenv test` asks, and what must come back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, JsonValue, Tag

from algaenv.model.comparison import METHODS
from algaenv.model.intent import CallCheck, ExpectedAnswer, PageCheck, ScheduleCheck
from algaenv.model.problem import Where
from algaenv.spec.calls import HeaderName, Printable
from algaenv.spec.diagnostics import Diagnostics, suggestion
from algaenv.spec.nodes import NodePath, SourceMap, plain_json
from algaenv.spec.types import (
    TAG_PREFIX,
    MatchesPattern,
    ResolveVariable,
    SpecModel,
    Text,
    TextVariable,
)

Status = Annotated[int, Field(ge=100, le=599), ResolveVariable]
Json = Annotated[JsonValue, BeforeValidator(plain_json)]
_LINE, _CALL, _PAGE, _SCHEDULE = (
    f"{TAG_PREFIX}{name}" for name in ("line", "call", "page", "schedule")
)


Line = Annotated[
    str,
    MatchesPattern(
        rf"(?:(?:{'|'.join(METHODS)}) +)?/\S*",
        "spec-call",
        "a call looks like /items/42 or GET /items/42",
        "write a mapping with `call`, `body` and `expect` for more",
    ),
]


class CallExpectation(SpecModel):
    """What the answer to a call must have."""

    status: Status | None = Field(default=None, description="Its status. Default: below 400.")
    json_: Json = Field(
        default=None,
        alias="json",
        description="A part of its body as JSON: keys that are not named may have any value; "
        "lists are compared whole.",
    )
    text: Text | None = Field(default=None, description="Text that its body contains.")
    headers: dict[HeaderName, Printable] = Field(
        default_factory=dict,
        description="Headers that it has; parameters count only where they are given.",
    )


class CallCheckSpec(SpecModel):
    """A call of a handler through the gateway."""

    call: Line = Field(description="`GET /notes`, `/notes`, `POST /notes` and such.")
    name: Text | None = Field(default=None, description="What results call it.")
    user: Printable | None = Field(
        default=None, description="Who asks, one of gateway.users. Default: the first."
    )
    headers: dict[HeaderName, Printable] = Field(
        default_factory=dict, description="Headers to send."
    )
    body: Json = Field(
        default=None, description="Body to send: text as it is, anything else as JSON."
    )
    expect: CallExpectation = Field(
        default_factory=CallExpectation, description="What the answer must have."
    )


class PageExpectation(SpecModel):
    """What a page must have."""

    text: Text | None = Field(default=None, description="Text that its HTML contains.")


class PageCheckSpec(SpecModel):
    """The page of the extension, which must load in a portal."""

    page: Annotated[Literal["msp", "client"], TextVariable] = Field(
        description="The portal that frames it: msp or client."
    )
    name: Text | None = Field(default=None, description="What results call it.")
    user: Printable | None = Field(
        default=None, description="Who looks at it, one of gateway.users. Default: the first."
    )
    expect: PageExpectation = Field(
        default_factory=PageExpectation, description="What the page must have."
    )


class ScheduleCheckSpec(SpecModel):
    """The schedules of an endpoint, each of which must run now and end well."""

    schedule: Line = Field(description="The endpoint that a schedule calls: `POST /refresh`.")
    name: Text | None = Field(default=None, description="What results call it.")


def _tag(value: object) -> str:
    if isinstance(value, str):
        return _LINE
    keys = value if isinstance(value, dict) else ()
    return _PAGE if "page" in keys else _SCHEDULE if "schedule" in keys else _CALL


CheckSpec = Annotated[
    Annotated[Line, Tag(_LINE)]
    | Annotated[CallCheckSpec, Tag(_CALL)]
    | Annotated[PageCheckSpec, Tag(_PAGE)]
    | Annotated[ScheduleCheckSpec, Tag(_SCHEDULE)],
    Discriminator(_tag),
]


def resolve_checks(
    written: Sequence[str | CallCheckSpec | PageCheckSpec | ScheduleCheckSpec],
    users: Sequence[str],
    path: NodePath,
    source_map: SourceMap,
    diagnostics: Diagnostics,
) -> tuple[CallCheck | PageCheck | ScheduleCheck, ...]:
    """The checks as values; adds an error for a user that the gateway does not know.

    Without `users`, there is no gateway whose users are known.
    """
    for index, spec in enumerate(written):
        user = getattr(spec, "user", None)
        if user is not None and users and user not in users:
            diagnostics.add_error(
                "spec-check-user",
                f"check as {user}: the gateway has no such user",
                suggestion(user, users),
                source_map.value((*path, index, "user")),
            )
    return tuple(
        _check(spec, source_map.value((*path, index))) for index, spec in enumerate(written)
    )


def _check(
    spec: str | CallCheckSpec | PageCheckSpec | ScheduleCheckSpec, where: Where
) -> CallCheck | PageCheck | ScheduleCheck:
    if isinstance(spec, str):
        spec = CallCheckSpec(call=spec)
    if isinstance(spec, PageCheckSpec):
        name = spec.name or f"page in {spec.page}"
        return PageCheck(name, spec.page, spec.user, spec.expect.text, where)
    if isinstance(spec, ScheduleCheckSpec):
        method, path = _endpoint(spec.schedule, "")
        return ScheduleCheck(spec.name or f"schedule of {spec.schedule}", method, path, where)
    body = _text(spec.body)
    method, path = _endpoint(spec.call, "GET" if body is None else "POST")
    wanted = spec.expect
    return CallCheck(
        name=spec.name or f"{method} {path}",
        method=method,
        path=path,
        user=spec.user,
        headers={name.lower(): value for name, value in spec.headers.items()},
        body=body,
        expect=ExpectedAnswer(
            status=wanted.status,
            json=(wanted.json_,) if "json_" in wanted.model_fields_set else (),
            text=wanted.text,
            headers={name.lower(): value for name, value in wanted.headers.items()},
        ),
        where=where,
    )


def _endpoint(line: str, default: str) -> tuple[str, str]:
    method, _, path = line.rpartition(" ")
    return method.strip() or default, path


def _text(body: JsonValue) -> str | None:
    if body is None or isinstance(body, str):
        return body
    return json.dumps(body)
