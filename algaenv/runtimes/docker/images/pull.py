"""Tells whether an image is there and can run on this processor, and pulls it if not.

The same digest is pulled from one repository after the other. After a denial the next repository
is tried; transient errors are retried.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

from algaenv.bundle.value import dataclass
from algaenv.model.problem import DriverError, Problem, Refused, Unavailable
from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.binaries import GO_NAMES
from algaenv.runtimes.docker.engine import Engine, as_list, as_map
from algaenv.runtimes.docker.errors import (
    FORBIDDEN,
    NOT_FOUND,
    UNAUTHORIZED,
    EngineApiError,
    message_of,
    status_of,
    translate_errors,
)
from algaenv.runtimes.docker.specs import ImageSpec, PulledImage, local_names

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
_HINT_OF_AUTHOR: Final = "correct `image` in the spec, or load it into the engine"
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
        hint = "look at the engine's network, then try again"
        hint += "; or set `images: build`" if image.buildable else ", or load it into the engine"
        return Unavailable(Problem("image-unreachable", summary, hint, detail=detail))
    code = "image-wrong-digest" if any(isinstance(e, _Corrupt) for e in errors) else "image-denied"
    other = _HINT if image.buildable else _HINT_OF_AUTHOR
    hint = f"{missed}; or {other}" if missed and code == "image-denied" else other
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


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image that is there."""

    reference: str
    id: str


def find_image(engine: Engine, image: ImageSpec) -> LocalImage | None:
    """The first reference of `image` that is there; None when none is.

    Raises Refused (`image-architecture`) when it is made for another kind of processor.
    """
    for reference in local_names(image):
        found = engine.find(f"/images/{reference}/json")
        if found is not None:
            arch = str(found.get("Architecture", ""))
            if arch and arch != engine.facts.arch:
                raise wrong_architecture(reference, arch, engine.facts.arch)
            return LocalImage(reference, str(found.get("Id")))
    return None


def usable_image(engine: Engine, image: ImageSpec) -> LocalImage:
    """As `find_image`; raises Unavailable (`image-gone`) when there is none."""
    found = find_image(engine, image)
    if found is None:
        summary = f"cannot use the image {image.title}, which is no longer there"
        raise Unavailable(Problem("image-gone", summary, "run `algaenv up` again"))
    return found


def wrong_architecture(reference: str, theirs: str, ours: str) -> Refused:
    """The error for an image of another architecture: emulation is slow and fails obscurely."""
    return Refused(
        Problem(
            "image-architecture",
            f"cannot run {reference} on an engine of {ours}: it is made for {theirs or 'others'}",
            "name an image for this processor, or set `images: build`",
        )
    )


def require_same_platform(engine: Engine, title: str) -> None:
    """Raise Refused (`image-architecture`) unless programs of this machine run on the engine."""
    here = os.uname()
    arch = GO_NAMES.get(here.machine, here.machine)
    if (here.sysname.lower(), arch) != (engine.facts.os, engine.facts.arch):
        summary = (
            f"cannot make {title} here: its engine is of {engine.facts.os}/{engine.facts.arch}"
        )
        hint = f"set `images: pull`: programs of {here.sysname}/{arch} do not run there"
        raise Refused(Problem("image-architecture", summary, hint))


def digest_of(engine: Engine, image: PulledImage) -> str:
    """The digest that the tag of `image` stands for, as a registry says, else as the engine has it.

    Empty when neither knows. Raises EngineGone.
    """
    if image.digest:
        return image.digest
    for reference in image.references:
        try:
            told = engine.get(f"/distribution/{reference}/json", timeout=_TIMEOUT)
        except (TimeoutError, EngineApiError):
            continue
        digest = as_map(as_map(told).get("Descriptor")).get("digest")
        if isinstance(digest, str):
            return digest
    for repository, reference in zip(image.repositories, image.references, strict=True):
        there = engine.find(f"/images/{reference}/json") or {}
        for known in as_list(there.get("RepoDigests")):
            name, _, digest = str(known).partition("@")
            if repository in (name, f"docker.io/{name}", f"docker.io/library/{name}"):
                return digest
    return ""


_TIMEOUT: Final = 3.0
"""Seconds for a registry to answer: this runs before planning."""
_UNREACHABLE: Final = (
    "no such host",
    "dial tcp",
    "i/o timeout",
    "deadline exceeded",
    "Client.Timeout",
    "server misbehaving",
    "connection refused",
)


class Registries:
    """Queries registries through the engine, which knows mirrors and proxies.

    A registry that failed to answer once is not queried again. Lives for one lowering.
    """

    def __init__(self, engine: Engine, on_progress: OnProgress) -> None:
        self._engine = engine
        self._on_progress = on_progress
        self._unreachable: dict[str, str] = {}

    def refusal(self, image: PulledImage) -> str:
        """Why `image` cannot be pulled from any of its repositories; empty when it can."""
        reasons = []
        for reference in image.references:
            reason = self._query(reference)
            if not reason:
                return ""
            reasons.append(reason)
        return "; ".join(dict.fromkeys(reasons))

    def _query(self, reference: str) -> str:
        host = registry_of(reference)
        if host not in self._unreachable:
            self._on_progress(f"asking {host} for {reference}")
            try:
                self._engine.get(f"/distribution/{reference}/json", timeout=_TIMEOUT)
            except TimeoutError:
                self._unreachable[host] = f"{host} does not answer"
            except EngineApiError as error:
                if not is_unreachable(message_of(error)):
                    return f"{host} does not give it out"
                self._unreachable[host] = f"{host} does not answer"
        return self._unreachable.get(host, "")


def registry_of(reference: str) -> str:
    """The host of the registry: the first component if it looks like a host, else Docker Hub."""
    first, slash, _ = reference.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    return first if named else "docker.io"


def is_unreachable(message: str) -> bool:
    """Whether the engine's message means that the registry could not be reached."""
    return any(phrase in message for phrase in _UNREACHABLE)
