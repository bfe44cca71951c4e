"""The tools of `algaenv mcp`: of each its arguments, and the command line that it runs.

A tool takes what its command takes, as far as that makes sense for a program, and returns the same
JSON.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[^-\s]\S*$", max_length=200)]
"""A name, which cannot be taken for an option."""
Extensions = Annotated[
    list[Name], Field(description="extensions of the spec, by name; none: all of them")
]
Extension = Annotated[
    Name, Field(description="its name in the spec, its registry or install id, or publisher.name")
]


class Arguments(BaseModel):
    """The arguments of a tool. The docstring of a subclass describes the tool to its user."""

    model_config = ConfigDict(extra="forbid")

    command: ClassVar[str]
    writes: ClassVar[bool] = False
    """Whether it may change anything outside of the build cache."""
    destroys: ClassVar[bool] = False
    """Whether it may remove data."""
    in_spec: ClassVar[bool] = True
    """Whether its command takes `--file`."""
    in_runtime: ClassVar[bool] = False
    """Whether its command takes `--runtime`."""

    @property
    def options(self) -> list[str]:
        """Of the command line; a value stands in one word with its option."""
        return []

    @property
    def operands(self) -> list[str]:
        """What follows the options."""
        return []

    @property
    def stdin(self) -> str:
        """What the command reads, which no process list shows."""
        return ""


class StatusTool(Arguments):
    """Services and extensions of the environment: whether they answer, their addresses and
    versions. Start here."""

    command = "status"
    in_runtime = True


class PlanTool(Arguments):
    """What `up` would do and why, step by step, without doing it. Extensions are built for it."""

    command = "plan"
    in_runtime = True

    extensions: Extensions = []

    @property
    def operands(self) -> list[str]:
        """The extensions."""
        return self.extensions


class DriftTool(Arguments):
    """What something else has changed since the last `up`, field by field."""

    command = "drift"


class LogsTool(Arguments):
    """Log lines of services and handlers, merged by time, the last ones first to be kept."""

    command = "logs"

    names: list[Name] = Field([], description="services or extensions; none: all")
    since: Annotated[str, Field(description="such as 10m, or an RFC 3339 time")] = ""
    tail: Annotated[int, Field(ge=1, le=5000, description="so many lines at most")] = 200
    grep: Annotated[str, Field(description="a regular expression that lines match")] = ""
    request: Annotated[str, Field(description="the id of one request, or its beginning")] = ""

    @property
    def options(self) -> list[str]:
        """What is looked for."""
        found = [f"--tail={self.tail}"]
        found += [f"--since={self.since}"] if self.since else []
        found += [f"--grep={self.grep}"] if self.grep else []
        return [*found, f"--request={self.request}"] if self.request else found

    @property
    def operands(self) -> list[str]:
        """Services and extensions."""
        return self.names


class TraceTool(Arguments):
    """What the last requests did: the gateway's decision, the runner, host calls, the answer."""

    command = "trace"

    extension: Annotated[Name | None, Field(description="of this extension only")] = None
    last: Annotated[int, Field(ge=1, le=300, description="so many requests at most")] = 20
    request: Annotated[str, Field(description="the id of one request, or its beginning")] = ""
    failed: Annotated[bool, Field(description="only those with a status of 400 or more")] = False

    @property
    def options(self) -> list[str]:
        """Which requests."""
        found = [f"--request={self.request}"] if self.request else [f"--last={self.last}"]
        return [*found, "--failed"] if self.failed else found

    @property
    def operands(self) -> list[str]:
        """The extension."""
        return [self.extension] if self.extension else []


class ExplainTool(Arguments):
    """Explain a problem code (`port-taken`), an extension, or a field of the spec
    (`redis.port`)."""

    command = "explain"

    subject: Annotated[Name, Field(description="a problem code, an extension or a field")]

    @property
    def operands(self) -> list[str]:
        """The subject."""
        return [self.subject]


class DoctorTool(Arguments):
    """Check this machine, the spec and its environment for what is wrong; repairs nothing."""

    command = "doctor"
    in_runtime = True


class SchemaTool(Arguments):
    """The JSON Schema of the spec, or of what a command prints. Read it before you edit a spec."""

    command = "schema"
    in_spec = False

    name: Annotated[Name, Field(description="spec, status, plan, events, …")] = "spec"

    @property
    def operands(self) -> list[str]:
        """The name."""
        return [self.name]


class ValidateTool(Arguments):
    """Check the spec without touching anything: every problem, with its place and a hint."""

    command = "validate"


class UpTool(Arguments):
    """Bring the environment to what the spec says, and wait until it answers. What is already so is
    left alone."""

    command = "up"
    writes = True
    in_runtime = True

    extensions: Extensions = []
    plan: Annotated[
        str | None,
        Field(description="a file of `plan --out`: exactly that, or nothing", min_length=1),
    ] = None

    @property
    def operands(self) -> list[str]:
        """The extensions, or the plan."""
        if self.plan is None:
            return self.extensions
        return [*self.extensions, self.plan if "/" in self.plan else f"./{self.plan}"]


class CallTool(Arguments):
    """Call a handler of an extension through the gateway; any status is an answer."""

    command = "call"
    writes = True

    extension: Extension
    path: Annotated[str, Field(pattern="^/", description="the endpoint, with its query")]
    method: Annotated[Literal["GET", "POST", "PUT", "PATCH", "DELETE"] | None, Field()] = None
    body: Annotated[str | None, Field(description="the body; JSON is text here")] = None
    user: Annotated[Name | None, Field(description="who asks, one of gateway.users")] = None

    @property
    def options(self) -> list[str]:
        """The body comes from standard input."""
        found = ["--data=-"] if self.body is not None else []
        return [*found, f"--user={self.user}"] if self.user else found

    @property
    def operands(self) -> list[str]:
        """The extension, the method and the path."""
        return [self.extension, *([self.method] if self.method else []), self.path]

    @property
    def stdin(self) -> str:
        """The body."""
        return self.body or ""


class RestartTool(Arguments):
    """Start services anew, all of them without names; content stays as it is."""

    command = "restart"
    writes = True

    services: list[Name] = Field(
        [], description="store, redis, database, runner, gateway, or of the spec"
    )

    @property
    def operands(self) -> list[str]:
        """The services."""
        return self.services


class TestTool(Arguments):
    """Bring the environment up, then run the checks that the spec lists."""

    command = "test"
    writes = True
    in_runtime = True

    extensions: Extensions = []
    ephemeral: Annotated[
        bool, Field(description="in an environment of its own, removed afterwards")
    ] = False

    @property
    def options(self) -> list[str]:
        """Where."""
        return ["--ephemeral"] if self.ephemeral else []

    @property
    def operands(self) -> list[str]:
        """The extensions."""
        return self.extensions


class RollbackTool(Arguments):
    """Go back to a kept version of an extension; without a version, list those that are kept."""

    command = "rollback"
    writes = True

    extension: Extension
    to: Annotated[str | None, Field(description="a version, or the beginning of a digest")] = None

    @property
    def options(self) -> list[str]:
        """The version."""
        return [f"--to={self.to}"] if self.to else []

    @property
    def operands(self) -> list[str]:
        """The extension."""
        return [self.extension]


class DownTool(Arguments):
    """Remove the environment; its data is kept unless asked."""

    command = "down"
    writes = True
    destroys = True

    volumes: Annotated[bool, Field(description="delete its data as well: buckets, tables")] = False

    @property
    def options(self) -> list[str]:
        """Whether the data goes, which was asked for here."""
        return ["--volumes", "--yes"] if self.volumes else []


TOOLS: tuple[type[Arguments], ...] = (
    *(StatusTool, PlanTool, DriftTool, LogsTool, TraceTool, ExplainTool, DoctorTool),
    *(SchemaTool, ValidateTool, UpTool, CallTool, RestartTool, TestTool, RollbackTool, DownTool),
)


def tools(*, writes: bool) -> dict[str, type[Arguments]]:
    """The tools by name; those that change something only with `writes`."""
    return {it.command: it for it in TOOLS if writes or not it.writes}
