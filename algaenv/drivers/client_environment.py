"""Variables of the shell that client libraries read by themselves, and which of them we keep away.

libpq, boto3, obstore and the HTTP clients take settings from the environment of this process. The
author's shell has them for other servers: PGSERVICE, AWS_PROFILE or HTTP_PROXY say nothing about a
database and a store that algaenv started on the loopback interface. Most of them cannot be
overruled by an argument of the library, so they are removed before it is used. Commands that the
author wrote still get the shell as it is: they are given `Request.environ`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, MutableMapping
from typing import Final

_STORE: Final = re.compile(r"(?:AWS_|BOTO).*")
_PROXY: Final = re.compile(r"(?:all|http|https|ftp|ws|wss|no)_proxy", re.IGNORECASE)
_LIBPQ: Final = re.compile(r"PG(?!_)[A-Z0-9_]+")
_NOT_CONNECTING: Final = frozenset(("PGDATA", "PGLOCALEDIR", "PGCTLTIMEOUT"))
"""Variables of PostgreSQL's programs that say nothing about a connection."""


def remove_store_variables(environ: MutableMapping[str, str] = os.environ) -> None:
    """Remove the settings of S3 clients and proxies: what we talk to is on this machine.

    Certificates that are not there go too: without any, obstore does not begin to talk HTTP.
    """
    _remove(environ, lambda name: _STORE.fullmatch(name) or _PROXY.fullmatch(name))
    for name, is_there in (("SSL_CERT_FILE", os.path.isfile), ("SSL_CERT_DIR", os.path.isdir)):
        place = environ.get(name, "")
        if not (is_there(place) and os.access(place, os.R_OK)):
            environ.pop(name, None)


def remove_libpq_variables(environ: MutableMapping[str, str] = os.environ) -> None:
    """Remove libpq's settings, which is right for a managed database only."""
    _remove(environ, _LIBPQ.fullmatch)


def libpq_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the variables by which the shell has a say in how libpq connects."""
    found = (name for name, value in environ.items() if value and _LIBPQ.fullmatch(name))
    return tuple(sorted(name for name in found if name not in _NOT_CONNECTING))


def _remove(environ: MutableMapping[str, str], matches: Callable[[str], object]) -> None:
    for name in [name for name in environ if matches(name)]:
        environ.pop(name, None)
