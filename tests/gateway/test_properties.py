"""Any request through a gateway: the runner gets what the contract requires, or nothing."""

from __future__ import annotations

import base64
import json
import re
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from algaenv.gateway.javascript import trim
from algaenv.gateway.responses import is_header_value
from tests.drivers.alga import OZ
from tests.gateway.gateway_process import TOKEN, Gateway
from tests.gateway.seed import Extension, install
from tests.gateway.stub_runner import StubRunner, envelope
from tests.gateway.test_calls import DIRECT, PROXY
from tests.params import slow_params
from tests.servers import Database

BOTH = pytest.mark.parametrize("route_prefix", [DIRECT, *slow_params(PROXY)])

MANY = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
ENDPOINTS = ("/", "/hello", "/items/:id", "/a/:b/c/:d")
WRITES = ("POST", "PUT", "PATCH", "DELETE")
CARRIED = ("x-request-id", "accept", "content-type", "accept-encoding", "user-agent")
ADDED = {"x-alga-tenant", "x-alga-extension", "x-idempotency-key"}


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer, byte for byte; names of headers in lower case, each as often as it came."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def named(self, name: str) -> list[str]:
        return [value for its, value in self.headers if its == name]


def wire(
    service: Gateway,
    method: str,
    target: bytes,
    headers: list[tuple[bytes, bytes]],
    body: bytes = b"",
) -> Heard:
    """Write a request unchecked, and read the response to its end."""
    names = {name.lower() for name, _ in headers}
    given = [*headers, (b"connection", b"close")]
    if b"host" not in names:
        given.append((b"host", b"localhost"))
    if b"transfer-encoding" not in names:
        given.append((b"content-length", b"%d" % len(body)))
    lines = [method.encode() + b" " + target + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in given]
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as link:
        link.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        with link.makefile("rb") as answer:
            content = answer.read()
    head, _, rest = content.partition(b"\r\n\r\n")
    first, *others = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(": ") for line in others]
    return Heard(
        int(first.split(" ")[1]), [(name.lower(), value) for name, _, value in pairs], rest
    )


@pytest.fixture
def extension(tables: Database) -> Extension:
    """Every method on every endpoint."""
    methods = ("GET", *WRITES)
    return install(tables, OZ, endpoints=[(m, p) for m in methods for p in ENDPOINTS])


def asked_once(runner: StubRunner) -> Any:
    """What the runner was asked, in the one request that it got."""
    (asked,) = runner.asked
    assert (asked.method, asked.target) == ("POST", "/v1/execute")
    return asked.json["http"]


# Paths

PIECES = (
    *(
        b"items hello a c 7 . .. ... / // %2F %2f %5C \\ %00 %2e %2E%2e %25 %252e %252F ; : @ & = "
        b"+ ~ %C3%BC %FF %0d%0a %20 * ' ( ) , ! $ | ^ { } v1/execute ..; http:// %2e%2e%2f"
    ).split(),
)
SEGMENTS = st.lists(
    st.one_of(st.sampled_from(PIECES), st.sampled_from((b"/items/", b"/hello", b"/a/", b"/c/")))
)
PATHS = SEGMENTS.map(b"".join)


def decoded(raw: bytes) -> list[str] | None:
    """The segments that a path of a page means; None for one that no runner should ever see."""
    found = []
    for segment in filter(None, raw.split(b"/")):
        try:
            text = unquote_to_bytes(segment).decode()
        except UnicodeDecodeError:
            return None
        if text in {".", ".."} or re.search(r"[/\\\0]", text):
            return None
        found.append(text)
    return found


def resolved(raw: bytes) -> list[str] | None:
    """The segments that a path of a call means once its dots are followed; None for one that leads
    out of the extension or is no text."""
    found: list[bytes] = []
    for segment in raw.split(b"/"):
        match re.sub(rb"(?i)%2e", b".", segment):
            case b".":
                continue
            case b"..":
                if not found:
                    return None
                found.pop()
            case _:
                found.append(segment)
    try:
        text = "/".join(unquote_to_bytes(it).decode() for it in found if it)
    except UnicodeDecodeError:
        return None
    return text.split("/") if text else []


def declared(segments: list[str]) -> bool:
    for path in ENDPOINTS:
        wanted = path.strip("/").split("/") if path != "/" else []
        if len(wanted) == len(segments) and all(
            bool(each) if it.startswith(":") else it == each
            for it, each in zip(wanted, segments, strict=True)
        ):
            return True
    return False


@BOTH
@MANY
@given(path=PATHS, method=st.sampled_from(("GET", *WRITES)))
@example(path=b"items/%2e%2e", method="GET")
@example(path=b"items/..%2f..%2fv1%2fexecute", method="POST")
@example(path=b"items/%5C", method="GET")
@example(path=b"//items//7//", method="GET")
@example(path=b"items/a%0d%0ax-evil:%201", method="GET")
@example(path=b"hello%0a", method="GET")
def test_paths(
    *,
    service: Gateway,
    extension: Extension,
    runner: StubRunner,
    route_prefix: str,
    path: bytes,
    method: str,
) -> None:
    runner.asked.clear()
    find_event = wire(service, method, f"{route_prefix}/{extension.slug}/".encode() + path, [])
    segments = resolved(path.replace(b"\\", b"/"))
    matched = None
    if segments is not None:
        text = "/".join(segments)
        # Blanks around the whole and slashes do not count where an endpoint is looked for.
        trimmed = trim(f"/{text}").strip("/")
        matched = declared(trimmed.split("/") if trimmed else [])
    if find_event.status == 200:
        assert matched
        assert asked_once(runner)["path"] == f"/{text}"
        assert not any(name == "x-evil" for name, _ in find_event.headers)
    elif find_event.status == 503:
        assert matched
        assert "\0" in text
        assert not runner.asked
    else:
        assert find_event.status in {400, 404}
        assert not runner.asked
        assert find_event.status == 400 or not matched


def meant(target: bytes) -> list[bytes]:
    return [unquote_to_bytes(part) for part in re.split(rb"([/?])", target)]


@MANY
@given(path=PATHS, query=st.sampled_from((b"", b"?tenant=t", b"?a=%2e%2e/&b", b"?%00")))
@example(path=b"../v1/execute", query=b"")
@example(path=b"ext-ui/%2e%2e/%2e%2e/v1/execute", query=b"")
@example(path=b"@evil.example/", query=b"")
@example(path=b"/evil.example/x", query=b"")
def test_runner_paths(service: Gateway, runner: StubRunner, path: bytes, query: bytes) -> None:
    """The runner gets the very path, or nothing."""
    runner.asked.clear()
    find_event = wire(service, "GET", b"/runner/" + path + query, [])
    segments = decoded(path)
    if not runner.asked:
        assert find_event.status in {400, 404}
        assert find_event.status == 400 or segments is None
        return
    assert segments is not None
    (asked,) = runner.asked
    assert asked.method == "GET"
    # The runner of this test leaves one slash of several at the beginning, and `{` may be encoded.
    assert meant(asked.target.encode("latin-1")) == meant(b"/" + path.lstrip(b"/") + query)


# Headers

VALUES = st.binary(max_size=60).map(
    lambda it: re.sub(rb"[\x00-\x08\x0a-\x1f\x7f]", b"", it).strip()
)
LINES = st.text(
    st.one_of(st.sampled_from("\r\n\0: é€\u2028"), st.characters(codec="utf-8")), max_size=60
)


@BOTH
@MANY
@given(values=st.lists(st.tuples(st.sampled_from(CARRIED), VALUES), unique_by=lambda it: it[0]))
def test_headers_of_callers(
    service: Gateway,
    extension: Extension,
    runner: StubRunner,
    route_prefix: str,
    values: list[tuple[str, bytes]],
) -> None:
    """Those that go on are as they came; cookies and tokens are not among them."""
    runner.asked.clear()
    secret = [(b"cookie", b"a=secret"), (b"authorization", b"secret"), (b"x-evil", b"1")]
    sent = [(name.encode(), value) for name, value in values]
    find_event = wire(
        service, "POST", f"{route_prefix}/{extension.slug}/hello".encode(), sent + secret
    )
    assert find_event.status == 200
    handed = asked_once(runner)["headers"]
    kept = {name: value.decode("latin-1") for name, value in values}
    if route_prefix == PROXY and not kept.get("x-request-id"):
        # One is made up, and handlers behind the proxy see it.
        kept["x-request-id"] = runner.asked[0].headers["x-request-id"]
    assert {name: handed.get(name) for name in kept} == kept
    assert set(handed) - set(kept) <= ADDED
    (asked,) = runner.asked
    assert "secret" not in json.dumps(asked.headers) + asked.body.decode()
    assert set(asked.headers) <= {
        *("host", "content-type", "content-length", "accept-encoding", "x-request-id"),
        *("x-ext-install-id", "x-ext-version-id", "x-ext-registry-id", "x-runner-service-token"),
        *ADDED,
    }


@BOTH
@MANY
@given(name=LINES, value=LINES, error=LINES, request=VALUES)
@example(name="x-ext-warning", value="a\r\nx-evil: 1", error="b\r\nx-evil: 1", request=b"")
@example(name="x-ext-warning\r\nx-evil", value="1", error="", request=b"")
def test_headers_of_handlers(
    *,
    service: Gateway,
    extension: Extension,
    runner: StubRunner,
    route_prefix: str,
    name: str,
    value: str,
    error: str,
    request: bytes,
) -> None:
    """No handler writes a line of its own into an answer, nor does a runner's error."""
    names = (name, "content-type", "cache-control", "x-ext-request-id", "x-ext-warning")
    failure = {"kind": "trap", "reason": value, "causes": [], "stderr": [value]}
    headers = dict.fromkeys(names, value)
    runner.respond_with(envelope(200, b"body", headers, error=error or None, failure=failure))
    find_event = wire(
        service,
        "GET",
        f"{route_prefix}/{extension.slug}/hello".encode(),
        [(b"x-request-id", request)],
    )
    if route_prefix == PROXY and not is_header_value(value.strip(" \t\r\n")):
        assert (find_event.status, find_event.body) == (
            503,
            b'{"error":"access_policy_unavailable"}',
        )
    else:
        assert (find_event.status, find_event.body) == (200, b"body")
    found = [its for its, _ in find_event.headers]
    assert len(found) == len(set(found))
    assert {its for its in found if not its.startswith("x-algaenv-")} <= {
        *("date", "content-length", "content-type", "cache-control", "etag", "connection"),
        *("x-ext-request-id", "x-ext-warning"),
    }


# Bodies


@BOTH
@MANY
@given(
    body=st.binary(max_size=2_000),
    response=st.binary(max_size=2_000),
    method=st.sampled_from(WRITES),
    chunks=st.booleans(),
)
@example(body=b'{"__method": 7}', response=b"\x00\xff", method="POST", chunks=False)
@example(body=b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", response=b"", method="POST", chunks=False)
def test_bodies(
    *,
    service: Gateway,
    extension: Extension,
    runner: StubRunner,
    route_prefix: str,
    body: bytes,
    response: bytes,
    method: str,
    chunks: bool,
) -> None:
    """Byte for byte, there and back, whichever way they are framed."""
    runner.asked.clear()
    runner.respond_with(envelope(200, response))
    target = f"{route_prefix}/{extension.slug}/hello".encode()
    if chunks:
        parts = [body[at : at + 700] for at in range(0, len(body), 700)]
        framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        find_event = wire(service, method, target, [(b"transfer-encoding", b"chunked")], framed)
    else:
        find_event = wire(service, method, target, [], body)
    assert (find_event.status, find_event.body) == (200, response)
    http = asked_once(runner)
    assert base64.b64decode(http["body_b64"], validate=True) == body
    assert http["method"] == method


# Methods

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
METHODS = st.sampled_from(("get", "PUT", "Patch", "DELETE", "POST", "HEAD", "OPTIONS", "BREW", ""))


@BOTH
@MANY
@given(
    sent=st.sampled_from(WRITES),
    query=st.none() | METHODS,
    inside=st.none() | METHODS | JSON,
    more=st.dictionaries(st.text(max_size=8).filter(lambda it: it != "__method"), JSON),
)
def test_methods(
    *,
    service: Gateway,
    extension: Extension,
    runner: StubRunner,
    route_prefix: str,
    sent: str,
    query: str | None,
    inside: Any,
    more: dict[str, Any],
) -> None:
    """Only a POST to the proxy stands for another method: the query's, else the body's."""
    runner.asked.clear()
    content = more if inside is None else {**more, "__method": inside}
    asked = "" if query is None else f"?__method={query}"
    target = f"{route_prefix}/{extension.slug}/hello{asked}"
    find_event = wire(service, sent, target.encode(), [], json.dumps(content).encode())
    method, left = sent, content
    if route_prefix == PROXY and sent == "POST":
        named, inner = (it.upper() if isinstance(it, str) else "" for it in (query, inside))
        known = {"GET", *WRITES}
        if inner in known:
            left = more
        if {named, inner} & known:
            method = named if named in known else inner
    http = asked_once(runner)
    assert (find_event.status, http["method"]) == (200, method)
    if method == "GET" or (left is more and not more and inside is not None):
        assert "body_b64" not in http
    else:
        assert json.loads(base64.b64decode(http["body_b64"])) == left


# Pages of other sites

NAMES = ("evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "128.0.0.1", "0.0.0.0")
ODD = ("localhost@evil.example", "localhost/x", "localhost#x", "[::2]", "localhost, evil.example")
HOSTS = st.one_of(
    st.sampled_from(NAMES + ODD),
    st.builds("{}:{}".format, st.sampled_from(NAMES), st.integers(1, 65535)),
    st.builds("{}.example".format, st.from_regex(r"[a-z0-9.-]{1,20}", fullmatch=True)),
)
ORIGINS = st.one_of(
    st.sampled_from(("null", "file://", "https://localhost.evil.example", "http://localhost@e.x")),
    HOSTS.map("https://{}".format),
)


@MANY
@given(
    place=st.sampled_from(("direct", "proxy", "schedule")),
    method=st.sampled_from(WRITES),
    how=st.one_of(
        HOSTS.map(lambda it: [("host", it)]),
        HOSTS.map(lambda it: [("host", "localhost"), ("host", it)]),
        ORIGINS.map(lambda it: [("origin", it)]),
        st.sampled_from(("cors", "no-cors", "navigate")).map(
            lambda it: [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", it)]
        ),
    ),
)
def test_other_sites_change_nothing(
    *,
    service: Gateway,
    extension: Extension,
    runner: StubRunner,
    place: str,
    method: str,
    how: list[tuple[str, str]],
) -> None:
    """Not a call to a handler, nor a schedule that runs."""
    assume(not any(value.endswith(".localhost") for _, value in how))
    runner.asked.clear()
    target = {
        "direct": f"{DIRECT}/{extension.slug}/hello",
        "proxy": f"{PROXY}/{extension.slug}/hello",
        "schedule": f"/algaenv/schedules/{scheduled(service, extension)}/run",
    }[place]
    headers = [(name.encode(), value.encode()) for name, value in how]
    if place == "schedule":
        method = "POST"
        if ("sec-fetch-mode", "navigate") in how:
            headers.append((b"origin", b"null"))  # what browsers add to a form that is sent
    find_event = wire(service, method, target.encode(), headers, b"{}")
    assert find_event.status in {400, 403}
    assert not runner.asked
    assert not find_event.named("access-control-allow-origin")


def scheduled(service: Gateway, extension: Extension) -> str:
    """A schedule of the extension, made once."""

    def ask(operation: str, **fields: object) -> Any:
        path = f"/api/internal/ext-scheduler/install/{extension.install}"
        return service.post(path, {"operation": operation, **fields}, {"x-runner-auth": TOKEN}).json

    if not (found := ask("list")["schedules"]):
        return str(ask("create", endpoint="POST /hello", cron="0 0 1 1 *")["scheduleId"])
    return str(found[0]["id"])


@MANY
@given(token=st.binary(max_size=20).map(lambda it: re.sub(rb"[\x00-\x1f\x7f]", b"", it)))
def test_nobody_writes_without_the_token(
    service: Gateway, extension: Extension, tables: Database, token: bytes
) -> None:
    assume(token.strip() != TOKEN.encode())
    body = b'{"operation": "put", "namespace": "n", "key": "k", "value": 1}'
    path = f"/api/internal/ext-storage/install/{extension.install}".encode()
    find_event = wire(service, "POST", path, [(b"host", b"x"), (b"x-runner-auth", token)], body)
    assert find_event.status == 401
    assert tables.sql("SELECT count(*) FROM ext_storage_records") == [(0,)]
