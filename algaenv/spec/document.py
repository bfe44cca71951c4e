"""The spec as its author writes it, version 1: every key, its type, its default, its meaning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, JsonValue, Tag

from algaenv.spec.author_services import ServiceSpec
from algaenv.spec.extension_checks import CheckSpec
from algaenv.spec.gateway import Gateway
from algaenv.spec.nodes import plain_json
from algaenv.spec.secrets import SecretText, VariableValue
from algaenv.spec.seed import SeedSpec
from algaenv.spec.services import (
    Database,
    LimitsOfAll,
    ManagedSpec,
    OtelSpec,
    RedisSpec,
    RunnerSpec,
    StoreSpec,
)
from algaenv.spec.types import (
    ITEMS,
    MAPPING,
    TAG_PREFIX,
    TEXT,
    Boolean,
    Capability,
    DriftRuleText,
    Duration,
    ExtensionName,
    MatchesPattern,
    Name,
    ProfileName,
    ResolveVariable,
    SpecModel,
    TaskName,
    TenantId,
    Text,
    TextVariable,
    VariableName,
    by_kind,
)

WordList = Annotated[list[Text], Field(min_length=1)]
Command = Annotated[
    Annotated[Text, Tag(TEXT)] | Annotated[WordList, Tag(ITEMS)],
    by_kind("a shell command or a list of words is needed", TEXT, ITEMS),
]


Glob = Annotated[
    str,
    MatchesPattern(
        r"(?!/)(?!(?:.*/)?\.\.(?:/|$)).+",
        "spec-glob",
        "a glob is relative to the workspace of the build, and does not leave it",
        "write it without a leading / and without ..",
    ),
]


TaskGlob = Annotated[
    str,
    MatchesPattern(
        r"(?!/)(?!(?:.*/)?\.\.(?:/|$)).+",
        "spec-glob",
        "a glob is relative to the directory of the task, and does not leave it",
        "write it without a leading / and without .., or set `dir`",
    ),
]


class _Surroundings(SpecModel):
    """What the commands of a build run in."""

    workspace: Text | None = Field(
        default=None,
        description="Directory that the build gets a private copy of; the source lies inside it. "
        "Default: the source.",
    )
    environment: dict[VariableName, str] = Field(
        default_factory=dict, description="Variables the build sees besides the usual ones."
    )
    timeout: Duration = Field(default=600.0, description="How long each command may take.")


class _Files(SpecModel):
    """The files of one command of a build."""

    inputs: list[Glob] = Field(
        default_factory=list,
        description="Globs of the files that the command reads, relative to the workspace; it runs "
        "when one of them changes. Default: every file, and what earlier steps make.",
    )
    outputs: list[Glob] = Field(
        default_factory=list,
        description="Globs of the files that the command makes, which are kept for as long as its "
        "inputs are the same.",
    )
    ignore: list[Glob] = Field(
        default_factory=list, description="Globs of files among the inputs that change nothing."
    )


class StepSpec(_Files):
    """One command of a build of several."""

    name: Name = Field(description="Name of the step, for people.")
    command: Command = Field(
        description="A shell command, or a list of words that is run without a shell."
    )
    environment: dict[VariableName, str] = Field(
        default_factory=dict, description="Variables of this step, over those of the build."
    )
    timeout: Duration | None = Field(
        default=None, description="How long the step may take. Default: that of the build."
    )


class BuildSpec(_Files, _Surroundings):
    """How an extension is built before it is packed."""

    command: Command = Field(
        description="A shell command, a list of words that is run without a shell, or `auto`: the "
        "files of the source say how it is built."
    )


class StepsSpec(_Surroundings):
    """How an extension is built by several commands, one after another."""

    steps: Annotated[list[StepSpec], Field(min_length=1)] = Field(
        description="Commands that run in this order, each only when its inputs have changed."
    )


COMMAND, STEPS = f"{TAG_PREFIX}command", f"{TAG_PREFIX}steps"


def _build_tag(value: object) -> str:
    return STEPS if isinstance(value, dict) and "steps" in value else COMMAND


BuildMapping = Annotated[
    Annotated[BuildSpec, Tag(COMMAND)] | Annotated[StepsSpec, Tag(STEPS)],
    Discriminator(_build_tag),
]
Build = Annotated[
    Annotated[Text, Tag(TEXT)]
    | Annotated[WordList, Tag(ITEMS)]
    | Annotated[BuildMapping, Tag(MAPPING)],
    by_kind("a shell command, a list of words or a mapping is needed", TEXT, ITEMS, MAPPING),
]


EndpointProbe = Annotated[
    str,
    MatchesPattern(
        r"(?:GET +)?/(?!:)(?:(?!/:)[!-\"$-~])*",
        "spec-probe",
        "only a path such as /items/42 can be asked, or GET and such a path, with every parameter "
        "spelled out",
        "write GET /items/42 or /items/42; other methods may change something",
    ),
]
Probe = Annotated[
    Annotated[EndpointProbe, Tag(TEXT)] | Annotated[list[EndpointProbe], Tag(ITEMS)],
    by_kind("a path or a list of paths is needed", TEXT, ITEMS),
]


class ExtensionSpec(SpecModel):
    """One extension to install."""

    source: Text = Field(
        description="Directory that holds manifest.json; relative to this spec's directory."
    )
    build: Build | None = Field(
        default=None, description="How the extension is built. Default: it is packed as it is."
    )
    config: dict[str, Annotated[JsonValue, BeforeValidator(plain_json)]] = Field(
        default_factory=dict, description="The installation's configuration, any JSON values."
    )
    secrets: dict[Text, SecretText] = Field(
        default_factory=dict, description="Values that the handler gets through `secrets.get`."
    )
    capabilities: list[Capability] | None = Field(
        default=None, description="Capabilities granted. Default: what the manifest asks for."
    )
    enabled: Boolean = Field(default=True, description="False: installed, but switched off.")
    ui_dev_server: Text | None = Field(
        default=None,
        description="Origin of a development server, such as http://localhost:5173, whose page "
        "the gateway shows instead of the bundle's.",
    )
    profiles: list[ProfileName] = Field(
        default_factory=list,
        description="Profiles that the extension belongs to: it is left alone unless one of them "
        "is asked for with `--profile`. Default: it always counts.",
    )
    probe: Probe | None = Field(
        default=None,
        description="Endpoints that must answer a GET through the gateway, as an MSP user, before "
        "the extension is called ready: a path, `GET /path`, or a list of them.",
    )
    checks: list[CheckSpec] = Field(
        default_factory=list,
        description="What `algaenv test` asks of the extension once it is up: calls, pages and "
        "schedules, each with what must come back.",
    )


class DriftSpec(SpecModel):
    """What may drift."""

    ignore: list[DriftRuleText] = Field(
        default_factory=list,
        description="Fields that `drift` does not report and `up` does not revert, as "
        "KIND/NAME:FIELD with `*` and `?`, such as container/redis:limits.memory.",
    )


class TenantSpec(SpecModel):
    """Which tenant the extensions are installed for."""

    id: TenantId | None = Field(default=None, description="The tenant's UUID.")
    name: Text | None = Field(
        default=None,
        description="The tenant's name. Default in a managed database: that of the spec.",
    )


class TaskSpec(SpecModel):
    """A command that `up` runs once what it needs answers."""

    run: Command = Field(
        description="A shell command, or a list of words that is run without a shell."
    )
    dir: Text | None = Field(
        default=None,
        description="Directory that it runs in. Default: that of the file it stands in.",
    )
    environment: dict[VariableName, VariableValue] = Field(
        default_factory=dict,
        description="Variables over those of the shell and those that lead to the services.",
    )
    needs: list[Text] = Field(
        default_factory=list,
        description="Services and extensions that must answer first, and tasks that must end well.",
    )
    inputs: list[TaskGlob] | None = Field(
        default=None,
        description="Globs of the files that it reads, relative to its directory; it runs when one "
        "of them changes, or what the spec says of it. Default: it runs in every `up`.",
    )
    timeout: Duration = Field(default=600.0, description="How long it may take.")
    profiles: list[ProfileName] = Field(
        default_factory=list,
        description="Profiles that the task belongs to. Default: it always counts.",
    )


Extension = Annotated[
    Annotated[Text, Tag(TEXT)] | Annotated[ExtensionSpec, Tag(MAPPING)],
    by_kind("the path of its source or a mapping with `source` is needed", TEXT, MAPPING),
]


Include = Annotated[
    Annotated[Text, Tag(TEXT)] | Annotated[list[Text], Tag(ITEMS)],
    by_kind("a path or a list of paths is needed", TEXT, ITEMS),
]


class Document(SpecModel):
    """An Alga PSA extension environment."""

    name: Name = Field(description="Name of the environment, for people.")
    version: Annotated[Literal[1], ResolveVariable] = Field(
        default=1, description="Version of the spec's language; a newer one is refused by name."
    )
    extends: Text | None = Field(
        default=None,
        description="A stack by name, or the path of another spec, that this one is laid over.",
    )
    include: Include | None = Field(
        default=None,
        description="Paths of fragments, whose extensions, services and tasks are added: of "
        "files, or of directories that hold algaenv.fragment.yaml.",
    )
    runtime: Annotated[Literal["auto", "docker", "process"], TextVariable] = Field(
        default="auto",
        description="Where services run. `auto`: docker where its engine answers, else as "
        "processes.",
    )
    images: Annotated[Literal["auto", "pull", "build"], TextVariable] = Field(
        default="auto",
        description="Where images come from. `auto`: pulled, and built from programs of this "
        "machine where no registry answers.",
    )
    ports: Annotated[Literal["fixed", "auto"], TextVariable] = Field(
        default="fixed",
        description="Ports that are not given. `fixed`: the default of each service; `auto`: free "
        "ones for all, chosen once and kept.",
    )
    store: StoreSpec = Field(default_factory=StoreSpec, description="The object store.")
    redis: RedisSpec = Field(default_factory=RedisSpec, description="Redis or Valkey.")
    database: Database = Field(
        default_factory=ManagedSpec,
        description="PostgreSQL: a managed one, or with `url` somebody else's.",
    )
    runner: RunnerSpec = Field(default_factory=RunnerSpec, description="The extension runner.")
    gateway: Gateway | None = Field(
        default=None,
        description="What stands in for Alga's app server: `bundled`, `none`, a mapping for the "
        "bundled one, or with `url` a real app server. Default: `bundled` with a managed "
        "database, else `none`.",
    )
    otel: OtelSpec | None = Field(
        default=None,
        description="Where gateway and runner send spans of calls, by OpenTelemetry. Default: "
        "nowhere.",
    )
    drift: DriftSpec = Field(
        default_factory=DriftSpec,
        description="What may be changed by something else without `up` changing it back.",
    )
    tenant: TenantSpec = Field(
        default_factory=TenantSpec,
        description="The tenant that gets the extensions. Default: the only one there is.",
    )
    extensions: dict[ExtensionName, Extension] = Field(
        default_factory=dict,
        description="Extensions to install: a name of your own → its source, or a mapping.",
    )
    seed: SeedSpec = Field(
        default_factory=SeedSpec,
        description="What a managed database and the store begin with: SQL files, objects from "
        "directories, and records of extensions. Applied again when it changes.",
    )
    tasks: dict[TaskName, TaskSpec] = Field(
        default_factory=dict,
        description="Commands that `up` runs: a name of your own → what is run.",
    )
    services: dict[Name, ServiceSpec] = Field(
        default_factory=dict,
        description="Further services, images or programs: a name of your own → what is run.",
    )
    keep_versions: Annotated[int, Field(ge=0, le=100), ResolveVariable] = Field(
        default=1, description="How many older bundles of each extension are kept for a rollback."
    )
    limits: LimitsOfAll = Field(
        default_factory=LimitsOfAll,
        description="How much each service's container may take; processes have no limits.",
    )
    ready_timeout: Duration = Field(
        default=60.0, description="How long a service or a page may take to answer."
    )
    app_url: Text = Field(
        default="http://localhost:3000",
        description="Where Alga's app server is, seen from this machine.",
    )
