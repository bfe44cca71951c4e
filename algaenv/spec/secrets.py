"""Secrets of a spec: written plainly, in a file, or in an environment variable.

No error from here shows what was written, since that may be the secret itself.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Discriminator, Field, Tag

from algaenv.bundle.value import dataclass
from algaenv.model.secret import Secret
from algaenv.spec.diagnostics import Diagnostics
from algaenv.spec.errors import dotted_path
from algaenv.spec.nodes import NodePath, SourceMap, SubstitutedText
from algaenv.spec.paths import PathResolver, warn_outside_secret
from algaenv.spec.types import TAG_PREFIX, TEXT, SpecModel, Text, VariableName, value_error

FILE, ENV = f"{TAG_PREFIX}file", f"{TAG_PREFIX}env"


class FileSecret(SpecModel):
    """A secret that stands in a file, without the line break at its end."""

    file: Text = Field(description="File that holds the value; relative to this spec's directory.")


class EnvSecret(SpecModel):
    """A secret that an environment variable holds."""

    env: VariableName = Field(description="Environment variable that holds the value.")


def _secret_text(value: object) -> str:
    if isinstance(value, str):
        return str(value)
    raise value_error(
        "spec-type",
        "text, {file: path} or {env: NAME} is needed",
        "put a number or boolean that is meant as text into quotes",
        hide_value=True,
    )


def _shown_text(value: object) -> object:
    return str(value) if isinstance(value, SubstitutedText) else value


def _secret_tag(value: object) -> str:
    if isinstance(value, dict):
        return ENV if "env" in value and "file" not in value else FILE
    return TEXT


SecretText = Annotated[
    Annotated[str, BeforeValidator(_secret_text), Tag(TEXT)]
    | Annotated[FileSecret, Tag(FILE)]
    | Annotated[EnvSecret, Tag(ENV)],
    Discriminator(_secret_tag),
]
"""A value that must not be shown."""
VariableValue = Annotated[
    Annotated[str, BeforeValidator(_shown_text), Tag(TEXT)]
    | Annotated[FileSecret, Tag(FILE)]
    | Annotated[EnvSecret, Tag(ENV)],
    Discriminator(_secret_tag),
]
"""A value of the environment: plain text may be seen, a file's or variable's content may not."""
SecretForm = str | FileSecret | EnvSecret


ACCESS_KEY = (r"[A-Za-z0-9._-]{3,128}", "3 to 128 letters, digits, dots, hyphens, underscores")
SECRET_KEY = (
    r"[!#-&(-+\--\[\]-~]{8,128}",
    "8 to 128 printable ASCII characters without spaces, quotes, commas and backslashes",
)
REDIS_PASSWORD = (
    r"[!#-&(-\[\]-~]{0,256}",
    "up to 256 printable ASCII characters without spaces, quotes and backslashes",
)
HEADER = (r"[ -~]{1,8192}", "1 to 8192 printable ASCII characters of one line")
DATABASE_PASSWORD = (r"[^\x00-\x1f\x7f]{1,256}", "1 to 256 characters, none of them a control")
_SCHEMES = ("postgres", "postgresql")


@dataclass(frozen=True, slots=True)
class SecretReader:
    """Reads the secrets of one load."""

    diagnostics: Diagnostics
    source_map: SourceMap

    def read(
        self, form: SecretForm | None, path: NodePath, kind: tuple[str, str] | None = None
    ) -> Secret | None:
        """The secret at `path`; None when there is none, or after an error.

        `kind` is what it must match, and the phrase for it.
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
            self.diagnostics.add_error(
                "spec-secret",
                f"use this as {dotted_path(path)}: it must hold {kind[1]}",
                "choose another one",
                self.source_map.value(path),
            )
            return None
        return Secret(value)

    def url(self, form: SecretForm, path: NodePath) -> Secret | None:
        """The URL of a database; None after an error."""
        secret = self.read(form, path)
        if secret is None:
            return None
        wanted = _url_error(secret.reveal())
        if wanted is None:
            return secret
        self.diagnostics.add_error(
            "spec-url",
            f"use this as {dotted_path(path)}: {wanted}",
            "write postgresql://user:password@host:port/database, special characters as %XX",
            self.source_map.value(path),
        )
        return None

    def _variable(self, name: str, path: NodePath) -> str | None:
        value = self.diagnostics.variable(name)
        if value is None:
            self.diagnostics.add_error(
                "spec-variable-unset",
                f"read {dotted_path(path[:-1])} from {name}: the variable is not set",
                f"set {name}",
                self.source_map.value(path),
            )
        return value

    def _file(self, name: str, path: NodePath) -> str | None:
        where = self.source_map.value(path)
        file = Path(PathResolver(self.diagnostics).absolute(name, where))
        try:
            value = self.diagnostics.read(file).decode()
        except UnicodeDecodeError as error:
            reason, hint = f"byte {error.start + 1} is not UTF-8", "save it as UTF-8 text"
        except OSError as error:
            reason, hint = error.strerror or str(error), "correct the path, or create the file"
        else:
            value = value.removesuffix("\n").removesuffix("\r")
            if value and "\0" not in value:
                warn_outside_secret(file, name, where, self.diagnostics)
                return value
            reason, hint = (
                "it is empty" if not value else "it holds a NUL",
                "write the secret to it",
            )
        self.diagnostics.add_error(
            "spec-secret-file", f"read {dotted_path(path[:-1])} from {name}: {reason}", hint, where
        )
        return None


def _url_error(url: str) -> str | None:
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
