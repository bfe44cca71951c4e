"""The bodies of this runtime's resources: all that a driver needs to create one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from algaenv.bundle.value import dataclass
from algaenv.model.secret import Secret
from algaenv.runtimes.binaries import Binary
from algaenv.runtimes.services import with_secrets_in_file

ETC: Final = "/etc/algaenv"
"""The directory of a profile's files inside its container."""
RESTART: Final = "unless-stopped"
"""The restart policy of every container."""
IMPORTED: Final = "algaenv/imported"
"""The repository of images that were pulled elsewhere; their tags are their digests."""
LOCAL_PREFIX: Final = "algaenv/"
"""The repository prefix of every image made on this machine."""


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A bridge network of the environment's own."""

    name: str


@dataclass(frozen=True, slots=True)
class VolumeSpec:
    """A named volume."""

    name: str


@dataclass(frozen=True, slots=True)
class PulledImage:
    """An image from the first of `repositories` that provides it.

    Without a digest, the tag is resolved when it is first pulled.
    """

    repositories: tuple[str, ...]
    tag: str
    digest: str | None
    buildable: bool = True
    """Whether one that is built here can take its place."""

    @property
    def references(self) -> tuple[str, ...]:
        """Its possible names on this engine, in the order of the repositories."""
        mark = f"@{self.digest}" if self.digest else f":{self.tag}"
        return tuple(f"{repository}{mark}" for repository in self.repositories)

    @property
    def title(self) -> str:
        """Its name for people and inputs: that of the first repository, tag and digest."""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.repositories[0]}:{self.tag}{digest}"

    @property
    def imported(self) -> str:
        """Its name on this engine when an offline archive brought it: an engine that loads an image
        does not know its digest. Empty without a digest."""
        return f"{IMPORTED}:{self.digest.partition(':')[2]}" if self.digest else ""


@dataclass(frozen=True, slots=True)
class RecipeImage:
    """An image built by one of our recipes, from programs and packages of this machine."""

    recipe: str
    hash: str
    """Hash of the content; its first 12 hex digits are the tag."""
    program: Binary | None
    major: str = ""
    """The program's major version, where its data depends on it."""

    @property
    def title(self) -> str:
        """Repository and tag."""
        return f"{LOCAL_PREFIX}{self.recipe}:{self.hash[:12]}"

    @property
    def references(self) -> tuple[str, ...]:
        """Its name on this engine."""
        return (self.title,)


@dataclass(frozen=True, slots=True)
class DockerfileImage:
    """An image that the engine builds from a Dockerfile: the author's, or ours of the runner.

    `wheel` says that the wheel of this package, built on the fly, is put into the build context.
    """

    recipe: str
    hash: str
    context: str
    dockerfile: str
    args: Mapping[str, str]
    wheel: bool = False

    @property
    def title(self) -> str:
        """Repository and tag."""
        return f"{LOCAL_PREFIX}{self.recipe}:{self.hash[:12]}"

    @property
    def references(self) -> tuple[str, ...]:
        """Its name on this engine."""
        return (self.title,)


ImageSpec = PulledImage | RecipeImage | DockerfileImage


def local_names(image: ImageSpec) -> tuple[str, ...]:
    """What an image may be called on this engine."""
    imported = image.imported if isinstance(image, PulledImage) else ""
    return (*image.references, imported) if imported else image.references


@dataclass(frozen=True, slots=True)
class Port:
    """`host` on 127.0.0.1 leads to `container`; `name` is the profile's (`api`, `main`, …)."""

    name: str
    host: int
    container: int

    def __str__(self) -> str:
        return f"127.0.0.1:{self.host}->{self.container}"


@dataclass(frozen=True, slots=True)
class MountPoint:
    """A volume (by name) or a bind mount (by absolute path) at `target`.

    A `shared` volume belongs to no environment: the engine makes it, and `down` leaves it.
    """

    kind: Literal["volume", "bind", "shared"]
    source: str
    target: str
    read_only: bool = False

    @property
    def type(self) -> Literal["volume", "bind"]:
        """As the engine calls it."""
        return "bind" if self.kind == "bind" else "volume"

    def __str__(self) -> str:
        return f"{self.type} {self.source}{' (read-only)' if self.read_only else ''}"


FIRST_UID: Final = 2_001_000_000
"""The first uid that stands for an environment: above the ranges for people, directory services,
user namespaces and system services."""


@dataclass(frozen=True, slots=True)
class ImageUser:
    """The uid and gid of a container's program; the image need not know them."""

    uid: int
    gid: int

    @property
    def is_of_one_environment(self) -> bool:
        """Whether no other environment has it; root's containers run so."""
        return self.uid >= FIRST_UID

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}"


@dataclass(frozen=True, slots=True)
class OwnedDirectory:
    """The top directory of a mounted volume, whose owner and mode are set before the start."""

    path: str
    user: ImageUser
    mode: int


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A service's container. `files` are in ETC, mode 0400, owned by `file_owner`.

    `user` runs the program in an image of ours; None leaves it to the image. With a user, ETC is an
    anonymous volume of the container, and `chown` is a command in the image, to which `<uid>:<gid>`
    and directories are appended: it changes their owner recursively.
    """

    name: str
    service: str
    image: ImageSpec
    network: str
    command: tuple[str, ...]
    environment: Mapping[str, str | Secret]
    secrets_by: str
    """The variable with the path of a file of secret variables; empty: they stay variables."""
    files: Mapping[str, str | Secret]
    file_owner: ImageUser
    user: ImageUser | None
    chown: tuple[str, ...]
    healthcheck: tuple[str, ...]
    """A command of the image that ends with 0 while the program is well; may be empty."""
    ports: tuple[Port, ...]
    mounts: tuple[MountPoint, ...]
    owned: tuple[OwnedDirectory, ...]
    capabilities: tuple[str, ...]
    """Added again after all were dropped."""
    read_only: bool
    memory: int
    """Bytes; 0: no limit."""
    pids: int
    """Processes and threads; 0: no limit."""
    tmpfs: Mapping[str, str]
    host_names: tuple[str, ...]
    """Extra hosts, `name:address`."""
    init: bool
    stop_signal: str
    stop_timeout: int
    """Seconds between that signal and SIGKILL."""

    @property
    def injected(self) -> tuple[Mapping[str, str | Secret], Mapping[str, str | Secret]]:
        """The environment and the files that the program gets."""
        if not self.secrets_by:
            return self.environment, self.files
        environment, more = with_secrets_in_file(self.environment, self.secrets_by, ETC)
        return environment, {**self.files, **more}
