"""The users that a request may select from, since there is no log-in."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

USER_HEADER = "x-algaenv-user"
USER_QUERY = "__user"
USER_COOKIE = "algaenv-user"

MSP_PERMISSIONS = frozenset(
    ("extension:read", "extension:write", "client:read", "service:read", "billing:create")
)


def stable_id(name: str) -> str:
    """An id for something that has only a name, the same in every run."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"algaenv/gateway/{name}"))


@dataclass(frozen=True, slots=True)
class User:
    """A user. Requests select one by `key`; people read `name`."""

    key: str
    id: str
    email: str
    name: str
    type: Literal["internal", "client"] = "internal"
    client_id: str | None = None
    client_name: str | None = None
    permissions: frozenset[str] = frozenset()
    """Spelled `resource:action`."""
    additional_fields: Mapping[str, str] = field(default_factory=dict)
    """Of `contact_id contactId username locale timezone`, what the handler gets."""

    @property
    def is_client(self) -> bool:
        """Whether they use the client portal, and not the MSP's own pages."""
        return self.type == "client"


def default_users() -> tuple[User, ...]:
    """An administrator of the MSP, then a user who works for one of its clients."""
    return (
        User(
            key="msp",
            id=stable_id("user/msp"),
            email="admin@msp.example",
            name="MSP Admin",
            permissions=MSP_PERMISSIONS,
            additional_fields={"username": "admin", "locale": "en", "timezone": "UTC"},
        ),
        User(
            key="client",
            id=stable_id("user/client"),
            email="someone@client.example",
            name="Client User",
            type="client",
            client_id=stable_id("client/default"),
            client_name="Example Client",
            additional_fields={"username": "someone", "locale": "en", "timezone": "UTC"},
        ),
    )


class Users:
    """The users of one environment; the first is the default."""

    def __init__(self, users: tuple[User, ...]) -> None:
        self.all = users
        self._by_key = {user.key: user for user in users}

    @property
    def default(self) -> User:
        """The user of a request that names none."""
        return self.all[0]

    @property
    def names(self) -> dict[str, str]:
        """Id → name."""
        return {user.id: user.name for user in self.all}

    def select(
        self,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        cookies: Mapping[str, str],
    ) -> User | None:
        """The user whom a request names: by header, else query, else cookie; None if unknown.

        An empty name is none. An unknown name in a cookie does not count: it was left behind by
        another environment on this port.
        """
        for named in (headers.get(USER_HEADER), query.get(USER_QUERY)):
            if named:
                return self._by_key.get(named)
        return self._by_key.get(cookies.get(USER_COOKIE, ""), self.default)
