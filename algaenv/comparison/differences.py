"""Compares two answers: status, headers, body, and the last host call where both tell it.

JSON is compared value by value, other text line by line, anything else as bytes. How long an answer
took is never a difference.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from algaenv.comparison.volatile import (
    HOST_CALL,
    OUR_HEADERS,
    TOLD_HEADERS,
    VOLATILE_HEADERS,
    IgnoreRules,
    is_volatile,
    pointer_of,
    stable_text,
)
from algaenv.model.comparison import Answer, Call, ComparedCall, Difference, Outcome

MOST = 200
"""Differences that are listed of one answer."""
_NO_JSON = object()
_ABSENT = object()


def compare_answers(call: Call, here: Answer, there: Answer, ignored: IgnoreRules) -> ComparedCall:
    """The call with all that differs and is not ignored, without the answers themselves."""
    return ComparedCall(
        call,
        Outcome(here.status, here.ms),
        Outcome(there.status, there.ms),
        differences(here, there, ignored),
    )


def differences(here: Answer, there: Answer, ignored: IgnoreRules) -> tuple[Difference, ...]:
    """All that differs and is not ignored, at most MOST."""
    found = []
    for difference in _differences(here, there, ignored):
        found.append(difference)
        if len(found) == MOST:
            break
    return tuple(found)


def _differences(here: Answer, there: Answer, ignored: IgnoreRules) -> Iterator[Difference]:
    if here.status != there.status and "status" not in ignored.whole:
        yield Difference("status", "", (here.status,), (there.status,))
    if "headers" not in ignored.whole:
        yield from _headers(here, there, ignored)
    if "body" not in ignored.whole:
        yield from _bodies(here.body, there.body, ignored)
    if "host-call" not in ignored.whole:
        yield from _host_calls(here, there)


def _headers(here: Answer, there: Answer, ignored: IgnoreRules) -> Iterator[Difference]:
    for name in sorted(here.headers.keys() | there.headers.keys()):
        if name in VOLATILE_HEADERS or name in ignored.headers:
            continue
        mine, theirs = _shown(name, here.headers), _shown(name, there.headers)
        if name.startswith(OUR_HEADERS) and (
            name not in TOLD_HEADERS or mine is None or theirs is None
        ):
            continue
        if mine is None or theirs is None or stable_text(mine) != stable_text(theirs):
            yield Difference("header", name, _side(mine), _side(theirs))


def _shown(name: str, headers: Mapping[str, str]) -> str | None:
    """The value of a header; of cookies only the names, as the rest may open a session."""
    value = headers.get(name)
    if value is None or name != "set-cookie":
        return value
    return ", ".join(sorted(line.partition("=")[0].strip() for line in value.split("\n")))


def _side(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)


def _host_calls(here: Answer, there: Answer) -> Iterator[Difference]:
    mine, theirs = here.headers.get(HOST_CALL), there.headers.get(HOST_CALL)
    if mine is None or theirs is None:
        return
    if stable_text(mine) != stable_text(theirs):
        yield Difference("host-call", "", (mine,), (theirs,))


def _bodies(here: bytes, there: bytes, ignored: IgnoreRules) -> Iterator[Difference]:
    if here == there:
        return
    mine, theirs = _parsed(here), _parsed(there)
    if mine is not _NO_JSON and theirs is not _NO_JSON:
        yield from _values((), mine, theirs, ignored)
        return
    try:
        lines = zip_longest(_lines(here), _lines(there))
    except UnicodeDecodeError:
        yield Difference("body", "", (_described(here),), (_described(there),))
        return
    for number, (line, other) in enumerate(lines, 1):
        if line is None or other is None or stable_text(line) != stable_text(other):
            yield Difference("body", f"line {number}", _side(line), _side(other))
            return
    for ending, other in zip_longest(_endings(here), _endings(there)):
        if ending != other:
            yield Difference("body", "line endings", (ending,), (other,))
            return


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _NO_JSON


def _refuse(constant: str) -> None:
    """NaN and the infinities are no JSON, and NaN differs from itself."""
    raise ValueError(constant)


def _lines(body: bytes) -> list[str]:
    return body.decode().splitlines()


def _endings(body: bytes) -> Iterator[str]:
    """How each line ends; the last may end with nothing."""
    for line in body.decode().splitlines(keepends=True):
        yield line[len(line.splitlines()[0]) :]


def _described(body: bytes) -> str:
    return f"{len(body)} bytes, sha256 {hashlib.sha256(body).hexdigest()[:12]}"


def _values(
    keys: tuple[str, ...], here: Any, there: Any, ignored: IgnoreRules
) -> Iterator[Difference]:
    """Compare two values of JSON at one place. Its own stack: JSON can nest deep."""
    left = [(keys, here, there)]
    while left:
        keys, here, there = left.pop()
        if ignored.has_pointer(keys):
            continue
        if isinstance(here, dict) and isinstance(there, dict):
            names = dict.fromkeys((*here, *there))
            pairs = [(name, here.get(name, _ABSENT), there.get(name, _ABSENT)) for name in names]
        elif isinstance(here, list) and isinstance(there, list):
            both = zip_longest(here, there, fillvalue=_ABSENT)
            pairs = [(str(index), mine, other) for index, (mine, other) in enumerate(both)]
        else:
            if not _same(keys[-1] if keys else "", here, there):
                yield Difference("body", pointer_of(keys), _found(here), _found(there))
            continue
        left += [((*keys, name), mine, other) for name, mine, other in reversed(pairs)]


def _same(key: str, here: Any, there: Any) -> bool:
    if isinstance(here, str) and isinstance(there, str) and stable_text(here) == stable_text(there):
        return True
    # To Python True is 1, and to JSON it is not.
    if isinstance(here, bool) is isinstance(there, bool) and here == there:
        return True
    return is_volatile(key, here, there)


def _found(value: Any) -> tuple[Any, ...]:
    return () if value is _ABSENT else (value,)
