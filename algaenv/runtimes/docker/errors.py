"""Translates errors of the engine and of its SDK into our own.

Two clients talk to the engine (see `engine`). Errors of both leave `translate_errors` as
Unavailable, EngineGone, Conflict, Refused or Failed, raised from the original.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from algaenv.model.problem import (
    Conflict,
    DriverError,
    EngineGone,
    Failed,
    Problem,
    Refused,
    Unavailable,
)

START_ENGINE: Final = "start the Docker engine, or set `runtime: process` in the spec"
_PORT: Final = (
    r"(?:Bind for |listen tcp[46]? |exposing port .*?)[^ ]*?:(\d+)(?: failed|: bind|.*?:)"
)
"""As text: compiled for an error only."""
_PORT_TAKEN: Final = (
    "port is already allocated",
    "address already in use",
    "ports are not available",
)
NOT_MODIFIED, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT = 304, 401, 403, 404, 409
_TRANSPORT: Final = "urllib3.exceptions"
"""The SDK raises these while it streams an answer."""
_CLIENT_ERROR, _SERVER_ERROR, _SERVICE_UNAVAILABLE = 400, 500, 503


class EngineApiError(Exception):
    """An answer of the engine with an error status, from our own client."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(f"{status}: {message}")


@contextmanager
def translate_errors(what: str) -> Iterator[None]:
    """Translate errors raised inside; `what` completes "cannot …".

    Errors that neither client raises pass unchanged: they are bugs, or ours already.
    """
    try:
        yield
    except DriverError:
        raise
    except Exception as error:
        ours = _translated(error, what)
        if ours is None:
            raise
        raise ours from error


@contextmanager
def ignore_missing() -> Iterator[None]:
    """Take "no such object" and "not modified" for success."""
    try:
        yield
    except Exception as error:
        if status_of(error) not in (NOT_FOUND, NOT_MODIFIED):
            raise


def status_of(error: Exception) -> int | None:
    """The HTTP status the engine answered with; None when this was no answer of the engine."""
    if isinstance(error, EngineApiError):
        return error.status
    status = getattr(error, "status_code", None) if _is_from_sdk(error) else None
    return status if isinstance(status, int) else None


def message_of(error: Exception) -> str:
    """The engine's message, in one line."""
    if isinstance(error, EngineApiError):
        text = error.message
    else:
        text = str(getattr(error, "explanation", None) or error)
    return " ".join(text.split())


def port_in(error: Exception) -> int | None:
    """The port the engine could not bind; 0 when it does not say which; None for other errors."""
    message = message_of(error)
    if not any(phrase in message for phrase in _PORT_TAKEN):
        return None
    found = re.search(_PORT, message)
    return int(found[1]) if found else 0


def _translated(error: Exception, what: str) -> DriverError | None:
    status = status_of(error)
    if status is not None:
        return _from_status(status, message_of(error), what)
    # By name: a run that meets no error does not import these.
    lost = any(_is_from(error, module) for module in ("http.client", _TRANSPORT))
    if isinstance(error, OSError) or lost:
        return _from_transport(error, what)
    if _is_from_sdk(error):
        return Failed(Problem("engine-failed", f"cannot {what}", detail=(message_of(error),)))
    return None


def _from_status(status: int, message: str, what: str) -> DriverError:
    summary, detail = f"cannot {what}", (message,)
    if "no space left on device" in message:
        hint = "make room with `docker system prune`, which asks before it removes anything"
        return Failed(Problem("engine-disk-full", summary, hint, detail=detail))
    if "non-overlapping IPv4 address pool" in message:
        hint = "remove networks that nobody uses with `docker network prune`"
        return Failed(Problem("network-pool-exhausted", summary, hint, detail=detail))
    match status:
        case 409:
            return Conflict(Problem("engine-conflict", summary, detail=detail))
        case 503:
            return EngineGone(Problem("engine-gone", summary, START_ENGINE, detail=detail))
        case _ if _CLIENT_ERROR <= status < _SERVER_ERROR and status != NOT_FOUND:
            return Refused(Problem("engine-refused", summary, detail=detail))
    return Failed(Problem("engine-failed", summary, detail=detail))


def _from_transport(error: Exception, what: str) -> DriverError:
    causes = list(_causes(error))
    detail = (" ".join(str(error).split()) or type(error).__name__,)
    if any(isinstance(cause, PermissionError) for cause in causes):
        hint = "add your user to the group that owns the engine's socket, usually `docker`"
        return Refused(Problem("engine-denied", f"cannot {what}", hint, detail=detail))
    if any(
        isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__ for cause in causes
    ):
        hint = "look at what keeps the engine busy, then try again"
        return Unavailable(Problem("engine-slow", f"cannot {what}", hint, detail=detail))
    return EngineGone(Problem("engine-gone", f"cannot {what}", START_ENGINE, detail=detail))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes; the SDK's HTTP library hides causes in arguments."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        behind = (one.__cause__, one.__context__, *one.args, getattr(one, "reason", None))
        waiting += [cause for cause in behind if isinstance(cause, BaseException)]


def _is_from_sdk(error: Exception) -> bool:
    # By name, since importing the SDK for a check is too slow.
    return _is_from(error, "docker.errors")


def _is_from(error: Exception, module: str) -> bool:
    return any(kind.__module__ == module for kind in type(error).__mro__)
