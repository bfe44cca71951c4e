"""The recipe of an image, `stacks/images/<recipe>/recipe.toml`, read and checked.

Texts may hold `{program}` (the name of the program), `{home}` (the directory of its installation),
`{prefix}` (the place of that in the image) and `{major}` (its major version).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from algaenv import __version__
from algaenv.bundle.value import dataclass, field, field_names
from algaenv.model.problem import Failed, Problem
from algaenv.model.resource import Json
from algaenv.runtimes.memo import Memo, stamp_of

FILE = "recipe.toml"


@dataclass(frozen=True, slots=True)
class PythonPart:
    """An interpreter of the image's own: this one, with `distributions` and all they need.

    `packages` are files and directories of this package. `without` are name patterns left out of
    the standard library, `without_in_packages` of the distributions.
    """

    distributions: tuple[str, ...]
    packages: tuple[str, ...]
    site: str
    without: tuple[str, ...] = ()
    without_in_packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """One recipe. `user` is uid and gid of `account`, who owns `directories` (path → mode).

    `also` are further files of the build context, below the directory of all recipes. `siblings`
    are programs beside the main one; `tools` are programs of PATH; `chown` is
    the one that makes `<uid>:<gid>` the owner of a directory and all in it; `trees` are copied
    from the installation, `system_trees` only when the distribution owns it. `environment` is the
    image's; `container` is set on each container, with a profile's placeholders. `labels` may hold
    `{version}`, this package's.
    """

    name: str
    folder: Path
    user: int
    account: str
    entrypoint: tuple[str, ...] = ()
    healthcheck: tuple[str, ...] = ()
    program: str = ""
    prefix: str = "/usr/local"
    siblings: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    chown: tuple[str, ...] = ()
    directories: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    trees: Mapping[str, str] = field(default_factory=dict)
    system_trees: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    certificates: bool = False
    locale: bool = False
    read_only: bool = False
    versioned: bool = False
    """The data on disk belongs to one major version."""
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[int, ...] = ()
    container: Mapping[str, str] = field(default_factory=dict)
    python: PythonPart | None = None
    also: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[Path, ...]:
        """The files of the recipe itself."""
        own = sorted(path for path in self.folder.iterdir() if path.is_file())
        return (*own, *(self.folder.parent / name for name in self.also))

    @property
    def marks(self) -> Mapping[str, str]:
        """The labels, filled."""
        return {name: text.replace("{version}", __version__) for name, text in self.labels.items()}


def load_recipe(root: Path, name: str, memo: Memo) -> Recipe:
    """The recipe `name` of the directory `root`. Raises Failed (`recipe-broken`)."""
    folder = root / name
    file = folder / FILE
    found = memo.get(f"recipe:{file}", stamp_of([file]), lambda: _parse(file))
    try:
        return _recipe(name, folder, dict(cast(dict[str, Any], found)))
    except (TypeError, AttributeError) as error:
        raise _broken(file, str(error)) from error


def _parse(file: Path) -> Json:
    import tomllib

    try:
        found = tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise _broken(file, str(error)) from error
    return cast(Json, found)


def _recipe(name: str, folder: Path, found: dict[str, Any]) -> Recipe:
    python = found.pop("python", None)
    known = set(field_names(Recipe))
    if stray := sorted(found.keys() - known):
        raise TypeError(f"there is no key {stray[0]}")
    part = (
        PythonPart(**{key: _as_tuple(value) for key, value in python.items()}) if python else None
    )
    settled = {key: _as_tuple(value) for key, value in found.items()}
    return Recipe(name=name, folder=folder, python=part, **settled)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _broken(file: Path, why: str) -> Failed:
    hint = "reinstall algaenv: the recipes come with it"
    return Failed(Problem("recipe-broken", f"cannot read the recipe {file}", hint, detail=(why,)))
