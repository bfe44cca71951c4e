"""Services of the author's own, as the intent has them, and the variables that lead to them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from algaenv.bundle.value import dataclass, replace
from algaenv.model.problem import Where
from algaenv.model.secret import Secret

if TYPE_CHECKING:
    from algaenv.model.intent import PullRef

_PLACEHOLDER: Final = re.compile(r"\{(host|(?:port|address)(?:\.[^{}\s]*)?)\}")


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port that a service listens on, by its name in the spec.

    `port` is on 127.0.0.1, None for `auto`; `container` is the one inside a container, 0 for the
    same.
    """

    name: str
    port: int | None
    container: int


@dataclass(frozen=True, slots=True)
class ServiceIntent:
    """A service that the author brings: an image, a program of this machine, or both.

    `command`, `process` and the texts of `environment` are templates.
    """

    name: str
    image: PullRef | None
    """For the Docker runtime; None: there it cannot run."""
    command: tuple[str, ...]
    """Arguments of the image's entry point; empty: those of the image."""
    process: tuple[str, ...]
    """Program and arguments for the process runtime; empty: there it cannot run."""
    directory: str
    """Absolute directory that the process runs in: that of the file of the spec."""
    ports: tuple[ServicePort, ...]
    """At least one."""
    environment: Mapping[str, str | Secret]
    volumes: tuple[str, ...]
    """Mounts of a container, `source:target[:ro]`, their sources absolute."""
    ready_port: str
    """The name of the port that is asked whether the service answers."""
    ready_path: str
    """The path that must answer below 400; empty: a connection is enough."""
    needs: tuple[str, ...]
    """Names of services that must answer first."""
    memory: int
    """Bytes that its container may take; 0: no limit."""
    pids: int
    """Processes and threads that its container may have; 0: no limit."""
    where: Where
    """The place of its name in the spec, for problems."""

    def endpoint(self, port: str, host: str, number: int) -> str:
        """The URL of a port: http for the one that is asked for a path, else tcp."""
        scheme = "http" if port == self.ready_port and self.ready_path else "tcp"
        return f"{scheme}://{host}:{number}"


def port_key(service: str, port: str) -> str:
    """How a port of a service is called among the ports of an environment."""
    return f"{service}.{port}"


def with_open_ports(services: tuple[ServiceIntent, ...]) -> tuple[ServiceIntent, ...]:
    """The same with every port of this machine left open."""
    return tuple(
        replace(it, ports=tuple(replace(port, port=None) for port in it.ports)) for it in services
    )


def service_variables(
    services: tuple[ServiceIntent, ...], host: str, ports: Mapping[str, int]
) -> Iterator[tuple[str, str]]:
    """`SERVICE_<NAME>_<PORT>_URL`, `…_HOST` and `…_PORT` of every port; `ports` are by key."""
    for service in services:
        for port in service.ports:
            number = ports.get(port_key(service.name, port.name), 0)
            prefix = f"SERVICE_{service.name}_{port.name}".upper().replace("-", "_")
            yield f"{prefix}_URL", service.endpoint(port.name, host, number)
            yield f"{prefix}_HOST", host
            yield f"{prefix}_PORT", str(number)


def placeholders(template: str) -> Iterator[str]:
    """What stands in braces: `host`, `port.NAME`, `address.SERVICE` or `address.SERVICE.PORT`.

    Other braces are text: arguments and variables are often JSON.
    """
    return (it[1] for it in _PLACEHOLDER.finditer(template))


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with the value of each placeholder. Raises KeyError for one without."""
    return _PLACEHOLDER.sub(lambda it: values[it[1]], template)
