"""Where secrets come from, and what each kind of secret may hold.

No message of this module shows a value.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from algaenv.bundle.value import dataclass
from algaenv.model.secret import Secret
from algaenv.spec.complaints import dotted
from algaenv.spec.ledger import Ledger
from algaenv.spec.paths import Paths
from algaenv.spec.secret_words import EnvSecret, FileSecret, SecretForm
from algaenv.spec.tree import Path as TreePath
from algaenv.spec.tree import Places
from algaenv.spec.trust import judge_secret

ACCESS_KEY = (r"[A-Za-z0-9._-]{3,128}", "3 to 128 letters, digits, dots, hyphens, underscores")
SECRET_KEY = (
    r"[!#-&(-+\--\[\]-~]{8,128}",
    "8 to 128 printable ASCII characters without spaces, quotes, commas and backslashes",
)
REDIS_PASSWORD = (
    r"[!#-&(-\[\]-~]{0,256}",
    "up to 256 printable ASCII characters without spaces, quotes and backslashes",
)
DATABASE_PASSWORD = (r"[^\x00-\x1f\x7f]{1,256}", "1 to 256 characters, none of them a control")
_SCHEMES = ("postgres", "postgresql")


@dataclass(frozen=True, slots=True)
class Secrets:
    """Reads the secrets of one load."""

    ledger: Ledger
    places: Places

    def read(
        self, form: SecretForm | None, path: TreePath, kind: tuple[str, str] | None = None
    ) -> Secret | None:
        """The secret at `path`; None when there is none, or after a complaint.

        `kind` is what it must match, and how that is said.
        """
        match form:
            case None:
                return None
            case FileSecret():
                value = self._file(form.file, (*path, "file"))
            case EnvSecret():
                value = self._variable(form.env, (*path, "env"))
            case _:
                value = str(form)
        if value is None:
            return None
        if kind is not None and re.fullmatch(kind[0], value) is None:
            self.ledger.complain(
                "spec-secret",
                f"use this as {dotted(path)}: it must hold {kind[1]}",
                "choose another one",
                self.places.value(path),
            )
            return None
        return Secret(value)

    def url(self, form: SecretForm, path: TreePath) -> Secret | None:
        """The URL of a database; None after a complaint."""
        secret = self.read(form, path)
        if secret is None:
            return None
        wanted = _wanted_of_url(secret.reveal())
        if wanted is None:
            return secret
        self.ledger.complain(
            "spec-url",
            f"use this as {dotted(path)}: {wanted}",
            "write postgresql://user:password@host:port/database, special characters as %XX",
            self.places.value(path),
        )
        return None

    def _variable(self, name: str, path: TreePath) -> str | None:
        value = self.ledger.variable(name)
        if value is None:
            self.ledger.complain(
                "spec-variable-unset",
                f"read {dotted(path[:-1])} from {name}: the variable is not set",
                f"set {name}",
                self.places.value(path),
            )
        return value

    def _file(self, name: str, path: TreePath) -> str | None:
        where = self.places.value(path)
        file = Path(Paths(self.ledger).absolute(name, where))
        try:
            value = self.ledger.read(file).decode()
        except UnicodeDecodeError as error:
            said, hint = f"byte {error.start + 1} is not UTF-8", "save it as UTF-8 text"
        except OSError as error:
            said, hint = error.strerror or str(error), "correct the path, or create the file"
        else:
            value = value.removesuffix("\n").removesuffix("\r")
            if value and "\0" not in value:
                judge_secret(file, name, where, self.ledger)
                return value
            said, hint = "it is empty" if not value else "it holds a NUL", "write the secret to it"
        self.ledger.complain(
            "spec-secret-file", f"read {dotted(path[:-1])} from {name}: {said}", hint, where
        )
        return None


def _wanted_of_url(url: str) -> str | None:
    """What the URL of a database lacks; None when it is well formed."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "its host or port is malformed"
    if parts.scheme not in _SCHEMES:
        return "it must begin with postgresql://"
    if not parts.hostname:
        return "it names no host"
    if port == 0:
        return "its port is malformed"
    if not parts.path.strip("/"):
        return "it names no database"
    return None
