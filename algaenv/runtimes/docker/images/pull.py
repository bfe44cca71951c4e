"""Pulls an image: the same digest from one repository after the other.

After a denial the next repository is tried; transient errors are retried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from algaenv.model.problem import DriverError, Problem, Refused, Unavailable
from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.docker.engine import Engine
from algaenv.runtimes.docker.errors import (
    FORBIDDEN,
    NOT_FOUND,
    UNAUTHORIZED,
    message_of,
    status_of,
    translate_errors,
)
from algaenv.runtimes.docker.images.availability import (
    find_image,
    is_unreachable,
    wrong_architecture,
)
from algaenv.runtimes.docker.specs import PulledImage

_TRIES: Final = 4
_DENIALS: Final = (
    "denied",
    "unauthorized",
    "forbidden",
    "manifest unknown",
    "not found",
    "no basic auth",
)
_TRANSIENT: Final = (
    "toomanyrequests",
    "too many requests",
    "timeout",
    "deadline exceeded",
    "unexpected eof",
    "connection reset",
    "http status: 5",
    "service unavailable",
    "bad gateway",
    "internal server error",
)
_HINT: Final = (
    "name another repository that has it, choose another engine, or set `images: build`; "
    "logging in does not help where the publisher has withdrawn an image, as MinIO has"
)


class _PullError(Exception):
    """Why a registry did not provide the image."""


class _Denied(_PullError):
    """The registry refuses it."""


class _Corrupt(_PullError):
    """The registry sent something else."""


class _Unreachable(_PullError):
    """The registry cannot be reached; a retry would not help."""


class _Transient(_PullError):
    """A retry may help."""


def pull(engine: Engine, image: PulledImage, on_progress: OnProgress) -> None:
    """Pull `image` to the engine.

    Raises Refused (`image-denied`, `image-wrong-digest`, `image-architecture`) when no repository
    will ever provide it, Unavailable (`image-unreachable`) when one might later.
    """
    errors: list[_PullError] = []
    for repository, reference in zip(image.repositories, image.references, strict=True):
        on_progress(f"pulling {reference}")
        try:
            _pull_with_retries(engine, repository, image.digest or image.tag, on_progress)
        except _PullError as error:
            errors.append(error)
            on_progress(f"{repository}: {error}")
            continue
        with translate_errors(f"look at the image {reference}"):
            if find_image(engine, image) is not None:
                return
        errors.append(_Corrupt("the engine does not have it under its digest after pulling it"))
    raise _exhausted(image, errors, _credentials_missed(engine)) from errors[-1]


def denied(message: str) -> bool:
    """Whether a registry's message means that this caller may not pull the image."""
    lowered = message.lower()
    return any(phrase in lowered for phrase in _DENIALS)


def _credentials_missed(engine: Engine) -> str:
    from algaenv.runtimes.docker.credentials import missed

    return missed(engine.api)


def _exhausted(image: PulledImage, errors: list[_PullError], missed: str) -> DriverError:
    detail = tuple(f"{r}: {error}" for r, error in zip(image.references, errors, strict=True))
    summary = f"cannot pull {image.title}: none of its repositories gives it out"
    if any(isinstance(error, _Unreachable | _Transient) for error in errors):
        hint = "look at the engine's network, then try again; or set `images: build`"
        return Unavailable(Problem("image-unreachable", summary, hint, detail=detail))
    code = "image-wrong-digest" if any(isinstance(e, _Corrupt) for e in errors) else "image-denied"
    hint = f"{missed}; or {_HINT}" if missed and code == "image-denied" else _HINT
    return Refused(Problem(code, summary, hint, detail=detail))


def _pull_with_retries(
    engine: Engine, repository: str, version: str, on_progress: OnProgress
) -> None:
    from tenacity import (
        RetryCallState,
        Retrying,
        retry_if_exception_type,
        stop_after_attempt,
        wait_random_exponential,
    )

    def report(state: RetryCallState) -> None:
        why = state.outcome.exception() if state.outcome else ""
        on_progress(f"{repository}: {why}; try {state.attempt_number + 1} of {_TRIES}")

    Retrying(
        retry=retry_if_exception_type(_Transient),
        stop=stop_after_attempt(_TRIES),
        wait=wait_random_exponential(multiplier=0.5, max=4),
        before_sleep=report,
        reraise=True,
    )(_pull_once, engine, repository, version, on_progress)


def _pull_once(engine: Engine, repository: str, version: str, on_progress: OnProgress) -> None:
    try:
        with translate_errors(f"pull {repository}"):
            for line in _progress_lines(engine, repository, version):
                if progress := _progress(line):
                    on_progress(progress)
    except DriverError as error:
        # Errors about the registry, not about the engine itself, come with a status.
        if isinstance(error.__cause__, Exception) and status_of(error.__cause__) is not None:
            raise _classified(error.__cause__, engine) from error
        raise


def _progress_lines(engine: Engine, repository: str, version: str) -> Iterator[Mapping[str, Any]]:
    """The engine's progress lines. Errors are among them, since the status was sent earlier."""
    message = ""
    for line in engine.api.pull(repository, tag=version, stream=True, decode=True):
        # Read to the end: an answer that is read in part keeps its connection.
        message = message or str(line.get("error", ""))
        yield line
    if message:
        raise _pull_error(message, None, engine)


def _classified(error: Exception, engine: Engine) -> Exception:
    return _pull_error(message_of(error), status_of(error), engine)


def _pull_error(message: str, status: int | None, engine: Engine) -> Exception:
    lowered = message.lower()
    if "no matching manifest" in lowered or "does not match the specified platform" in lowered:
        return wrong_architecture(message, "", engine.facts.arch)
    if "verification failed" in lowered or "digest mismatch" in lowered:
        return _Corrupt(message)
    if any(phrase in lowered for phrase in _TRANSIENT):
        return _Transient(message)
    if is_unreachable(message):
        return _Unreachable(message)
    if status in (UNAUTHORIZED, FORBIDDEN, NOT_FOUND) or denied(message):
        return _Denied(message)
    return _Transient(message)


def _progress(line: Mapping[str, Any]) -> str:
    status = str(line.get("status", ""))
    settled = status.startswith(("Pull complete", "Digest", "Status", "Already exists"))
    return f"{line.get('id', '')} {status}".strip() if settled else ""
