"""How a secret may be written: plainly, by a file, or by an environment variable.

No complaint from here ever shows what was written, since that may be the secret itself.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Discriminator, Field, Tag

from algaenv.spec.tree import FromVariable
from algaenv.spec.words import MARK, TEXT, Spec, Text, VariableName, wrong

FILE, ENV = f"{MARK}file", f"{MARK}env"


class FileSecret(Spec):
    """A secret that stands in a file, without the line break at its end."""

    file: Text = Field(description="File that holds the value; relative to this spec's directory.")


class EnvSecret(Spec):
    """A secret that an environment variable holds."""

    env: VariableName = Field(description="Environment variable that holds the value.")


def _secret_text(value: object) -> str:
    if isinstance(value, str):
        return str(value)
    raise wrong(
        "spec-type",
        "text, {file: path} or {env: NAME} is needed",
        "put a number or boolean that is meant as text into quotes",
        quiet=True,
    )


def _shown_text(value: object) -> object:
    return str(value) if isinstance(value, FromVariable) else value


def _form(value: object) -> str:
    if isinstance(value, dict):
        return ENV if "env" in value and "file" not in value else FILE
    return TEXT


SecretText = Annotated[
    Annotated[str, BeforeValidator(_secret_text), Tag(TEXT)]
    | Annotated[FileSecret, Tag(FILE)]
    | Annotated[EnvSecret, Tag(ENV)],
    Discriminator(_form),
]
"""A value nobody may see."""
Value = Annotated[
    Annotated[str, BeforeValidator(_shown_text), Tag(TEXT)]
    | Annotated[FileSecret, Tag(FILE)]
    | Annotated[EnvSecret, Tag(ENV)],
    Discriminator(_form),
]
"""A value of the environment: plain text may be seen, a file's or variable's content may not."""
SecretForm = str | FileSecret | EnvSecret
