"""Answers: the product's body byte for byte, and beside it what the product does not say.

`x-algaenv-*` headers are always there. The body grows a `problem` only for callers whose Accept
asks for `application/problem+json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Scope

from algaenv.gateway.problem import Problem

PROBLEM_JSON = "application/problem+json"
LONGEST = 500
"""Characters of one header's value."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def document(
    status: int, fields: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON object, which nobody may keep unless `headers` say so."""
    return Response(
        _encode(fields).encode(errors="replace"),
        status,
        {"cache-control": "no-store", **(headers or {})},
        media_type="application/json",
    )


def refusal(scope: Scope, status: int, fields: Mapping[str, object], problem: Problem) -> Response:
    """The product's refusal, with the reason in headers and, for who wants it, in the body."""
    headers = {
        "x-algaenv-error": shown(f"{problem.code}: {problem.summary}"),
        "x-algaenv-hint": shown(problem.hint),
    }
    if not wants_problem(scope):
        return document(status, fields, headers)
    answer = document(status, {**fields, "problem": problem.fields}, headers)
    answer.headers["content-type"] = PROBLEM_JSON
    return answer


def wants_problem(scope: Scope) -> bool:
    """Whether the caller's Accept asks for problems by name."""
    return any(
        name == b"accept" and PROBLEM_JSON.encode() in value.lower()
        for name, value in scope["headers"]
    )


def shown(text: str) -> str:
    """Text as the value of a header: printable ASCII of one line, of bounded length."""
    plain = _UNPRINTABLE.sub(lambda match: " " if match[0].isspace() else "?", text[: 2 * LONGEST])
    plain = plain.strip()
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 3]}..."


def is_header_value(text: str) -> bool:
    """Whether a header may have this value, which a handler chose."""
    return _HEADER_VALUE.fullmatch(text) is not None
