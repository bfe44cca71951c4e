"""What an object store answers instead of doing what it was asked, as errors of ours."""

from __future__ import annotations

import re

from algaenv.model.problem import DriverError, Failed, Problem, Refused, Unavailable

_DENIED = {"SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied", "InvalidTokenId"}
_FULL = {"XMinioStorageFull", "InsufficientStorage", "507"}
# As text: compiled for an error only.
_CODE = r"<Code>([A-Za-z0-9]+)</Code>"
_STATUS = r"status code: (\d{3})"


def store_error(code: str, reason: str, action: str, bucket: str, endpoint: str) -> DriverError:
    """The error for a refused request. `code` is S3's own, or an HTTP status; empty: no answer."""
    if not code:
        return Unavailable(
            Problem(
                "store-unreachable",
                f"cannot {action}: the object store at {endpoint} does not answer ({reason})",
                "run `algaenv up`, which starts it, or shows why it ends",
            )
        )
    if code in ("NoSuchBucket", "404"):
        return Refused(
            Problem(
                "bucket-missing",
                f"cannot {action}: there is no bucket {bucket}",
                "run `algaenv up`, which makes it",
            )
        )
    if code in _DENIED or code in ("401", "403"):
        return Refused(
            Problem(
                "store-denied",
                f"cannot {action}: the object store does not accept the keys ({code})",
                "a kept volume may hold older keys: give those in the spec, or start afresh with"
                " `algaenv down --volumes`",
            )
        )
    if code in _FULL:
        return Failed(
            Problem("store-full", f"cannot {action}: the object store is full", "free disk space")
        )
    if code in (
        "SlowDown",
        "InternalError",
        "ServiceUnavailable",
        "XMinioServerNotInitialized",
    ) or (code.startswith("5") and code.isdigit()):
        return Unavailable(
            Problem(
                "store-error", f"cannot {action}: the object store answered {code}", "try again"
            )
        )
    return Refused(
        Problem(
            "store-refused",
            f"cannot {action}: the object store answered {code}",
            "look this code up in the documentation of S3, or of the store",
        )
    )


def parse_error(text: str) -> tuple[str, str]:
    """S3's code, else the HTTP status, else nothing; and a phrase on what happened instead."""
    for pattern in (_CODE, _STATUS):
        if match := re.search(pattern, text):
            return match[1], ""
    kind = re.search(r"kind: (\w+)", text)
    return "", kind[1].lower() if kind else "no answer"
