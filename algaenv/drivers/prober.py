"""Probes a service once, as its consumer would; separates transient from final failures.

Nothing here waits or repeats: the loop that does is reconcile.wait. A library is imported when the
first question of its kind is asked, since most runs ask only some of them.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, assert_never
from urllib.parse import urlsplit

from algaenv.drivers.probe_http import (
    OTHER_BYTES,
    HttpReply,
    ProbeClient,
    endpoint_answer,
    prewarm_answer,
    prewarm_body,
    seconds_left,
    user_headers,
)
from algaenv.model.probe import (
    BrokenHandler,
    ExtensionProbe,
    GatewayProbe,
    HttpProbe,
    Never,
    NotYet,
    PageProbe,
    PortProbe,
    PostgresProbe,
    PrewarmRequest,
    Probe,
    ProbeResult,
    RedisProbe,
    RunnerProbe,
    StoreProbe,
    Yes,
)
from algaenv.model.secret import Secret
from algaenv.system.plain_http import connect_tcp

if TYPE_CHECKING:
    from obstore.store import S3Credential

PROBE_SECONDS: Final = 2.0
"""For one try."""
OPEN_SECONDS: Final = 0.25
"""A connection that stays open so long was accepted by a server, and by no proxy alone."""
GATEWAY_SECONDS: Final = 5.0
"""For a gateway, which gives all that it asks three seconds before it answers."""
PAGE_SECONDS: Final = 10.0
"""For a page: asking for it makes the runner fetch and unpack its bundle, which Alga's own runner
gives up as soon as who asked hangs up. Hanging up early would start it over, for ever."""

WARM_SECONDS: Final = 120.0
"""For a handler: one of 12 MB takes five seconds to compile on an idle machine."""

_GATEWAY_OK_STATES = ("ok", "off", "UndefinedTable")
"""Tables are content, which is made once its hosts answer."""
_MAX_REDIS_BYTES = 64 * 1024
"""Bytes that a Redis may say before it is no Redis."""


class ServiceProber:
    """Puts questions; safe to use from several threads."""

    def __init__(self) -> None:
        self._http = ProbeClient()

    def probe(self, probe: Probe) -> ProbeResult:
        """The answer, within PROBE_SECONDS (PAGE_SECONDS for a page, the probe's own limit for an
        endpoint). Raises nothing for what the other side does."""
        match probe:
            case PostgresProbe():
                return _probe_postgres(probe)
            case StoreProbe():
                reply = self._get(_signed_url(probe), PROBE_SECONDS)
                return _judge_store(probe, reply) if isinstance(reply, HttpReply) else reply
            case RedisProbe():
                return _probe_redis(probe)
            case RunnerProbe():
                reply = self._get(f"{probe.base_url.rstrip('/')}/healthz", PROBE_SECONDS)
                return _judge_health(reply) if isinstance(reply, HttpReply) else reply
            case GatewayProbe():
                reply = self._get(f"{probe.base_url.rstrip('/')}/readyz", GATEWAY_SECONDS)
                return _judge_gateway(probe, reply) if isinstance(reply, HttpReply) else reply
            case PageProbe():
                reply = self._get(probe.url, PAGE_SECONDS)
                return _judge_page(probe, reply) if isinstance(reply, HttpReply) else reply
            case ExtensionProbe():
                return self._ask_extension(probe)
            case PortProbe():
                return _probe_port(probe)
            case HttpProbe():
                reply = self._get(probe.url, PROBE_SECONDS)
                return _judge_http(probe, reply) if isinstance(reply, HttpReply) else reply
            case _:
                assert_never(probe)

    def _ask_extension(self, probe: ExtensionProbe) -> ProbeResult:
        """The first answer that is not as it should be."""
        answer = self.probe(probe.page) if probe.page else Yes()
        for path in probe.paths:
            if not isinstance(answer, Yes):
                break
            headers = user_headers(probe.user)
            reply = self._get(probe.base + path, probe.seconds, headers=headers)
            answer = endpoint_answer(path, reply) if isinstance(reply, HttpReply) else reply
        return answer

    def prewarm(self, warming: PrewarmRequest) -> ProbeResult | BrokenHandler:
        """What became of a handler, within the time given; never raises for the other side."""
        url = f"{warming.base_url.rstrip('/')}/warmup"
        shown = {"x-runner-service-token": warming.token} if warming.token else None
        reply = self._get(url, warming.seconds or WARM_SECONDS, prewarm_body(warming), shown)
        return prewarm_answer(_address_of(url), reply) if isinstance(reply, HttpReply) else reply

    def _get(
        self,
        url: str,
        seconds: float,
        document: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpReply | NotYet | Never:
        try:
            return self._http.probe(url, seconds, document, headers)
        except Exception as error:
            place = _address_of(url)
            if isinstance(error, ConnectionRefusedError | TimeoutError):
                return _no_answer(place, error)
            # Imported for an error only: it takes longer than all questions of a no-op.
            from http.client import BadStatusLine, HTTPException, RemoteDisconnected

            match error:
                case RemoteDisconnected():
                    return NotYet(f"{place} hung up without an answer")
                case BadStatusLine():
                    return _other_server(place, "HTTP")
                case OSError():
                    return _no_answer(place, error)
                case HTTPException():
                    return NotYet(f"{place} broke off its answer ({type(error).__name__})")
            raise


def _probe_port(probe: PortProbe) -> ProbeResult:
    """An engine accepts connections for its containers, and closes them where nothing listens."""
    place = f"port {probe.port}"
    try:
        with connect_tcp(probe.host, probe.port, PROBE_SECONDS) as wire:
            wire.settimeout(OPEN_SECONDS)
            if _stays_open(wire):
                return Yes()
    except OSError as error:
        return _no_answer(place, error)
    return NotYet(f"{place} hung up without an answer")


def _stays_open(wire: socket.socket) -> bool:
    """Whether the other side says something first, or waits for a client to."""
    try:
        return bool(wire.recv(1))
    except TimeoutError:
        return True


def _judge_http(probe: HttpProbe, reply: HttpReply) -> ProbeResult:
    if reply.status < 400:
        return Yes()
    path = urlsplit(probe.url).path
    return NotYet(f"{_address_of(probe.url)} answered {reply.status} to GET {path}")


def _probe_postgres(probe: PostgresProbe) -> ProbeResult:
    import psycopg

    from algaenv.drivers.database.connection import connect

    try:
        with connect(
            PROBE_SECONDS,
            host=probe.host,
            port=probe.port,
            user=probe.user,
            password=probe.password.reveal(),
            dbname=probe.database,
            connect_timeout=int(PROBE_SECONDS),
            autocommit=True,
            application_name="algaenv",
            # What PG… variables of the author's shell say is meant for other servers.
            hostaddr="",
            sslmode="prefer",
            gssencmode="disable",
            channel_binding="prefer",
            target_session_attrs="any",
            require_auth="scram-sha-256,md5,password",
            options=f"-c statement_timeout={int(PROBE_SECONDS * 1000)}",
        ) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error as error:
        return _judge_login(probe, str(error))
    return Yes()


def _judge_login(probe: PostgresProbe, reply_text: str) -> ProbeResult:
    """Read what libpq says; a failed login has no SQLSTATE, so its words are all there is."""
    last = f"PostgreSQL at port {probe.port}: {_libpq_summary(reply_text)}"
    if "password authentication failed" in reply_text:
        return Never(
            last,
            "the volume keeps the password it was made with: put that one into the spec, "
            "or begin anew with `algaenv down --volumes`",
        )
    if re.search(r'database ".*" does not exist', reply_text):
        return Never(
            last,
            "the volume keeps the database it was made with: put that name into the spec, "
            "or begin anew with `algaenv down --volumes`",
        )
    if re.search(r'role ".*" does not exist|no pg_hba\.conf entry', reply_text):
        return Never(
            last, "correct the user in the spec, or begin anew with `algaenv down --volumes`"
        )
    if (
        "received invalid response to" in reply_text
        or "expected authentication request" in reply_text
    ):
        return _other_server(f"port {probe.port}", "PostgreSQL")
    return NotYet(last)


def _libpq_summary(reply_text: str) -> str:
    """The part of libpq's words that is not about where it connected to, on one line."""
    gist = re.sub(
        r'^.*?connection to server at "[^"]*"(?: \([^)]*\))?, port \d+ failed: ', "", reply_text
    )
    first = gist.partition("\n")[0].strip()
    return first.removeprefix("FATAL:").strip() or "no answer"


def _signed_url(probe: StoreProbe) -> str:
    """A request for an object in a bucket that need not exist, signed in its address.

    MinIO and rclone check the signature first and the bucket after it. It is asked
    over a plain connection, since obstore's own goes through proxies the environment names.
    """
    from datetime import timedelta

    import obstore
    from obstore.store import S3Store

    # Keys given directly would be joined by AWS_SESSION_TOKEN of the author's shell.
    def keys() -> S3Credential:
        access, secret = probe.access_key.reveal(), probe.secret_key.reveal()
        return {"access_key_id": access, "secret_access_key": secret, "expires_at": None}

    store = S3Store(
        "algaenv-probe",
        endpoint=probe.endpoint,
        region=probe.region,
        client_options={"allow_http": True},
        virtual_hosted_style_request=False,
        credential_provider=keys,
    )
    return obstore.sign(store, "GET", "probe", timedelta(minutes=1))


def _judge_store(probe: StoreProbe, reply: HttpReply) -> ProbeResult:
    found = re.search(rb"<Code>([A-Za-z]+)</Code>", reply.head)
    code = found[1].decode() if found else ""
    last = f"{_address_of(probe.endpoint)} answered {reply.status}{f' {code}' if code else ''}"
    if reply.status < 300 or code in ("NoSuchBucket", "NoSuchKey"):
        return Yes()
    match code:
        case "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "AccessDenied" | "InvalidTokenId":
            return Never(
                last,
                "another store listens there, or it has other keys: "
                "correct the keys in the spec, or choose another port",
            )
        case "RequestTimeTooSkewed" | "RequestExpired":
            return Never(last, "set the clock of this machine, or of the store's")
        case "" if reply.status < 500:
            return _other_server(_address_of(probe.endpoint), "S3")
        case _:
            return NotYet(last)


def _probe_redis(probe: RedisProbe) -> ProbeResult:
    place = f"port {probe.port}"
    requests = _redis_requests(probe.password)
    deadline = time.monotonic() + PROBE_SECONDS
    try:
        with connect_tcp(probe.host, probe.port, PROBE_SECONDS) as wire:
            wire.sendall(b"".join(requests))
            lines = _read_lines(wire, len(requests), deadline)
    except OSError as error:
        return _no_answer(f"Redis at {place}", error)
    for line in lines:
        if line[:1] not in b"+-:$*" or not line:
            return _other_server(place, "Redis")
        if line.startswith(b"-"):
            return _judge_redis(place, line[1:].decode(errors="replace"))
    if len(lines) < len(requests):
        return NotYet(f"Redis at {place} hung up without an answer")
    return Yes() if lines[-1] == b"+PONG" else NotYet(f"Redis at {place} did not answer +PONG")


def _redis_requests(password: Secret | None) -> list[bytes]:
    words = [[b"PING"]]
    if password:
        words.insert(0, [b"AUTH", password.reveal().encode()])
    return [
        b"".join([b"*%d\r\n" % len(command), *(b"$%d\r\n%b\r\n" % (len(w), w) for w in command)])
        for command in words
    ]


def _read_lines(wire: socket.socket, count: int, deadline: float) -> Sequence[bytes]:
    """The first `count` lines the other side says, or fewer if it hangs up or rambles."""
    reply_text = b""
    while reply_text.count(b"\n") < count and len(reply_text) < _MAX_REDIS_BYTES:
        wire.settimeout(seconds_left(deadline))
        chunk = wire.recv(4096)
        if not chunk:
            break
        reply_text += chunk
    return reply_text.splitlines()[:count]


def _judge_redis(place: str, reply_text: str) -> ProbeResult:
    last = f"Redis at {place} answered {reply_text[:200]}"
    match reply_text.partition(" ")[0]:
        case "WRONGPASS":
            return Never(last, "another Redis listens there, or it has another password")
        case "NOAUTH":
            return Never(last, "it wants a password: put it into the spec")
        case "ERR" if "AUTH" in reply_text:
            return Never(last, "it has no password: another Redis listens there")
        case "NOPERM":
            return Never(last, "another Redis listens there: choose another port")
        case _:
            return NotYet(last)


def _judge_health(reply: HttpReply) -> ProbeResult:
    """What the runner says of the store does not decide, but is worth telling.

    It calls the store unreachable as long as the bucket is missing, which is made later, and Alga's
    own runner also when the bucket is private. That it can fetch, the pages prove.
    """
    body = reply.fields()
    if reply.status == 200 and body.get("cache_writable") is True:
        return Yes()
    if not body:
        return NotYet(f"the runner's /healthz answered {reply.status} without a JSON object")
    facts = (f"{name} {json.dumps(body.get(name))}" for name in ("cache_writable", "bundle_store"))
    return NotYet(f"the runner's /healthz answered {reply.status}: {', '.join(facts)}")


def _judge_gateway(probe: GatewayProbe, reply: HttpReply) -> ProbeResult:
    body = reply.fields()
    if "ready" not in body:
        return _other_server(_address_of(probe.base_url), "the gateway's language")
    states = {name: body.get(name) for name in ("database", "runner", "redis")}
    silent = {name: state for name, state in states.items() if state not in _GATEWAY_OK_STATES}
    if reply.status == 200 or not silent:
        return Yes()
    facts = ", ".join(f"{name} {json.dumps(state)}" for name, state in silent.items())
    return NotYet(f"the gateway's /readyz answered {reply.status}: {facts}")


def _judge_page(probe: PageProbe, reply: HttpReply) -> ProbeResult:
    last = f"{_address_of(probe.url)} answered {reply.status}"
    code = reply.fields().get("code") if reply.status >= 400 else None
    if isinstance(code, str):
        last += f" {code[:80]}"
    if code == "archive_hash_mismatch":
        return Never(last, OTHER_BYTES)
    if reply.status == probe.status:
        wanted = probe.body_sha256
        if wanted is None or wanted == reply.sha256:
            return Yes()
        return Never(
            f"{last} with other bytes: {reply.sha256[:12]} instead of {wanted[:12]}",
            "the runner keeps another page under this name, or something else answers there",
        )
    match reply.status:
        case 413:
            return Never(last, "raise EXT_STATIC_MAX_FILE_BYTES in the runner's environment")
        case 200 | 400:
            return Never(last, "another server than this runner answers there")
        case _:
            return NotYet(last)


def _other_server(place: str, language: str) -> Never:
    return Never(
        f"{place} does not speak {language}",
        "find out what listens there, and stop it or choose another port",
    )


def _no_answer(place: str, error: OSError) -> NotYet:
    if isinstance(error, TimeoutError):
        return NotYet(f"{place} did not answer in time")
    if isinstance(error, ConnectionRefusedError):
        return NotYet(f"{place} refuses connections")
    return NotYet(f"{place}: {error.strerror or type(error).__name__}")


def _address_of(url: str) -> str:
    """The address without what may hold a secret: no user, no query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
