"""Programs beside a service: which variables its clients read, and where they lead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from algaenv.model.intent import ManagedDatabase
from algaenv.model.lock import Lock
from algaenv.model.problem import Problem, Refused
from algaenv.model.secret import Secret
from algaenv.reconcile.protocols import ClientVariables, Runtime, ServiceProgram


def service_program(
    lock: Lock, runtime: Runtime, service: str, words: Sequence[str], *, tty: bool
) -> ServiceProgram:
    """How `words` are run with a service of the lock. Raises Refused (`service-unknown`)."""
    lowered = runtime.lower(lock, lambda _: None)
    address = lowered.hosts.get(service)
    if address is None:
        raise Refused(
            Problem(
                "service-unknown",
                f"cannot run a program in {service}: this environment has no such service",
                f"choose one of {', '.join(sorted(lowered.hosts))}",
            )
        )
    resource = next(it for it in lowered.resources if it.address == address)
    return runtime.program(resource, words, _clients(lock, service), tty=tty)


def _clients(lock: Lock, service: str) -> ClientVariables:
    intent, credentials = lock.intent, lock.credentials

    def variables(host: str, ports: Mapping[str, int]) -> Mapping[str, str | Secret]:
        port = next(iter(ports.values()), 0)
        match service:
            case "database" if isinstance(intent.database, ManagedDatabase):
                return {
                    "PGHOST": host,
                    "PGPORT": str(port),
                    "PGUSER": intent.database.user,
                    "PGDATABASE": intent.database.database,
                    "PGPASSWORD": credentials.database_password,
                }
            case "redis":
                password = credentials.redis_password or Secret("")
                return {
                    "REDIS_HOST": host,
                    "REDIS_PORT": str(port),
                    "REDISCLI_AUTH": password,
                    "VALKEYCLI_AUTH": password,
                }
            case "store":
                return {
                    "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
                    "AWS_REGION": intent.store.region,
                    "AWS_ACCESS_KEY_ID": credentials.access_key,
                    "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
                    "S3_BUCKET": intent.store.bucket,
                }
            case _:
                return {}

    return variables
