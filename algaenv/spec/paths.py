"""What the author's paths lead to; each starts at the directory of the file it stands in."""

from __future__ import annotations

import os.path

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Where
from algaenv.spec.ledger import Ledger
from algaenv.spec.lookup import absolute, is_directory, is_file

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Paths:
    """Resolves and checks the paths of one load."""

    ledger: Ledger

    def absolute(self, text: str, where: Where) -> str:
        """`text` as an absolute path, `~` and `..` worked out."""
        return absolute(self.ledger.homes[where.file], text)

    def source(self, text: str, where: Where) -> str:
        """The directory of an extension; complains unless it holds a manifest."""
        path = self.absolute(text, where)
        if not is_directory(path):
            missing, hint = "there is no such directory", "correct the path"
        elif not is_file(f"{path}/{MANIFEST}"):
            missing, hint = f"it holds no {MANIFEST}", "name the directory of the manifest"
        else:
            return path
        self.ledger.complain(
            "spec-source-missing", f"use {text} as a source: {missing}", hint, where
        )
        return path

    def workspace(self, text: str, source: str, where: Where) -> str:
        """The directory that a build copies; complains unless the source lies inside."""
        path = self.absolute(text, where)
        if not is_directory(path):
            self.ledger.complain(
                "spec-workspace",
                f"use {text} as a workspace: there is no such directory",
                "correct the path",
                where,
            )
        elif not _inside(source, path):
            self.ledger.complain(
                "spec-workspace",
                f"use {text} as a workspace: the source lies outside of it",
                "name a directory that the source is in",
                where,
            )
        return path

    def context(self, text: str, dockerfile: str, where: Where) -> str:
        """The directory that an image is built from; complains unless it has the Dockerfile."""
        path = self.absolute(text, where)
        if not is_directory(path):
            missing, hint = "there is no such directory", "correct the path"
        elif not is_file(f"{path}/{dockerfile}"):
            missing, hint = f"it holds no {dockerfile}", "name the file in `dockerfile`"
        else:
            return path
        self.ledger.complain(
            "spec-context-missing", f"build an image from {text}: {missing}", hint, where
        )
        return path


def _inside(path: str, directory: str) -> bool:
    real = os.path.realpath(directory)
    return os.path.commonpath([os.path.realpath(path), real]) == real
