"""What the next turn of the loop is about, and why."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

ASKED: Final = "asked for"
_BUILD_FILES: Final = re.compile(
    r"package\.json|pnpm-workspace\.yaml|tsconfig[^/]*\.json|[^/]+\.config\.[cm]?[jt]s"
    r"|Cargo\.toml|go\.mod|app\.py|requirements\.txt"
)
"""Files that say how a source is built, where the spec leaves that to them."""


class Pending:
    """What the next turn is about."""

    def __init__(self) -> None:
        self.spec: tuple[str, ...] = ()
        self.extensions: dict[str, tuple[str, ...]] = {}
        self.everything = ""
        """Why the turn is about everything, though no file says so."""
        self.restart = False
        self.components: tuple[str, ...] = ()
        """Extensions whose component is to take the place of the source, when nothing else is."""

    @property
    def due(self) -> bool:
        """Whether there is to be a turn."""
        return bool(self.spec or self.extensions or self.everything or self.components)

    @property
    def changes_what_counts(self) -> bool:
        """Whether other files may count from now on: the spec has changed, or how a source is
        built."""
        return bool(self.spec) or any(map(_says_how_to_build, self.files))

    @property
    def wants_components(self) -> bool:
        """Whether no handler shall run from source."""
        return self.everything == ASKED or self.unhurried

    @property
    def unhurried(self) -> bool:
        """Whether any change may come first."""
        return bool(self.components) and not (self.spec or self.extensions or self.everything)

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that changed, once."""
        found = (*self.spec, *(it for files in self.extensions.values() for it in files))
        return tuple(dict.fromkeys(found))

    @property
    def cause(self) -> str:
        """The reason of the turn in one phrase."""
        if self.everything:
            return self.everything
        files = self.files
        if not files:
            return "its component takes the place of the source" if self.components else ""
        return f"{len(files)} files changed" if len(files) > 1 else "1 file changed"

    def add(self, spec: tuple[str, ...], extensions: Mapping[str, tuple[str, ...]]) -> None:
        """These files changed, of the spec and by extension."""
        self.spec = tuple(dict.fromkeys((*self.spec, *spec)))
        for name, files in extensions.items():
            self.extensions[name] = tuple(dict.fromkeys((*self.extensions.get(name, ()), *files)))

    def add_older(self, older: Pending) -> None:
        """What a turn was about that was given up."""
        self.everything = self.everything or older.everything
        self.restart = self.restart or older.restart
        self.add(older.spec, older.extensions)


def _says_how_to_build(path: str) -> bool:
    return _BUILD_FILES.fullmatch(os.path.basename(path)) is not None  # noqa: PTH119
