"""What the author may say about services of their own: images and programs beside ours."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from algaenv.spec.secrets import VariableValue
from algaenv.spec.services import LimitsSpec
from algaenv.spec.types import (
    MAPPING,
    TEXT,
    ImageText,
    MatchesPattern,
    PortNumber,
    ResolveVariable,
    SpecModel,
    Text,
    VariableName,
)

PortKey = Annotated[
    str,
    MatchesPattern(
        r"[a-z][a-z0-9]{0,30}",
        "spec-name",
        "a port's name may hold up to 31 lower-case letters and digits, and begins with a letter",
    ),
]
ReadyPath = Annotated[
    str, MatchesPattern(r"/[!-\"$-~]*", "spec-path", "a path that begins with / is needed")
]


class PortSpec(SpecModel):
    """A port with one number inside containers and another on this machine."""

    container: Annotated[int, Field(ge=1, le=65535), ResolveVariable] = Field(
        description="Port that the program in the image listens on."
    )
    port: PortNumber = Field(default="auto", description="Port on 127.0.0.1, or auto.")


def _port_tag(value: Any) -> str:
    return MAPPING if isinstance(value, dict) else TEXT


ServicePortForm = Annotated[
    Annotated[PortNumber, Tag(TEXT)] | Annotated[PortSpec, Tag(MAPPING)],
    Discriminator(_port_tag),
]


class ReadySpec(SpecModel):
    """What must answer before a service is called ready."""

    port: Text | None = Field(
        default=None, description="Name of the port that is asked. Default: the first."
    )
    path: ReadyPath | None = Field(
        default=None,
        description="Path that must answer a GET below 400. Default: a connection is enough.",
    )


class ServiceSpec(SpecModel):
    """A service of the author's own."""

    image: ImageText | None = Field(
        default=None, description="Image that the Docker runtime runs; it is pulled."
    )
    command: list[str] = Field(
        default_factory=list,
        description="Arguments of the image's entry point; templates. Default: those of the image.",
    )
    process: Annotated[list[Text], Field(min_length=1)] | None = Field(
        default=None,
        description="Program and arguments that the process runtime runs; templates.",
    )
    ports: Annotated[dict[PortKey, ServicePortForm], Field(min_length=1)] = Field(
        description="Ports that it listens on: a name of your own → the number, auto, or a "
        "mapping with `container`."
    )
    environment: dict[VariableName, VariableValue] = Field(
        default_factory=dict, description="Variables of the program; templates, or secrets."
    )
    volumes: list[Text] = Field(
        default_factory=list,
        description="Mounts of the container, `./source:/target` or `…:ro`.",
    )
    ready: ReadySpec = Field(
        default_factory=ReadySpec,
        description="What must answer before the service is called ready. Default: its first port.",
    )
    needs: list[Text] = Field(
        default_factory=list, description="Services that must answer before this one is started."
    )
    limits: LimitsSpec = Field(
        default_factory=LimitsSpec,
        description="How much its container may take. Default: 1g of memory, 512 processes.",
    )
