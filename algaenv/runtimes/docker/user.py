"""Who runs in containers of images that are made here.

Numbers of an image's own would be somebody's on this machine, who could then read what its
processes hold. So it is whoever runs this; and for root, who should run nothing, a number of the
environment's own that nobody has.
"""

from __future__ import annotations

from typing import Final

from algaenv.runtimes.docker.body import User
from algaenv.runtimes.docker.engine import Engine, as_list, as_map

FIRST: Final = 2_001_000_000
"""Above what is given to people, to directories of users, to user namespaces and to services."""
SPAN: Final = 146_000_000
"""All of them fit into 31 bits, which is what some programs keep a number in."""
MAPPED: Final = 65_535
"""The last number that every engine has, one that maps its containers' users to others too."""


def user_of(environment_id: str, uid: int, gid: int) -> User:
    """The user for the containers of an environment that `uid` and `gid` bring up."""
    if uid:
        return User(uid, gid)
    number = FIRST + int(environment_id, 16) % SPAN
    return User(number, number)


def maps_users(engine: Engine) -> bool:
    """Whether users in containers are others outside; then none of their numbers is a person's."""
    said = as_list(as_map(engine.get("/info")).get("SecurityOptions"))
    return any(str(one).startswith(("name=userns", "name=rootless")) for one in said)
