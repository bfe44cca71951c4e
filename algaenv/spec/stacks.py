"""Where the data of this package lies: ready-made environments and the engines' profiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from algaenv.model.intent import Profile

SPEC_FILE = "algaenv.yaml"
_ENGINES = "engines"


def stacks_root() -> Path:
    """`stacks` inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "stacks"
    return installed if installed.is_dir() else package.parent / "stacks"


def names_in(root: Path) -> tuple[str, ...]:
    """The stacks of a directory: its sub-directories that hold a spec."""
    return tuple(sorted(path.parent.name for path in root.glob(f"*/{SPEC_FILE}")))


def stack_names() -> tuple[str, ...]:
    """The stacks that `extends:` knows by name."""
    return names_in(stacks_root())


def stack_file(name: str) -> Path:
    """The spec of a stack; raises SpecError (`spec-stack-unknown`)."""
    from algaenv.model.problem import Problem, SpecError

    if name not in stack_names():
        known = ", ".join(stack_names()) or "none in this installation"
        raise SpecError(
            Problem(
                "spec-stack-unknown",
                f"cannot find a stack called {name}",
                f"choose one of these: {known}",
            )
        )
    return stacks_root() / name / SPEC_FILE


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
