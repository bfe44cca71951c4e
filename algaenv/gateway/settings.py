"""The structured part of the settings, from a file of JSON: who there is, and what is turned off.

```json
{"users": {"glinda": {"id": "…", "email": "…", "name": "…", "type": "internal",
                      "client_id": null, "client_name": null,
                      "permissions": ["extension:read"], "additional_fields": {}}},
 "checks_off": ["extension:write"],
 "rate_limit": "off",
 "faults_fixed": ["storage-list-skips"],
 "clients": [{"clientId": "…", "clientName": "…"}],
 "services": [{"serviceId": "…", "serviceName": "…"}],
 "extensions": {"alga.com.hello": {"ui_dev_server": "http://localhost:5173"}}}
```

Every key may be missing. Users of the file replace the two that are there without one; the first
is the one who asks when nobody is named. Clients and services are written as the internal API
answers them. An extension is named by its registry id or its slug.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from algaenv.gateway.faults import unknown
from algaenv.gateway.origin import origin
from algaenv.gateway.users import User, default_users, fixed_id

CHECKS = frozenset(
    (
        "extension:read",
        "extension:write",
        "client:read",
        "service:read",
        "client-portal-menu",
        "client-portal-client",
    )
)
"""What `checks_off` may name: permissions, that the client portal shows a menu entry for the
extension, and that a user of the client portal belongs to a client."""

RateLimit = Literal["off", "product"]
"""`product`: 60 calls at once and one more a second, for each extension of a tenant."""

_OTHERS_MAY = stat.S_IRWXG | stat.S_IRWXO
_KEYS = frozenset(
    ("users", "checks_off", "rate_limit", "faults_fixed", "clients", "services", "extensions")
)


class BadSettings(Exception):
    """The file cannot be used; the text is one line with all that is wrong."""


@dataclass(frozen=True, slots=True)
class ExtensionSettings:
    """What is said about one extension."""

    ui_dev_server: str | None = None
    """Origin of a development server whose page is shown instead of the bundle's."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it; without a file these defaults."""

    users: tuple[User, ...] = field(default_factory=default_users)
    checks_off: frozenset[str] = frozenset()
    rate_limit: RateLimit = "off"
    faults_fixed: frozenset[str] = frozenset()
    clients: tuple[Mapping[str, Any], ...] = ()
    services: tuple[Mapping[str, Any], ...] = ()
    extensions: Mapping[str, ExtensionSettings] = field(default_factory=dict)

    def of(self, registry_id: str, slug: str) -> ExtensionSettings:
        """What is said about an extension, by its registry id or its slug."""
        return self.extensions.get(registry_id) or self.extensions.get(slug) or ExtensionSettings()

    @classmethod
    def load(cls, file: Path) -> Settings:
        """Read a file that only its owner may read. Raises BadSettings."""
        try:
            if file.stat().st_mode & _OTHERS_MAY:
                raise BadSettings(f"{file} may be read by others: chmod 600 it")
            content = json.loads(file.read_bytes())
        except (OSError, ValueError) as error:
            raise BadSettings(f"cannot read the settings in {file}: {error}") from None
        return cls.parse(content)

    @classmethod
    def parse(cls, content: object) -> Settings:
        """Read what the file holds. Raises BadSettings with all that is wrong."""
        wrong = _Wrong()
        top = wrong.mapping("settings", content)
        for name in sorted(top.keys() - _KEYS):
            wrong(f"settings: unknown key {name!r}")
        checks = frozenset(wrong.strings("checks_off", top.get("checks_off")))
        for name in sorted(checks - CHECKS):
            wrong(f"checks_off: unknown check {name!r}")
        fixed = frozenset(wrong.strings("faults_fixed", top.get("faults_fixed")))
        for name in unknown(fixed):
            wrong(f"faults_fixed: unknown fault {name!r}")
        limit = top.get("rate_limit", "off")
        if limit not in ("off", "product"):
            wrong("rate_limit: neither off nor product")
        read = cls(
            users=_users(top.get("users"), wrong),
            checks_off=checks,
            rate_limit="product" if limit == "product" else "off",
            faults_fixed=fixed,
            clients=wrong.mappings("clients", top.get("clients")),
            services=wrong.mappings("services", top.get("services")),
            extensions=_extensions(top.get("extensions"), wrong),
        )
        if wrong.all:
            raise BadSettings("; ".join(wrong.all))
        return read


class _Wrong:
    """Collects what is wrong, and takes values for what they should be."""

    def __init__(self) -> None:
        self.all: list[str] = []

    def __call__(self, complaint: str) -> None:
        self.all.append(complaint)

    def mapping(self, name: str, value: object) -> dict[str, Any]:
        """An object; empty when missing."""
        if isinstance(value, dict):
            return dict(value)
        self._unless_missing(name, value, "an object")
        return {}

    def mappings(self, name: str, value: object) -> tuple[Mapping[str, Any], ...]:
        """A list of objects; empty when missing."""
        if isinstance(value, list) and all(isinstance(each, dict) for each in value):
            return tuple(value)
        self._unless_missing(name, value, "a list of objects")
        return ()

    def strings(self, name: str, value: object) -> tuple[str, ...]:
        """A list of strings; empty when missing."""
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return tuple(value)
        self._unless_missing(name, value, "a list of strings")
        return ()

    def text(self, name: str, value: object) -> str | None:
        """A string; None when missing."""
        if isinstance(value, str):
            return value
        self._unless_missing(name, value, "a string")
        return None

    def _unless_missing(self, name: str, value: object, wanted: str) -> None:
        if value is not None:
            self(f"{name}: not {wanted}")


def _users(content: object, wrong: _Wrong) -> tuple[User, ...]:
    named = wrong.mapping("users", content)
    defaults = default_users()
    if not named:
        return defaults
    return tuple(_user(key, value, defaults, wrong) for key, value in named.items())


def _user(key: str, content: object, defaults: tuple[User, ...], wrong: _Wrong) -> User:
    where = f"users.{key}"
    fields = wrong.mapping(where, content)
    for name in sorted(fields.keys() - set(User.__slots__) - {"key"}):
        wrong(f"{where}: unknown key {name!r}")
    kind = fields.get("type", "internal")
    if kind not in ("internal", "client"):
        wrong(f"{where}.type: neither internal nor client")
    like = defaults[1] if kind == "client" else defaults[0]
    given = fields.get("permissions")
    extra = wrong.mapping(f"{where}.additional_fields", fields.get("additional_fields"))

    def text(name: str, otherwise: str) -> str:
        return wrong.text(f"{where}.{name}", fields.get(name)) or otherwise

    return User(
        key=key,
        id=text("id", fixed_id(f"user/{key}")),
        email=text("email", like.email),
        name=text("name", key),
        type=like.type,
        client_id=wrong.text(f"{where}.client_id", fields.get("client_id")),
        client_name=wrong.text(f"{where}.client_name", fields.get("client_name")),
        permissions=like.permissions
        if given is None
        else frozenset(wrong.strings(f"{where}.permissions", given)),
        additional_fields={name: str(value) for name, value in extra.items()},
    )


def _extensions(content: object, wrong: _Wrong) -> dict[str, ExtensionSettings]:
    found: dict[str, ExtensionSettings] = {}
    for name, value in wrong.mapping("extensions", content).items():
        fields = wrong.mapping(f"extensions.{name}", value)
        for key in sorted(fields.keys() - {"ui_dev_server"}):
            wrong(f"extensions.{name}: unknown key {key!r}")
        server = wrong.text(f"extensions.{name}.ui_dev_server", fields.get("ui_dev_server"))
        if server is not None and origin(server) is None:
            wrong(f"extensions.{name}.ui_dev_server: not an http(s) URL")
        found[name] = ExtensionSettings(server)
    return found
