"""The connection to a container engine: a fast client for reading, the SDK for everything else.

Most runs only observe, and must feel instant. Importing the SDK takes longer than all requests of
an observation together. So reads, and what a cold start writes, use a client of our own over the
engine's socket; the SDK is imported to pull or build an image and to read a log, or when the engine
is not behind a unix socket.
"""

from __future__ import annotations

import collections
import contextlib
import json
import socket
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from algaenv.bundle.value import dataclass
from algaenv.model.problem import DriverError, Problem, Refused
from algaenv.model.resource import Json
from algaenv.runtimes.docker.endpoint import Endpoint, Remote, UnixSocket, locate
from algaenv.runtimes.docker.errors import NOT_FOUND, EngineApiError, translate_errors
from algaenv.system.plain_http import PlainConnection, PlainRequest, UnixAddress, whole_body

_OLDEST: Final = (1, 40)
"""Docker 19.03."""
_NEWEST: Final = (1, 44)
"""The version this was written for; also the oldest that the newest engines support."""
_TIMEOUT: Final = 30.0
_WRITE_TIMEOUT: Final = 120
_STREAM_TIMEOUT: Final = 900.0
"""While an engine pulls an image. The SDK itself would wait for ever."""
BUILD_TIMEOUT: Final = 3600.0
"""While it builds: a step of a Dockerfile may print nothing for long."""
_ERROR: Final = 400
_ERROR_BYTES: Final = 1 << 16
_HOST: Final = "docker"


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """Facts about an engine. `arch` is Go's name: `amd64`, `arm64`, …

    `api_version` is the version used to talk to it. `podman` is whether it is Podman behind the
    same API, which treats what is mounted differently.
    """

    host: str
    version: str
    api_version: str
    arch: str
    os: str
    rootless: bool
    podman: bool = False


@dataclass(frozen=True, slots=True)
class NoEngine:
    """Why no engine can be used; false in a condition."""

    reason: str
    hint: str

    def __bool__(self) -> bool:
        return False


def probe_engine(environ: Mapping[str, str]) -> EngineFacts | NoEngine:
    """The engine that `environ` points to, if it answers and runs Linux containers. Never raises.

    Takes one round trip. A remote engine does not count: services are reached on loopback.
    """
    try:
        endpoint = locate(environ)
    except Refused as error:
        return NoEngine(error.problem.summary, error.problem.hint)
    if isinstance(endpoint, Remote) and not endpoint.is_local:
        found = remote_engine_problem(endpoint)
        return NoEngine(found.summary, found.hint)
    engine = Engine(endpoint, environ)
    try:
        return engine.facts
    except DriverError as error:
        problem = error.problem
        why = f" ({problem.detail[0]})" if problem.detail else ""
        return NoEngine(f"{problem.summary}{why}", problem.hint)
    finally:
        engine.close()


class EngineStream:
    """An answer of the engine that comes bit by bit.

    `read` returns as many bytes as it is asked for, and fewer at the end. `shutdown` ends it from
    another thread.
    """

    def __init__(self, read: Callable[[int], bytes], shutdown: Callable[[], object]) -> None:
        self._read = read
        self._shutdown = shutdown

    def read_exactly(self, size: int) -> bytes:
        """So many bytes; none at the end, and none of what ends before that.

        Raises TimeoutError after a silence, and ConnectionError when the connection is lost.
        """
        from http.client import HTTPException

        try:
            found = self._read(size)
        except HTTPException as error:  # The engine went away in the middle of an answer.
            raise ConnectionError(f"{type(error).__name__} in the log") from error
        return found if len(found) == size else b""

    def shutdown(self) -> None:
        """Have a read that waits end, as soon as may be."""
        with contextlib.suppress(OSError):
            self._shutdown()


class Engine:
    """One engine. Safe to use from several threads; `close` when done, or let it be collected."""

    def __init__(
        self, endpoint: Endpoint, environ: Mapping[str, str], facts: EngineFacts | None = None
    ) -> None:
        self.endpoint = endpoint
        self._environ = environ
        self._lock = threading.Lock()
        self._facts = facts
        self._idle: collections.deque[PlainConnection] = collections.deque()
        self._sdk: dict[str, Any] = {}
        self._finalizer = weakref.finalize(self, _close_all, self._idle, self._sdk)

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        _close_all(self._idle, self._sdk)

    @property
    def facts(self) -> EngineFacts:
        """Requested once. Raises EngineGone, or Refused when the engine cannot be used."""
        if self._facts is None:
            with translate_errors(f"reach the container engine at {self.endpoint}"):
                version = as_map(self._answer("/version", _TIMEOUT))
            self._facts = _facts(str(self.endpoint), version)
        return self._facts

    def get(
        self, path: str, query: Mapping[str, object] | None = None, *, timeout: float = _TIMEOUT
    ) -> Json:
        """The JSON answer to a GET; `filters` and other mappings are sent as JSON.

        `timeout` is in seconds. Raises EngineApiError for an answer that is no success, and what
        the transport raises; callers wrap it in `translate_errors`.
        """
        sent = {
            key: json.dumps(value) if isinstance(value, Mapping) else value
            for key, value in (query or {}).items()
        }
        text = f"?{urlencode(sent)}" if sent else ""
        return self._answer(f"/v{self.facts.api_version}{path}{text}", timeout)

    def find(self, path: str) -> Mapping[str, Json] | None:
        """GET one object; None when it does not exist."""
        try:
            return as_map(self.get(path))
        except EngineApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def read_prefix(self, path: str, query: Mapping[str, object], size: int) -> bytes:
        """The first bytes, at most `size`, of the answer to a GET.

        Raises as `get`. The connection is closed, so that the engine stops sending.
        """
        url = f"/v{self.facts.api_version}{path}?{urlencode(query)}"
        if isinstance(self.endpoint, UnixSocket):
            from algaenv.system.http import UnixConnection

            connection = UnixConnection(self.endpoint.path, _HOST)
            connection.timeout = _TIMEOUT
            try:
                connection.request("GET", url)
                reply = connection.getresponse()
                return _success(reply.status, reply.read(size))
            finally:
                connection.close()
        client = self._client(".".join(map(str, _NEWEST)))
        with client.get(client.base_url + url, timeout=_TIMEOUT, stream=True) as streamed:
            return _success(streamed.status_code, streamed.raw.read(size))

    @contextlib.contextmanager
    def open_stream(
        self, path: str, query: Mapping[str, object], silence: float | None
    ) -> Iterator[EngineStream]:
        """The answer to a GET that is read while it comes; the connection is closed at the end.

        `silence` is how many seconds may pass without a byte, by default as for other answers; then
        a read raises TimeoutError. Raises as `get`.
        """
        url = f"/v{self.facts.api_version}{path}?{urlencode(query)}"
        timeout = silence or _TIMEOUT
        if isinstance(self.endpoint, UnixSocket):
            from algaenv.system.http import UnixConnection

            connection = UnixConnection(self.endpoint.path, _HOST)
            connection.timeout = _TIMEOUT
            try:
                connection.request("GET", url)
                line = connection.sock
                reply = connection.getresponse()
                if reply.status >= _ERROR:
                    _success(reply.status, reply.read(_ERROR_BYTES))
                line.settimeout(timeout)
                yield EngineStream(reply.read, lambda: line.shutdown(socket.SHUT_RDWR))
            finally:
                connection.close()
            return
        client = self._client(".".join(map(str, _NEWEST)))
        with client.get(client.base_url + url, timeout=timeout, stream=True) as streamed:
            if streamed.status_code >= _ERROR:
                _success(streamed.status_code, streamed.content)
            yield EngineStream(streamed.raw.read, streamed.close)

    def send(self, method: str, path: str, *, timeout: float = _WRITE_TIMEOUT) -> Json:
        """The JSON answer to a POST or DELETE without a body, as starts and removals are.

        It may be sent twice. Importing the SDK would take a good part of a `down`. Raises as `get`.
        """
        return self._answer(f"/v{self.facts.api_version}{path}", timeout, method)

    def write(
        self,
        method: str,
        path: str,
        content: Mapping[str, object] | bytes,
        query: Mapping[str, object] | None = None,
    ) -> Json:
        """The JSON answer to a POST or PUT of a JSON object, without its nulls, or of an archive.

        To make and start containers, which a cold `up` does: importing the SDK would take a good
        part of it. Raises as `get` does.
        """
        kind = "application/x-tar"
        if isinstance(content, Mapping):
            kind = "application/json"
            present = {key: value for key, value in content.items() if value is not None}
            content = json.dumps(present).encode()
        text = f"?{urlencode(query)}" if query else ""
        url = f"/v{self.facts.api_version}{path}{text}"
        return self._answer(url, _WRITE_TIMEOUT, method, content, {"Content-Type": kind})

    @property
    def api(self) -> Any:
        """The SDK's client, for writing; created once."""
        return self._client(self.facts.api_version)

    def _client(self, version: str) -> Any:
        with self._lock:
            if version not in self._sdk:
                self._sdk[version] = _sdk_client(self.endpoint, self._environ, version)
            return self._sdk[version]

    def _answer(
        self,
        path: str,
        timeout: float,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        if isinstance(self.endpoint, UnixSocket):
            request = PlainRequest(method, path, body, headers or {})
            return self._over_socket(self.endpoint.path, request, timeout)
        return self._over_sdk(path, timeout, method, body, headers)

    def _over_socket(self, socket_path: str, request: PlainRequest, timeout: float) -> Json:
        connection, reused = PlainConnection(UnixAddress(socket_path, _HOST)), False
        if request.body is None:  # What makes something must not be sent twice.
            with contextlib.suppress(IndexError):
                connection, reused = self._idle.pop(), True
        try:
            head, body = connection.exchange(request, whole_body, seconds=timeout)
        except ConnectionError:  # RemoteDisconnected is one too.
            if reused:  # An engine closes idle connections; a new one shows whether it is gone.
                return self._over_socket(socket_path, request, timeout)
            raise
        self._idle.append(connection)
        return _read(head.status, body)

    def _over_sdk(
        self,
        path: str,
        timeout: float,
        method: str,
        body: bytes | None,
        headers: Mapping[str, str] | None,
    ) -> Json:
        # Our paths hold the version already; without one the SDK would request it first.
        client = self._client(".".join(map(str, _NEWEST)))
        reply = client.request(
            method, client.base_url + path, timeout=timeout, data=body, headers=headers
        )
        return _read(reply.status_code, reply.content)


def remote_engine_problem(endpoint: Remote) -> Problem:
    """The problem of an engine on another machine."""
    return Problem(
        "engine-elsewhere",
        f"cannot use the engine at {endpoint}: its loopback is not that of this machine",
        "run algaenv on that machine, or set `runtime: process` in the spec",
    )


def _success(status: int, body: bytes) -> bytes:
    if status >= _ERROR:
        _read(status, body)
    return body


def _read(status: int, body: bytes) -> Json:
    try:
        found: Json = json.loads(body) if body else None
    except ValueError:
        found = body.decode(errors="replace")
    if status >= _ERROR:
        from http.client import responses

        message = found.get("message") if isinstance(found, dict) else found
        raise EngineApiError(status, str(message or responses.get(status, "")))
    return found


def _close_all(idle: collections.deque[PlainConnection], sdk: dict[str, Any]) -> None:
    while idle:
        idle.pop().close()
    while sdk:
        sdk.popitem()[1].close()


def _facts(host: str, version: Mapping[str, Json]) -> EngineFacts:
    theirs, least = _version(version.get("ApiVersion")), _version(version.get("MinAPIVersion"))
    spoken = max(min(theirs, _NEWEST), least)
    parts = {as_map(part).get("Name") for part in as_list(version.get("Components"))}
    found = EngineFacts(
        host=host,
        version=str(version.get("Version", "")),
        api_version=".".join(map(str, spoken)),
        arch=str(version.get("Arch", "")),
        os=str(version.get("Os", "")),
        rootless="rootlesskit" in parts,
        podman="Podman Engine" in parts,
    )
    if theirs < _OLDEST:
        raise Refused(
            Problem(
                "engine-too-old",
                f"cannot use the container engine {found.version} at {host}",
                "upgrade it to Docker 19.03 or newer",
            )
        )
    if found.os != "linux":
        raise Refused(
            Problem(
                "engine-refused",
                f"cannot run Linux containers on the engine at {host}, which runs {found.os}",
                "switch the engine to Linux containers",
            )
        )
    return found


def _version(text: Json) -> tuple[int, ...]:
    parts = str(text or "").split(".")
    return tuple(int(part) for part in parts) if all(p.isdecimal() for p in parts) else (0,)


def _sdk_client(endpoint: Endpoint, environ: Mapping[str, str], version: str) -> Any:
    import docker

    from algaenv.runtimes.docker import credentials

    credentials.check()
    settings: dict[str, Any] = {"timeout": _WRITE_TIMEOUT, "version": version}
    match endpoint:
        case UnixSocket():
            settings["base_url"] = str(endpoint)
        case Remote(host, ""):
            found = docker.utils.kwargs_from_env(environment=dict(environ))
            settings |= {"base_url": host} | {k: v for k, v in found.items() if k == "tls"}
        case Remote(host, context):
            known = docker.ContextAPI.get_context(context)
            if known is None:
                raise FileNotFoundError(f"there is no docker context {context}")
            settings |= {"base_url": known.Host or host, "tls": known.TLSConfig or False}
    if settings["base_url"].startswith("ssh://"):
        settings["use_ssh_client"] = True
    client = docker.APIClient(**settings)
    client._auth_configs = credentials.load(environ)
    # The engine is on this machine: no proxy, and no login of ~/.netrc, leads to it.
    client.trust_env = False
    send = client.send

    def bounded(request: Any, **given: Any) -> Any:
        return send(request, **{**given, "timeout": given.get("timeout") or _STREAM_TIMEOUT})

    client.send = bounded
    return client


def as_map(value: Json) -> Mapping[str, Json]:
    """`value` if it is an object, else an empty one: the engine writes null for both."""
    return value if isinstance(value, dict) else {}


def as_list(value: Json) -> list[Json]:
    """`value` if it is an array, else an empty one."""
    return value if isinstance(value, list) else []


def as_texts(value: Json) -> dict[str, str]:
    """An object of strings, as labels are."""
    return {key: text for key, text in as_map(value).items() if isinstance(text, str)}
