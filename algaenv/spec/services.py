"""What the author may say about each service: store, Redis, database, runner and their engines."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from algaenv.spec.secrets import SecretText, VariableValue
from algaenv.spec.types import (
    IMAGE_DIGEST,
    IMAGE_REPOSITORY,
    IMAGE_TAG,
    MAPPING,
    TAG_PREFIX,
    TEXT,
    Boolean,
    BucketName,
    Identifier,
    ImageText,
    MatchesPattern,
    Memory,
    OtelHeaderName,
    PortNumber,
    ProcessCount,
    Region,
    ResolveVariable,
    SpecModel,
    Text,
    VariableName,
    by_kind,
)

Signal = Annotated[
    str, MatchesPattern(r"SIG[A-Z0-9]{2,10}", "spec-signal", "a signal looks like SIGTERM")
]
FileName = Annotated[
    str,
    MatchesPattern(
        r"[A-Za-z0-9][A-Za-z0-9._-]*", "spec-name", "a file name without slashes is needed"
    ),
]
PortName = Annotated[
    str, MatchesPattern("api|console|main", "spec-choice", "it must be api, console or main")
]
Repository = Annotated[
    str,
    MatchesPattern(
        IMAGE_REPOSITORY, "spec-image", "a repository looks like host/path, in lower case"
    ),
]
AbsolutePath = Annotated[
    str, MatchesPattern(r"/.*", "spec-path", "a path that begins with / is needed")
]
HealthPath = Annotated[
    str,
    MatchesPattern(r"(?:/\S*)?", "spec-path", "a path that begins with / is needed, or nothing"),
]


class ImageSpec(SpecModel):
    """An image, and every repository that may hold it."""

    repositories: Annotated[list[Repository], Field(min_length=1)] = Field(
        description="Repositories with the same image, in the order they are tried."
    )
    tag: Annotated[str, MatchesPattern(IMAGE_TAG, "spec-image", "a tag looks like 1.2.3")] = Field(
        default="latest", description="Tag of the image; beside a digest it is for people only."
    )
    digest: (
        Annotated[
            str,
            MatchesPattern(
                IMAGE_DIGEST, "spec-image", "a digest is sha256: and 64 hexadecimal digits"
            ),
        ]
        | None
    ) = Field(default=None, description="Digest that decides, `sha256:…`.")


AnyImage = Annotated[
    Annotated[ImageText, Tag(TEXT)] | Annotated[ImageSpec, Tag(MAPPING)],
    by_kind("a reference or a mapping with `repositories` is needed", TEXT, MAPPING),
]


class EngineSpec(SpecModel):
    """How an engine is run; what is not said is taken from the profile named by `from`."""

    image: AnyImage | None = Field(default=None, description="The image to pull.")
    recipe: Literal["store", "redis", "postgres", ""] = Field(
        default="",
        description="How an image is built from a program of this machine; empty: not at all.",
    )
    command: list[str] = Field(
        default_factory=list, description="Arguments of the image's entry point; templates."
    )
    environment: dict[VariableName, str] = Field(
        default_factory=dict, description="The container's environment; templates."
    )
    files: dict[FileName, str] = Field(
        default_factory=dict,
        description="Files in the directory `{etc}`, readable by the service alone; templates.",
    )
    ports: dict[PortName, Annotated[int, Field(ge=1, le=65535), ResolveVariable]] = Field(
        default_factory=dict, description="Ports inside the container, by purpose."
    )
    data: AbsolutePath = Field(
        default="/data", description="Directory of the data inside the container."
    )
    uid: Annotated[int, Field(ge=0, le=65535), ResolveVariable] = Field(
        default=0, description="Numeric user that owns the data; 0: the image sees to that itself."
    )
    health: HealthPath = Field(
        default="", description="Path that answers 200 without credentials; empty: there is none."
    )
    stop_signal: Signal = Field(
        default="SIGTERM", description="Signal that stops it in good order."
    )
    binaries: list[Text] = Field(
        default_factory=list, description="Programs that run it on this machine, best first."
    )
    process: list[str] = Field(
        default_factory=list, description="Arguments of the program as a process; templates."
    )
    process_environment: dict[VariableName, str] = Field(
        default_factory=dict, description="The process's environment; templates."
    )
    version: Annotated[
        str, MatchesPattern(r"\d{0,4}", "spec-name", "a major version is a number in quotes")
    ] = Field(
        default="",
        description="Major version that a program of this machine must have; empty: any.",
    )


class InlineEngine(EngineSpec):
    """An engine of the author's own, made from a shipped one."""

    origin: Text | None = Field(
        default=None,
        alias="from",
        description="Shipped profile it is made from. Default: the section's own default.",
    )


class ProfileFile(EngineSpec):
    """A shipped engine."""

    serves: Literal["store", "redis", "database"] = Field(description="What it can serve as.")
    caution: str = Field(default="", description="Why one should think twice before using it.")


Engine = Annotated[
    Annotated[Text, Tag(TEXT)] | Annotated[InlineEngine, Tag(MAPPING)],
    by_kind("the name of an engine or a mapping is needed", TEXT, MAPPING),
]


class CredentialsSpec(SpecModel):
    """The store's root credentials."""

    access_key: SecretText | None = Field(
        default=None, description="Access key. Default: generated once."
    )
    secret_key: SecretText | None = Field(
        default=None, description="Secret key. Default: generated once."
    )


class StoreSpec(SpecModel):
    """The object store that holds the bundles."""

    engine: Engine = Field(
        default="silo", description="silo, minio, rustfs, rclone, or a mapping for one of your own."
    )
    bucket: BucketName = Field(default="extensions", description="Bucket of the bundles.")
    buckets: list[BucketName] = Field(
        default_factory=list, description="Further buckets to create."
    )
    port: PortNumber = Field(default=4569, description="Port of the S3 API on 127.0.0.1, or auto.")
    console_port: PortNumber = Field(
        default=4570, description="Port of the web console on 127.0.0.1, or auto."
    )
    region: Region = Field(default="us-east-1", description="Region that requests are signed for.")
    credentials: CredentialsSpec = Field(
        default_factory=CredentialsSpec,
        description="Keys of the store. Default: generated once and kept.",
    )


class RedisSpec(SpecModel):
    """Redis, for the runner's debug stream."""

    engine: Engine = Field(
        default="valkey", description="valkey, redis, or a mapping for one of your own."
    )
    port: PortNumber = Field(default=6380, description="Port on 127.0.0.1, or auto.")
    password: SecretText | None = Field(
        default=None, description='Password; "" for none. Default: generated once.'
    )
    persistent: Boolean = Field(default=True, description="Whether its data outlives a restart.")


class ManagedSpec(SpecModel):
    """A PostgreSQL of this environment's own."""

    version: Annotated[Literal[17, 18], ResolveVariable] = Field(
        default=18, description="Major version of PostgreSQL."
    )
    engine: Engine | None = Field(
        default=None,
        description="A shipped profile by name, or a mapping. Default: that of `version`.",
    )
    port: PortNumber = Field(default=5436, description="Port on 127.0.0.1, or auto.")
    user: Identifier = Field(default="postgres", description="Superuser to create.")
    name: Identifier = Field(default="server", description="Database to create.")
    password: SecretText | None = Field(
        default=None, description="Password of the user. Default: generated once."
    )


class ExternalSpec(SpecModel):
    """Somebody else's PostgreSQL, such as the one of a running Alga."""

    url: SecretText = Field(
        description="postgresql://user:password@host:port/database of a running server."
    )


MANAGED, EXTERNAL = f"{TAG_PREFIX}managed", f"{TAG_PREFIX}external"


def _database_tag(value: Any) -> str:
    return EXTERNAL if isinstance(value, dict) and "url" in value else MANAGED


Database = Annotated[
    Annotated[ManagedSpec, Tag(MANAGED)] | Annotated[ExternalSpec, Tag(EXTERNAL)],
    Discriminator(_database_tag),
]


class ContextSpec(SpecModel):
    """A directory that an image is built from."""

    context: Text = Field(
        description="Directory that holds the sources; relative to this spec's directory."
    )
    dockerfile: Text = Field(
        default="Dockerfile", description="Path of the Dockerfile in the context."
    )
    args: dict[VariableName, str] = Field(
        default_factory=dict, description="Build arguments. No secrets: they stay in the image."
    )


class BuiltImage(SpecModel):
    """A runner built on this machine."""

    build: ContextSpec = Field(description="What the image is built from.")


RunnerImage = Annotated[
    Annotated[ImageText, Tag(TEXT)] | Annotated[BuiltImage, Tag(MAPPING)],
    by_kind("bundled, a reference or a mapping with `build` is needed", TEXT, MAPPING),
]


class LimitsSpec(SpecModel):
    """How much of the machine a container may take."""

    memory: Memory | None = Field(
        default=None, description="Memory, such as 512m or 2g; none: all there is."
    )
    pids: ProcessCount | None = Field(
        default=None, description="Processes and threads; none: as many as the engine allows."
    )


class LimitsOfAll(SpecModel):
    """The limits of each service's container."""

    store: LimitsSpec = Field(default_factory=LimitsSpec, description="Limits of the store.")
    redis: LimitsSpec = Field(default_factory=LimitsSpec, description="Limits of Redis.")
    database: LimitsSpec = Field(default_factory=LimitsSpec, description="Limits of the database.")
    runner: LimitsSpec = Field(default_factory=LimitsSpec, description="Limits of the runner.")
    gateway: LimitsSpec = Field(default_factory=LimitsSpec, description="Limits of the gateway.")

    @property
    def flat(self) -> dict[str, int]:
        """What was said, `<service>.memory` and `<service>.pids`."""
        return {
            f"{service}.{what}": number
            for service, limits in self
            for what, number in limits
            if number is not None
        }


class OtelSpec(SpecModel):
    """Where the spans of calls are sent."""

    endpoint: Text = Field(
        description="Base URL of an OpenTelemetry collector that takes OTLP over HTTP, as this "
        "machine reaches it, such as http://localhost:4318; `/v1/traces` is added."
    )
    headers: dict[OtelHeaderName, SecretText] = Field(
        default_factory=dict, description="Headers of each request, such as a key of the collector."
    )


class RunnerSpec(SpecModel):
    """The service that runs handlers and serves UIs."""

    image: RunnerImage = Field(
        default="bundled",
        description="`bundled` for the runner of this package, a reference, or what to build.",
    )
    port: PortNumber = Field(default=8085, description="Port on 127.0.0.1, or auto.")
    environment: dict[VariableName, VariableValue] = Field(
        default_factory=dict, description="Variables laid over those that algaenv sets."
    )
    volumes: list[Text] = Field(
        default_factory=list, description="Extra mounts, `./source:/target` or `…:ro`."
    )
    local_egress: list[Text] = Field(
        default_factory=list,
        description="What handlers may ask of this machine, as `host` or `host:port`; `*`: all.",
    )
