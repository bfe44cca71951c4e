"""Responses of the gateway: the product's body byte for byte, and the problem behind it.

`x-algaenv-*` headers are always there. The body has a `problem` only for callers whose Accept
asks for `application/problem+json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Scope


@dataclass(frozen=True, slots=True)
class Problem:
    """`code` is stable, `summary` begins with "cannot", and `hint` tells what to do."""

    code: str
    summary: str
    hint: str

    @property
    def fields(self) -> dict[str, str]:
        """As it stands in an answer."""
        return {"code": self.code, "summary": self.summary, "hint": self.hint}


PROBLEM_JSON = "application/problem+json"
MAX_HEADER_LENGTH = 500
"""Characters of one header's value."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def json_response(
    status: int, fields: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON object, which no cache may keep unless `headers` allow it."""
    return Response(
        _encode(fields).encode(errors="replace"),
        status,
        {"cache-control": "no-store", **(headers or {})},
        media_type="application/json",
    )


def plain_json(
    status: int, fields: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON object that says nothing about caches, as those of the product do."""
    answer = json_response(status, fields, headers)
    del answer.headers["cache-control"]
    return answer


def problem_response(
    scope: Scope, status: int, fields: Mapping[str, object], problem: Problem
) -> Response:
    """The product's refusal, with the reason in headers and, for who wants it, in the body."""
    headers = {
        "x-algaenv-error": header_text(f"{problem.code}: {problem.summary}"),
        "x-algaenv-hint": header_text(problem.hint),
    }
    if not accepts_problem(scope):
        return plain_json(status, fields, headers)
    answer = plain_json(status, {**fields, "problem": problem.fields}, headers)
    answer.headers["content-type"] = PROBLEM_JSON
    return answer


def accepts_problem(scope: Scope) -> bool:
    """Whether the caller's Accept asks for problems by name."""
    return any(
        name == b"accept" and PROBLEM_JSON.encode() in value.lower()
        for name, value in scope["headers"]
    )


def header_text(text: str) -> str:
    """Text as the value of a header: printable ASCII of one line, of bounded length."""
    plain = _UNPRINTABLE.sub(
        lambda match: " " if match[0].isspace() else "?", text[: 2 * MAX_HEADER_LENGTH]
    )
    plain = plain.strip()
    return plain if len(plain) <= MAX_HEADER_LENGTH else f"{plain[: MAX_HEADER_LENGTH - 3]}..."


def is_header_value(text: str) -> bool:
    """Whether a header may have this value, which a handler chose."""
    return _HEADER_VALUE.fullmatch(text) is not None
