"""Where the data of this package lies: ready-made environments and the engines' profiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from algaenv.spec.paths import SPEC_FILE

if TYPE_CHECKING:
    from algaenv.model.intent import Profile

_ENGINES = "engines"


def stacks_root() -> Path:
    """`stacks` inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "stacks"
    return installed if installed.is_dir() else package.parent / "stacks"


def names_in(root: Path) -> tuple[str, ...]:
    """The stacks of a directory: its sub-directories that hold a spec."""
    return tuple(sorted(path.parent.name for path in root.glob(f"*/{SPEC_FILE}")))


def profile_names() -> tuple[str, ...]:
    """The engines that are shipped."""
    return tuple(sorted(path.stem for path in (stacks_root() / _ENGINES).glob("*.yaml")))


def profile_file(name: str) -> Path:
    """Where the profile of a shipped engine lies, whether or not it exists."""
    return stacks_root() / _ENGINES / f"{name}.yaml"


def profile(name: str) -> Profile:
    """The profile of a shipped engine; raises SpecError for an unknown or broken one."""
    from algaenv.model.problem import SpecError
    from algaenv.spec.diagnostics import Diagnostics
    from algaenv.spec.resolve.engines import EngineRegistry

    diagnostics = Diagnostics({})
    shipped = EngineRegistry(diagnostics).shipped(name, None)
    if shipped is None:
        raise SpecError.of(diagnostics.problems)
    return shipped.profile
