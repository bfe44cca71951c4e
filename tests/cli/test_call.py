"""`call` and `open`: what is asked of a gateway, and how its answer is shown."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from algaenv.cli.exit_codes import ExitCode
from tests.cli.program import run
from tests.cli.schemas import check
from tests.servers import free_port


@dataclass
class FakeGateway:
    """A gateway that answers one thing, and what it was asked."""

    status: int = 200
    body: bytes = b'{"hello": "world"}'
    headers: dict[str, str] = field(default_factory=dict)
    repeated: tuple[tuple[str, str], ...] = ()
    asked: list[tuple[str, str, bytes, dict[str, str]]] = field(default_factory=list)


@contextmanager
def gateway(fake: FakeGateway) -> Iterator[dict[str, str]]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            fake.asked.append((self.command, self.path, body, headers))
            self.send_response(fake.status)
            for name, value in (*fake.headers.items(), *fake.repeated):
                self.send_header(name, value)
            self.send_header("content-length", str(len(fake.body)))
            self.end_headers()
            self.wfile.write(fake.body)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield {"GATEWAY": f"http://127.0.0.1:{server.server_port}"}
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def spec(directory: Path) -> None:
    (directory / "algaenv.yaml").write_text("name: demo\n")


def test_a_call_goes_through_the_proxy_and_its_body_to_stdout(tmp_path: Path) -> None:
    spec(tmp_path)
    fake = FakeGateway(headers={"x-algaenv-runner-ms": "3.5"})
    with gateway(fake) as extra:
        done = run(tmp_path, "call", "hello", "/api/a b?x=1&y=%20", scenario="noop", extra=extra)
    assert (done.returncode, done.stdout) == (0, '{"hello": "world"}\n')
    assert done.stderr.startswith("200 OK  ")
    assert "3.5 ms of it in the runner" in done.stderr
    ((method, path, body, headers),) = fake.asked
    assert (method, body) == ("GET", b"")
    assert path == "/api/ext-proxy/id-of-hello/api/a%20b?x=1&y=%20"
    assert "x-algaenv-user" not in headers
    assert "application/problem+json" in headers["accept"]


def test_a_body_makes_it_a_post_and_options_may_stand_anywhere(tmp_path: Path) -> None:
    spec(tmp_path)
    (tmp_path / "note.txt").write_text("no json")
    fake = FakeGateway(status=204, body=b"")
    with gateway(fake) as extra:
        for arguments in (
            ("hello", "-d", '{"a":1}', "/x", "--user", "glinda"),
            ("hello", "put", "-d", "@note.txt", "x"),
            ("-d", "@-", "hello", "/x"),
        ):
            done = run(tmp_path, "call", *arguments, scenario="noop", extra=extra, text="typed")
            assert (done.returncode, done.stdout) == (0, ""), done.stderr
    first, second, third = fake.asked
    assert first[:3] == ("POST", "/api/ext-proxy/id-of-hello/x", b'{"a":1}')
    assert first[3]["content-type"] == "application/json"
    assert first[3]["x-algaenv-user"] == "glinda"
    assert second[:3] == ("PUT", "/api/ext-proxy/id-of-hello/x", b"no json")
    assert second[3]["content-type"].startswith("text/plain")
    assert third[2] == b"typed"


PROBLEM = {
    "code": "gateway-guest-trapped",
    "summary": "cannot finish GET /x: the handler trapped",
    "hint": "read its last lines",
    "reason": "wasm trap: unreachable",
    "stderr": ["Error: boom", "  at handler"],
}


def test_a_failure_says_all_that_is_known(tmp_path: Path) -> None:
    spec(tmp_path)
    fake = FakeGateway(
        500,
        json.dumps({"problem": PROBLEM}).encode(),
        {"content-type": "application/problem+json"},
    )
    with gateway(fake) as extra:
        done = run(tmp_path, "call", "hello", "/x", scenario="noop", extra=extra)
        shown = run(tmp_path, "call", "hello", "/x", "--json", scenario="noop", extra=extra)
    assert done.returncode == shown.returncode == ExitCode.CALL
    assert [line.strip() for line in done.stderr.splitlines()[1:]] == [
        "gateway-guest-trapped: cannot finish GET /x: the handler trapped",
        "reason: wasm trap: unreachable",
        "stderr: Error: boom",
        "stderr:   at handler",
        "hint: read its last lines",
    ]
    document = json.loads(shown.stdout)
    check("call", document)
    assert document["trouble"]["stderr"] == PROBLEM["stderr"]
    assert document["body"] == {"problem": PROBLEM}


def test_headers_do_where_the_body_says_nothing(tmp_path: Path) -> None:
    spec(tmp_path)
    reported = {
        "x-algaenv-error": "execution_failed",
        "x-algaenv-reason": "out of memory",
        "x-algaenv-stderr": "last words",
        "x-algaenv-product-fault": "direct-cacheable",
    }
    with gateway(FakeGateway(502, b"bad gateway", reported)) as extra:
        done = run(tmp_path, "call", "hello", "/x", scenario="noop", extra=extra)
        document = json.loads(
            run(tmp_path, "call", "hello", "/x", "--json", scenario="noop", extra=extra).stdout
        )
    for text in ("execution_failed", "out of memory", "last words", "direct-cacheable"):
        assert text in done.stderr
    check("call", document)
    assert document["body"] == "bad gateway"


def test_bytes_of_the_shell_that_are_no_utf8_are_sent_as_they_are(tmp_path: Path) -> None:
    spec(tmp_path)
    fake = FakeGateway()
    with gateway(fake) as extra:
        done = run(
            tmp_path, "call", "hello", "/\udcff", "-d", "\udcff", scenario="noop", extra=extra
        )
    assert done.returncode == 0, done.stderr
    ((_, path, body, _),) = fake.asked
    assert (path, body) == ("/api/ext-proxy/id-of-hello/%FF", b"\xff")


def test_a_repeated_header_keeps_all_its_values(tmp_path: Path) -> None:
    spec(tmp_path)
    repeated = (("x-one", "1"), ("x-one", "2"), ("set-cookie", "a=1, 2"), ("Set-Cookie", "b=3"))
    with gateway(FakeGateway(repeated=repeated)) as extra:
        done = run(tmp_path, "call", "hello", "/x", "--json", scenario="noop", extra=extra)
    document = json.loads(done.stdout)
    check("call", document)
    assert document["headers"]["x-one"] == "1, 2"
    assert document["headers"]["set-cookie"] == "a=1, 2\nb=3"


def test_nobody_there_is_told_from_a_refusal(tmp_path: Path) -> None:
    spec(tmp_path)
    extra = {"GATEWAY": f"http://127.0.0.1:{free_port()}"}
    done = run(tmp_path, "call", "hello", "/x", scenario="noop", extra=extra)
    assert done.returncode == ExitCode.NOT_READY
    assert "gateway-silent" in done.stderr


@pytest.mark.timeout(90)
def test_a_gateway_that_does_not_answer(tmp_path: Path) -> None:
    spec(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        extra = {"GATEWAY": address, "GATEWAY_SECONDS": "0.5"}
        done = run(tmp_path, "call", "hello", "/x", scenario="noop", extra=extra)
    assert done.returncode == ExitCode.NOT_READY
    assert f"cannot reach the gateway at {address}: no answer within 0.5 s" in done.stderr
    assert "algaenv status" in done.stderr


def test_a_wrong_call_is_a_usage_error(tmp_path: Path) -> None:
    spec(tmp_path)
    for arguments in (
        ("hello", "GET"),
        ("hello", "FETCH", "/x"),
        ("hello", "/x", "-d", "@none"),
        ("hello", "/x", "--user", "\u20ac"),
        ("hello", "/x", "--user", "a\nb"),
        ("\udcff", "/x"),
    ):
        done = run(tmp_path, "call", *arguments, scenario="noop")
        assert done.returncode == ExitCode.USAGE, done.stderr


def test_open_prints_the_address(tmp_path: Path) -> None:
    spec(tmp_path)
    extra = {"GATEWAY": "http://127.0.0.1:3070"}
    done = run(tmp_path, "open", "hello", scenario="noop", extra=extra)
    assert done.stdout == "http://127.0.0.1:3070/msp/extensions/id-of-hello\n"
    done = run(
        tmp_path, "open", "--json", "hello", "--portal", "client", scenario="noop", extra=extra
    )
    url = "http://127.0.0.1:3070/client-portal/extensions/id-of-hello"
    assert json.loads(done.stdout) == {"version": 1, "url": url}
    done = run(tmp_path, "open", "--print", "\udcff", scenario="noop", extra=extra)
    assert done.returncode == ExitCode.USAGE
