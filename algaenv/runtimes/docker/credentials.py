"""Credentials for registries, from the configuration of Docker's command line.

Most images need none, so a credential helper that is not installed, fails or hangs is recorded and
skipped. It is named when a registry then refuses. Imported with the SDK only.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from docker import auth
from docker.utils import config

from algaenv.model.problem import Problem, Refused

_HELPER: Final = "docker-credential-"
_SECONDS: Final = 20.0
"""Timeout of a helper, which may have to unlock a keychain."""
_NOTHING: Final = ("credentials not found", "no credentials server URL", "no credentials username")
_TOKEN: Final = "<token>"  # noqa: S105 - the user name by which helpers mark a token
_EXPECTED_TYPES: Final[tuple[tuple[str, type, str], ...]] = (
    ("auths", dict, "an object"),
    ("credHelpers", dict, "an object"),
    ("credsStore", str, "a text"),
    ("proxies", dict, "an object"),
    ("HttpHeaders", dict, "an object"),
)


def file_of() -> Path:
    """The configuration that is read, or the one that would be."""
    return Path(config.find_config_file() or Path.home() / ".docker" / "config.json")


def check() -> None:
    """Raise Refused (`docker-config`) when the configuration would break the SDK.

    A file that is no JSON counts as no configuration, as for the SDK.
    """
    path = file_of()
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return
    if not isinstance(found, dict):
        raise _unreadable(path, "it is no JSON object")
    for key, kind, name in _EXPECTED_TYPES:
        if found.get(key) is not None and not isinstance(found[key], kind):
            raise _unreadable(path, f"`{key}` is not {name}")
    for key in ("auths", "proxies"):
        for name, entry in (found.get(key) or {}).items():
            if not isinstance(entry, dict):
                raise _unreadable(path, f"`{key}.{name}` is not an object")
    for name, entry in (found.get("auths") or {}).items():
        try:
            auth.AuthConfig.parse_auth({name: entry})
        except (ValueError, TypeError, AttributeError):
            raise _unreadable(path, f"`auths.{name}.auth` is no user and password in Base64") from (
                None
            )


def _unreadable(path: Path, why: str) -> Refused:
    return Refused(
        Problem(
            "docker-config",
            f"cannot use Docker's configuration {path}: {why}",
            f"mend {path}, or set DOCKER_CONFIG to another directory",
        )
    )


class RegistryCredentials(auth.AuthConfig):  # type: ignore[misc]  # the SDK has no types
    """The SDK's source of credentials. `missed` maps a failed helper to the reason."""

    def __init__(self, dct: dict[str, Any], credstore_env: Mapping[str, str] | None = None) -> None:
        super().__init__(dct, credstore_env)
        self._environ = credstore_env
        self.missed: dict[str, str] = {}
        """Helper → a sentence with the file, the key and the remedy."""

    @property
    def is_empty(self) -> bool:
        """Never: the SDK would read the configuration again by its own rules."""
        return False

    @property
    def cred_helpers(self) -> dict[str, str]:
        """Registry → helper; what is not the name of a program is passed over."""
        named = self.get("credHelpers") or {}
        return {name: helper for name, helper in named.items() if helper and _is_name(helper)}

    def get_all_credentials(self) -> dict[str, Any]:
        """For a build, which may ask any registry."""
        found = dict(self.auths)
        if self.creds_store:
            listed = self._asked(self.creds_store, "list", "") or {}
            for registry in listed if isinstance(listed, dict) else ():
                found |= self._named(registry, self.creds_store)
        for registry, helper in self.cred_helpers.items():
            found |= self._named(registry, helper)
        return found

    def _named(self, registry: str, helper: str) -> dict[str, Any]:
        entry = self._resolve_authconfig_credstore(registry, helper)
        if entry is None:
            return {}
        return {registry: entry, auth.convert_to_hostname(registry): entry}

    def _resolve_authconfig_credstore(
        self, registry: str | None, credstore_name: str
    ) -> dict[str, str] | None:
        # Overrides the SDK's method, which it calls for a pull.
        if not registry or registry == auth.INDEX_NAME:
            registry = auth.INDEX_URL
        answer = self._asked(credstore_name, "get", registry)
        if not isinstance(answer, dict):
            return None
        user, secret = str(answer.get("Username", "")), str(answer.get("Secret", ""))
        if not (user or secret):
            return None
        if user == _TOKEN:
            return {"ServerAddress": registry, "IdentityToken": secret}
        return {"ServerAddress": registry, "Username": user, "Password": secret}

    def _asked(self, helper: str, verb: str, typed: str) -> object:
        """The helper's JSON; None when it has nothing, or cannot be asked."""
        try:
            return self._answer(f"{_HELPER}{helper}", verb, typed)
        except _HelperFailed as why:
            self._miss(helper, str(why))
            return None

    def _answer(self, name: str, verb: str, typed: str) -> object:
        program = shutil.which(name, path=(self._environ or {}).get("PATH"))
        if program is None:
            raise _HelperFailed("is not installed")
        try:
            done = subprocess.run(
                [program, verb],
                input=typed.encode(),
                capture_output=True,
                timeout=_SECONDS,
                check=False,
                env=None if self._environ is None else dict(self._environ),
                start_new_session=True,  # Away from a Ctrl-C that is meant for us.
            )
        except subprocess.TimeoutExpired:
            raise _HelperFailed(f"gave no answer within {_SECONDS:g} s") from None
        except OSError as error:
            raise _HelperFailed(f"cannot be run ({error.strerror})") from None
        if done.returncode:
            output = (done.stdout + done.stderr).decode(errors="replace").strip()
            if any(words in output for words in _NOTHING):
                return None
            first = (output.splitlines() or ["no word"])[0]
            raise _HelperFailed(f"failed with {done.returncode} ({first[:120]})")
        try:
            found: object = json.loads(done.stdout)
        except (ValueError, RecursionError):
            raise _HelperFailed("answered what is no JSON") from None
        return found

    def _miss(self, helper: str, why: str) -> None:
        keys = ["credsStore"] if self.creds_store == helper else []
        keys += [f"credHelpers.{name}" for name, it in self.cred_helpers.items() if it == helper]
        remedy = f"install {_HELPER}{helper}" if "installed" in why else f"mend {_HELPER}{helper}"
        self.missed[helper] = (
            f"{_HELPER}{helper} {why}: remove {' and '.join(keys)} from {file_of()}, or {remedy}"
        )


class _HelperFailed(Exception):
    """Why a helper could not be asked, as the predicate of a sentence."""


def _is_name(helper: object) -> bool:
    return isinstance(helper, str) and "/" not in helper


def load(environ: Mapping[str, str]) -> RegistryCredentials:
    """Read the configuration; helpers run with `environ`. `check` comes first."""
    found: RegistryCredentials = RegistryCredentials.load_config(
        None, config.load_general_config(), dict(environ)
    )
    return found


def missed(api: Any) -> str:
    """Why the SDK's client `api` went on without credentials; empty when it did not."""
    found = getattr(api, "_auth_configs", None)
    return "; ".join(found.missed.values()) if isinstance(found, RegistryCredentials) else ""
