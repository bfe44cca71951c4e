"""The shell has variables for other servers: none of them reaches a server of the environment.

One environment, brought up under all of them at once, serves the file; each library's are then
tried alone, on a run that has nothing to do and on one that writes rows and objects.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from algaenv.drivers.client_environment import libpq_variables
from algaenv.drivers.database.errors import DatabaseLocation
from algaenv.drivers.database.session import DatabaseSession
from algaenv.model.problem import Unavailable
from tests.scenario.conftest import free_ports
from tests.scenario.project import Project, page

NOBODY = "http://127.0.0.1:9"
LIBPQ = {
    "PGSERVICE": "nowhere",
    "PGSERVICEFILE": "/nowhere",
    "PGHOST": "nowhere.invalid",
    "PGHOSTADDR": "127.0.0.9",
    "PGPORT": "1",
    "PGUSER": "nobody",
    "PGPASSWORD": "wrong",
    "PGDATABASE": "none",
    "PGSSLMODE": "verify-full",
    "PGSSLROOTCERT": "/nowhere/root.crt",
    "PGSSLNEGOTIATION": "direct",
    "PGCHANNELBINDING": "require",
    "PGTARGETSESSIONATTRS": "standby",
    "PGLOADBALANCEHOSTS": "nonsense",
    "PGREQUIREAUTH": "none",
    "PGREQUIREPEER": "nobody",
    "PGGSSENCMODE": "require",
    "PGOPTIONS": "-c nonsense=1 -c default_transaction_read_only=on",
    "PGCLIENTENCODING": "nonsense",
    "PGTZ": "nonsense",
    "PGDATESTYLE": "nonsense",
    "PGMINPROTOCOLVERSION": "9.9",
    "PGCONNECT_TIMEOUT": "nonsense",
}
AWS = {
    "AWS_PROFILE": "nowhere",
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_ACCESS_KEY_ID": "wrong",
    "AWS_SECRET_ACCESS_KEY": "wrong",
    "AWS_SESSION_TOKEN": "wrong",
    "AWS_REGION": "nowhere",
    "AWS_DEFAULT_REGION": "nowhere",
    "AWS_ENDPOINT_URL": NOBODY,
    "AWS_ENDPOINT_URL_S3": NOBODY,
    "AWS_USE_FIPS_ENDPOINT": "true",
    "AWS_USE_DUALSTACK_ENDPOINT": "true",
    "AWS_RETRY_MODE": "nonsense",
    "AWS_DEFAULTS_MODE": "nonsense",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "nonsense",
    "AWS_CHECKSUM_ALGORITHM": "nonsense",
    "AWS_CONDITIONAL_PUT": "nonsense",
    "AWS_SERVER_SIDE_ENCRYPTION": "aws:kms",
    "AWS_S3_EXPRESS": "true",
    "AWS_SKIP_SIGNATURE": "true",
    "AWS_ALLOW_HTTP": "false",
    "AWS_PROXY_URL": NOBODY,
    "AWS_CA_BUNDLE": "/nowhere",
}
PROXIES = {
    "HTTP_PROXY": NOBODY,
    "https_proxy": NOBODY,
    "ALL_PROXY": "socks5h://127.0.0.1:9",
    "NO_PROXY": "",
}
REDIS = {"REDIS_URL": "redis://127.0.0.9:1", "REDIS_HOST": "127.0.0.9", "VALKEY_URL": "nonsense"}
TLS = {"SSL_CERT_FILE": "/nowhere", "SSL_CERT_DIR": "/nowhere", "REQUESTS_CA_BUNDLE": "/nowhere"}
SERVERS = {
    "MINIO_ROOT_USER": "x",
    "MINIO_OPTS": "--nonsense",
    "RCLONE_CONFIG": "/nowhere",
    "RCLONE_LOG_LEVEL": "nonsense",
    "PGDATA": "/nowhere",
    "HOST": "192.0.2.1",
    "PORT": "1",
    "DATABASE_URL": "postgresql://nowhere.invalid/x",
    "BUNDLE_STORE_BASE": NOBODY,
    "S3_ACCESS_KEY": "wrong",
    "EXT_CACHE_ROOT": "/nowhere",
    "PYTHONHOME_UNUSED": "x",
}
LIBRARIES: Mapping[str, Mapping[str, str]] = {
    "psycopg-and-psycopg2": LIBPQ,
    "boto3-and-obstore": AWS,
    "proxies": PROXIES,
    "certificates": TLS,
    "redis-and-servers": {**REDIS, **SERVERS},
}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    root = tmp_path_factory.mktemp("shell")
    ports = free_ports("store", "console", "redis", "database", "runner", "gateway")
    project = Project(root, "process", ports)
    for variables in LIBRARIES.values():
        project.environ |= variables
    project.extension()
    try:
        project.up().ok()
        assert "hello" in project.page()
        project.environ.clear()
        yield project
    finally:
        project.environ.clear()
        project.clean()


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_variables_for_other_servers_change_nothing(up: Project, library: str) -> None:
    up.environ = dict(LIBRARIES[library])
    try:
        assert up.up().ok().changed == 0
        (up.root / "hello" / "ui" / "index.html").write_text(page(f"<p>edit {library}"))
        assert up.up().ok().changed > 0
        assert f"edit {library}" in up.page()
    finally:
        up.environ = {}


@pytest.mark.slow
@pytest.mark.parametrize("service", ["runner", "gateway"])
def test_what_services_inherit_of_the_shell(up: Project, service: str) -> None:
    """Brought up under all of them, they have those by which other machines are reached."""
    blocks = map(_environ_of, Path("/proc").iterdir())
    found = next(it for it in blocks if it.get("PORT") == str(up.ports[service]))
    others = set().union(*map(set, LIBRARIES.values())) - set(SERVERS)
    assert set(found) & others == {"HTTP_PROXY", "https_proxy", "NO_PROXY"}
    assert found["NO_PROXY"] == found["no_proxy"] == "127.0.0.1,localhost,::1"


def test_an_external_database_names_the_variables_that_count() -> None:
    variables = libpq_variables(
        {"PGSSLMODE": "x", "PGOPTIONS": "x", "PGDATA": "x", "PG_COLOR": "x"}
    )
    with socket.socket() as nobody:  # bound, and never listened on
        nobody.bind(("127.0.0.1", 0))
        url = f"postgresql://u:p@127.0.0.1:{nobody.getsockname()[1]}/x"
        place = DatabaseLocation("the external database", managed=False, variables=variables)
        with pytest.raises(Unavailable) as caught:
            DatabaseSession({"conninfo": url}, place).read({})
    assert "PGOPTIONS, PGSSLMODE of your shell" in caught.value.problem.hint


def test_every_variable_of_libpq_is_known() -> None:
    from psycopg.pq import Conninfo

    known = [it.envvar.decode() for it in Conninfo.get_defaults() if it.envvar]
    assert known
    assert libpq_variables(dict.fromkeys(known, "x")) == tuple(sorted(known))


def _environ_of(process: Path) -> dict[str, str]:
    try:
        block = (process / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.decode(errors="replace").partition("=") for entry in block.split(b"\0"))
    return {name: value for name, _, value in pairs if name}
