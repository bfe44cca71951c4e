"""Rules that a single value's type cannot hold: ports apart, names taken, mounts, the app's URL."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator
from typing import Literal
from urllib.parse import urlsplit

from algaenv.model.intent import Port, StoreIntent
from algaenv.model.problem import Where
from algaenv.spec.author_services import PortSpec
from algaenv.spec.diagnostics import Diagnostics
from algaenv.spec.document import Document
from algaenv.spec.gateway import AppServerSpec, GatewaySpec
from algaenv.spec.nodes import NodePath, SourceMap
from algaenv.spec.paths import PathResolver
from algaenv.spec.services import ManagedSpec, RedisSpec, RunnerSpec, StoreSpec

RESERVED_VARIABLES = {
    "HOST": "change runner.port, which is on 127.0.0.1",
    "PORT": "change runner.port",
    "BUNDLE_STORE_BASE": "change store.port or store.bucket",
    "S3_ACCESS_KEY": "change store.credentials",
    "S3_SECRET_KEY": "change store.credentials",
    "S3_REGION": "change store.region",
    "RUNNER_LOCAL_EGRESS": "write runner.local_egress",
    "RUNNER_OWN_ADDRESSES": "open single addresses with runner.local_egress",
    "EXT_CACHE_ROOT": "delete it: algaenv keeps and clears this cache",
}
"""Variables of the runner that algaenv alone can know."""
_EGRESS = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_APP_URL = ("app_url",)
_OTLP_GRPC_PORT = 4317
HasPorts = StoreSpec | RedisSpec | ManagedSpec | RunnerSpec | GatewaySpec
"""What has ports."""
PortKey = Literal["port", "console_port"]


def check_port_conflicts(
    document: Document,
    store: StoreIntent | None,
    source_map: SourceMap,
    diagnostics: Diagnostics,
    cut: frozenset[NodePath],
    *,
    gateway: GatewaySpec | None,
) -> None:
    """Adds an error for every port that two services want, at the one the author wrote."""
    taken: dict[int, NodePath] = {}
    # What the author wrote comes last, so that it is blamed for meeting a default.
    wanted = [each for each in _ports(document, store, gateway) if each[0] not in cut]
    if gateway is not None and source_map.node(_APP_URL) is None:
        # No server is expected at the default address then.
        wanted = [each for each in wanted if each[0] != _APP_URL]
    wanted.sort(key=lambda each: source_map.node(each[0]) is not None)
    for path, port in wanted:
        other = taken.setdefault(port, path)
        if other == path:
            continue
        where = source_map.value(path)
        diagnostics.add_error(
            "spec-port-taken",
            f"use port {port} as {'.'.join(map(str, path))}: {'.'.join(map(str, other))} has it",
            "choose another port, or write auto",
            where,
        )


def port_of(document: Document, spec: HasPorts, name: PortKey = "port") -> Port:
    """The port that the spec fixes; None where it leaves it open, or `ports: auto` does."""
    port: int | Literal["auto"] = getattr(spec, name)
    left_open = document.ports == "auto" and name not in spec.model_fields_set
    return None if port == "auto" or left_open else port


def _ports(
    document: Document, store: StoreIntent | None, gateway: GatewaySpec | None
) -> Iterator[tuple[NodePath, int]]:
    written = document.gateway
    try:
        app = urlsplit(written.url if isinstance(written, AppServerSpec) else document.app_url)
        if app.hostname in _LOOPBACK and app.port:
            yield _APP_URL, app.port
    except ValueError:
        pass
    wanted: list[tuple[str, HasPorts, PortKey]] = [("store", document.store, "port")]
    if store is None or "console" in store.profile.ports:
        wanted.append(("store", document.store, "console_port"))
    wanted.append(("redis", document.redis, "port"))
    if isinstance(document.database, ManagedSpec):
        wanted.append(("database", document.database, "port"))
    wanted.append(("runner", document.runner, "port"))
    if gateway is not None:
        wanted.append(("gateway", gateway, "port"))
    for service, spec, name in wanted:
        port = port_of(document, spec, name)
        if port is not None:
            yield (service, name), port
    for service, own in document.services.items():
        for key, form in own.ports.items():
            path: NodePath = ("services", service, "ports", key)
            if isinstance(form, PortSpec):
                path, form = (*path, "port"), form.port  # noqa: PLW2901
            if form != "auto":
                yield path, form


def check_reserved_variable(
    name: str, path: NodePath, source_map: SourceMap, diagnostics: Diagnostics
) -> None:
    """Adds an error for a variable of the runner that algaenv sets itself."""
    if name in RESERVED_VARIABLES:
        diagnostics.add_error(
            "spec-variable-reserved",
            f"set {name} for the runner: algaenv does",
            RESERVED_VARIABLES[name],
            source_map.key(path),
        )


def warn_unbraced_variable(where: Where, diagnostics: Diagnostics) -> None:
    """Warns of a value that resembles a shell variable; it may be a password, so it is not
    shown."""
    if where in diagnostics.unbraced:
        diagnostics.add_warning(
            "spec-variable-bare",
            "fill a variable that is written without braces: the text stays as it is",
            "write ${NAME} for the variable, or $$NAME for the text",
            where,
        )


def parse_volume(text: str, where: Where, diagnostics: Diagnostics) -> str | None:
    """A mount `source:target[:ro]` with its source absolute; None after an error."""
    source, _, rest = text.partition(":")
    target, colon, mode = rest.partition(":")
    wanted = None
    if not source.startswith(("./", "../", "/", "~/")) and source not in (".", "..", "~"):
        wanted = "its source must be a path that begins with ./, ../, ~/ or /"
    elif not target.startswith("/") or os.path.normpath(target) == "/":
        wanted = "its target must be a path in the container that begins with /"
    elif (colon and mode not in ("ro", "rw")) or ":" in mode:
        wanted = "after the target only :ro or :rw may follow"
    if wanted is not None:
        diagnostics.add_error(
            "spec-volume",
            f"mount {text}: {wanted}",
            "write ./source:/target, or ./source:/target:ro",
            where,
        )
        return None
    path = PathResolver(diagnostics).absolute(source, where)
    return f"{path}:{target}{':ro' if mode == 'ro' else ''}"


def parse_egress_entry(text: str, where: Where, diagnostics: Diagnostics) -> str | None:
    """`host[:port]` or `*`, in lower case; None after an error."""
    entry = text.strip().lower()
    if entry == "*" or _EGRESS.fullmatch(entry):
        return entry
    diagnostics.add_error(
        "spec-egress",
        f"let handlers ask {text}: neither a host nor host:port",
        "write localhost:9999 or host.docker.internal, without a scheme or a path, or *",
        where,
    )
    return None


def parse_otel_endpoint(url: str, source_map: SourceMap, diagnostics: Diagnostics) -> str | None:
    """The base URL of an OpenTelemetry collector, without a slash at its end; None after an
    error."""
    wanted = None
    hint = "write http://localhost:4318 or the like"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        wanted = "its host or port is malformed"
    else:
        if parts.scheme not in ("http", "https"):
            wanted = "it must begin with http:// or https://"
        elif not parts.hostname or port == 0:
            wanted = "it names no host" if not parts.hostname else "its port is malformed"
        elif parts.username is not None:
            wanted = "a login in it would be seen"
            hint = "write it as `otel.headers`, such as {authorization: {env: NAME}}"
        elif parts.query or parts.fragment:
            wanted = "only scheme, host, port and path count"
        elif parts.path.rstrip("/").endswith("/v1/traces"):
            wanted = "/v1/traces is added to it"
            hint = "leave /v1/traces out"
        elif port == _OTLP_GRPC_PORT:
            wanted = "port 4317 is for OTLP over gRPC"
            hint = "write the port for OTLP over HTTP, which is usually 4318"
    if wanted is None:
        return url.rstrip("/")
    diagnostics.add_error(
        "spec-url",
        f"use this as otel.endpoint: {wanted}",
        hint,
        source_map.value(("otel", "endpoint")),
    )
    return None


def parse_app_origin(
    url: str, source_map: SourceMap, diagnostics: Diagnostics, path: NodePath = _APP_URL
) -> str | None:
    """Scheme, host and port of Alga's app server, or of another at `path`; None after an
    error."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        wanted: str | None = "its host or port is malformed"
    else:
        wanted = None
        if parts.scheme not in ("http", "https"):
            wanted = "it must begin with http:// or https://"
        elif not parts.hostname or port == 0:
            wanted = "it names no host" if not parts.hostname else "its port is malformed"
        elif parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment:
            wanted = "only scheme, host and port count"
        else:
            return f"{parts.scheme}://{parts.netloc}"
    diagnostics.add_error(
        "spec-url",
        f"use this as {'.'.join(map(str, path))}: {wanted}",
        "write http://localhost:3000 or the like",
        source_map.value(path),
    )
    return None
