"""A recording of a call, as `call --record` writes it, read with the positions of all in it."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from algaenv.model.comparison import Answer, Call, Recording
from algaenv.model.problem import SpecError
from algaenv.spec.calls import CallPath, Method, Printable, read_mapping
from algaenv.spec.diagnostics import Diagnostics
from algaenv.spec.errors import validate_tree
from algaenv.spec.nodes import SourceMap
from algaenv.spec.types import SpecModel, value_error


def _base64(value: str) -> str:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise value_error("spec-call", "base64 is needed") from None
    return value


Base64 = Annotated[str, AfterValidator(_base64)]


class RequestSpec(SpecModel):
    """The call."""

    method: Method
    path: CallPath
    user: Printable | None = None
    body: str | None = None
    body_base64: Base64 | None = None


class AnswerSpec(SpecModel):
    """What came."""

    status: Annotated[int, Field(ge=100, le=999)]
    ms: float = 0.0
    headers: dict[str, str] = Field(default_factory=dict)
    body: str | None = None
    body_base64: Base64 | None = None


class RecordingFile(SpecModel):
    """The whole file."""

    algaenv_recording: Literal[1]
    extension: Annotated[str, Field(min_length=1)]
    request: RequestSpec
    answer: AnswerSpec
    recorded: str = ""
    registry_id: str = ""
    manifest_version: str = ""
    content_hash: str = ""
    masked: bool = False


def read_recording(path: Path) -> Recording:
    """Read a recording. Raises SpecError with all that is wrong."""
    diagnostics = Diagnostics({})
    root = read_mapping(path, diagnostics, _NO_RECORDING)
    if root is not None:
        found, _ = validate_tree(RecordingFile, SourceMap(root), diagnostics)
        if found is not None and not diagnostics.problems:
            request, answer = found.request, found.answer
            return Recording(
                extension=found.extension,
                call=Call(request.method, request.path, _content(request), request.user or None),
                answer=Answer(
                    answer.status,
                    {name.lower(): value for name, value in answer.headers.items()},
                    _content(answer) or b"",
                    answer.ms,
                ),
                recorded=found.recorded,
                version=found.manifest_version,
                content_hash=found.content_hash,
                masked=found.masked,
            )
    raise SpecError.of(dict.fromkeys(diagnostics.problems))


_NO_RECORDING = ("as a recording", "make one with `algaenv call EXT PATH --record FILE`")


def _content(spec: RequestSpec | AnswerSpec) -> bytes | None:
    if spec.body_base64 is not None:
        return base64.b64decode(spec.body_base64)
    if spec.body is None:
        return None
    # JSON spells a character beyond 16 bits as two escapes, which YAML reads as two characters.
    return spec.body.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
