"""Variables as `KEY=value` lines that a shell can source and an env file can hold.

This is the one place where secrets are shown, because somebody asked for exactly them.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from algaenv.model.secret import Secret


def env_text(variables: Mapping[str, str | Secret]) -> str:
    """One line a variable, quoted only where a shell would read something else."""
    return "".join(f"{name}={_quoted(value)}\n" for name, value in variables.items())


def _quoted(value: str | Secret) -> str:
    """An empty value stays bare: env files would take a pair of quotes for the value."""
    text = value.reveal() if isinstance(value, Secret) else value
    return shlex.quote(text) if text else ""
