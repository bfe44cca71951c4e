"""`algaenv mcp` in a session with a real client, over standard input and output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp_types import CallToolResult, TextContent

from algaenv.cli.dispatch import read_command_line
from algaenv.cli.mcp_server import MAX_BYTES, ServerOptions, command_line
from algaenv.cli.mcp_tools import TOOLS, Arguments, tools
from algaenv.drivers.state.state_dir import identify
from algaenv.model.secret import Secret
from algaenv.model.secret_mask import SecretMask
from tests.cli.program import environ, run
from tests.cli.schemas import check

READING = ["status", "plan", "drift", "logs", "trace", "explain", "doctor", "schema", "validate"]
WRITING = ["up", "call", "restart", "test", "rollback", "down"]
SPEC = """\
version: 1
name: tools
runtime: process
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "algaenv.yaml").write_text(SPEC)
    return tmp_path


def session(place: Path, use: Callable[[Client], Awaitable[Any]], *options: str) -> Any:
    """What `use` returns, of a client of a server that was started here."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "algaenv", "mcp", *options],
        env=environ(place),
        cwd=place,
    )

    async def within() -> Any:
        with anyio.fail_after(120):
            async with Client(server) as client:
                return await use(client)

    return anyio.run(within)


def text_of(result: CallToolResult) -> str:
    return "\n".join(it.text for it in result.content if isinstance(it, TextContent))


def test_a_client_reads_what_the_commands_print(place: Path) -> None:
    async def use(client: Client) -> None:
        listed = (await client.list_tools()).tools
        assert [it.name for it in listed] == READING
        assert all(it.annotations and it.annotations.read_only_hint for it in listed)
        status = await client.call_tool("status", {})
        assert not status.is_error
        check("status", status.structured_content)
        assert json.loads(text_of(status)) == status.structured_content
        assert status.structured_content["environment"]["name"] == "tools"
        explained = await client.call_tool("explain", {"subject": "port-taken"})
        check("explain", explained.structured_content)
        drift = await client.call_tool("drift", {})  # Nothing has been brought up.
        assert drift.is_error
        check("events", drift.structured_content)
        assert drift.structured_content["problems"][0]["code"] == "drift-no-record"
        assert drift.meta is not None
        assert drift.meta["algaenv/exit_code"] == 6
        for name, arguments, words in (
            ("up", {}, "start it with `--allow-writes`"),
            ("rm", {}, "there is no such tool"),
            ("explain", {}, "subject: Field required"),
            ("explain", {"subject": "--help"}, "subject: String should match pattern"),
            ("plan", {"yes": True}, "yes: Extra inputs are not permitted"),
        ):
            refused = await client.call_tool(name, arguments)
            assert refused.is_error, name
            assert words in text_of(refused), name

    session(place, use)
    home = identify(place / "algaenv.yaml", "").home
    assert {it.name for it in home.iterdir()} == {"cache"}  # It has only read.


@pytest.mark.slow
def test_a_broken_spec_is_told_with_every_place(place: Path) -> None:
    (place / "algaenv.yaml").write_text(SPEC + "stroe: {}\nreddis: {}\n")

    async def use(client: Client) -> CallToolResult:
        return await client.call_tool("validate", {})

    result = session(place, use)
    problems = result.structured_content["problems"]
    assert [it["line"] for it in problems] == [4, 5]
    assert result.is_error


def test_writes_are_offered_where_they_are_allowed(place: Path) -> None:
    async def use(client: Client) -> None:
        listed = {it.name: it for it in (await client.list_tools()).tools}
        assert list(listed) == READING + WRITING
        hints = {name: it.annotations for name, it in listed.items()}
        assert [name for name, it in hints.items() if it and not it.read_only_hint] == WRITING
        assert [name for name, it in hints.items() if it and it.destructive_hint] == ["down"]
        down = await client.call_tool("down", {})
        assert (down.is_error, down.structured_content["verb"]) == (False, "down")

    session(place, use, "--allow-writes")


def test_a_call_that_takes_too_long_is_ended(place: Path) -> None:
    async def use(client: Client) -> CallToolResult:
        return await client.call_tool("status", {})

    result = session(place, use, "--timeout", "1ms")
    assert result.is_error
    assert text_of(result) == "cannot finish `status` within 0.001 seconds"


def ended(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("how", ["end", pytest.param("cancel", marks=pytest.mark.slow)])
def test_what_still_runs_ends_with_its_client(place: Path, how: str) -> None:
    (place / "ui").mkdir()
    (place / "ui" / "index.html").write_text("<!doctype html>")
    manifest = {"name": "com.example.slow", "publisher": "Example", "version": "0.1.0"}
    ui = {"runtime": "ui-only@1", "ui": {"type": "iframe", "entry": "ui/index.html"}}
    (place / "manifest.json").write_text(json.dumps(manifest | ui))
    pid = place / "pid"
    line = f"echo $$$$ > {pid}.new && mv {pid}.new {pid} && exec sleep 99"
    build = json.dumps({"command": line})
    extension = f"extensions: {{slow: {{source: ., build: {build}}}}}\n"
    (place / "algaenv.yaml").write_text(SPEC + extension)

    async def use(client: Client) -> int:
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "plan", {})
            while not pid.exists():
                await anyio.sleep(0.02)
            if how == "cancel":
                group.cancel_scope.cancel()
                await until_ended(int(pid.read_text()))
            group.cancel_scope.cancel()
        return int(pid.read_text())

    async def until_ended(process: int) -> None:
        with anyio.fail_after(30, shield=True):
            while not ended(process):
                await anyio.sleep(0.02)

    started = session(place, use)
    anyio.run(until_ended, started)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_it_ends_on_a_signal_though_its_input_is_open(place: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "algaenv", "mcp"],
        cwd=place,
        env=environ(place),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        about = {"name": "test", "version": "1"}
        first = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": about}
        request = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": first}
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "algaenv"
        process.send_signal(number)
        assert process.wait(20) == 130


def test_secrets_are_masked_and_long_logs_cut(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from algaenv.cli import mcp_server

    script = place / "fake"
    lines = MAX_BYTES // 100
    script.write_text(
        f"import json\nfor n in range({lines}):\n"
        "    print(json.dumps({'n': n, 'message': 'sesame ' + 'x' * 100}))\n"
    )
    words = [sys.executable, str(script)]
    monkeypatch.setattr(mcp_server, "command_line", lambda *_: words)
    made = options(place, mask=lambda: SecretMask([Secret("sesame")]))

    async def call() -> CallToolResult:
        async def report(*_: object) -> None: ...

        return await mcp_server._call(tools(writes=False)["logs"](), made, report)

    result = anyio.run(call)
    text = text_of(result)
    assert "sesame" not in text
    assert '"message": "*** x' in text
    assert len(text) <= MAX_BYTES
    entries = result.structured_content["entries"]
    assert result.structured_content["left_off"] == lines - len(entries)
    assert [json.loads(line) for line in text.splitlines()] == entries
    assert entries[-1]["n"] == lines - 1
    # One document that is too long is refused, not cut.
    script.write_text(f"print('{{\"text\": \"' + 'x' * {MAX_BYTES} + '\"}}')")
    result = anyio.run(call)
    assert result.is_error
    assert "ask for less" in text_of(result)


def options(place: Path, **changed: Any) -> ServerOptions:
    return ServerOptions(
        **{
            "writes": True,
            "seconds": 60.0,
            "directory": place,
            "spec": (f"--file={place / 'algaenv.yaml'}",),
            "runtime": ("--runtime=process",),
            "environ": dict(os.environ),
            "mask": lambda: SecretMask(()),
            **changed,
        }
    )


SAMPLES: dict[str, dict[str, Any]] = {
    "plan": {"extensions": ["hello"]},
    "logs": {"names": ["runner"], "since": "10m", "grep": "-x", "request": "-1"},
    "trace": {"extension": "hello", "last": 3, "failed": True},
    "explain": {"subject": "redis.port"},
    "up": {"plan": "changes.plan"},
    "call": {"extension": "hello", "path": "/x", "method": "POST", "body": "secret", "user": "msp"},
    "restart": {"services": ["runner"]},
    "test": {"extensions": ["hello"], "ephemeral": True},
    "rollback": {"extension": "hello", "to": "0.1.0"},
    "down": {"volumes": True},
}


@pytest.mark.parametrize("kind", TOOLS, ids=lambda it: it.command)
def test_every_tool_is_a_command_line_that_can_be_read(
    kind: type[Arguments], tmp_path: Path
) -> None:
    samples = [{}, SAMPLES[kind.command]] if kind.command in SAMPLES else [{}]
    for sample in samples:
        if not sample and kind.command in {"explain", "call", "rollback"}:
            continue
        arguments = kind.model_validate(sample)
        words = command_line(arguments, options(tmp_path))[4:]
        top, own = read_command_line(words)
        assert (top.command, own is not None and own.json) == (kind.command, True)
        assert "secret" not in words  # A body comes from standard input.


def test_the_sdk_that_is_missing_is_named(place: Path) -> None:
    code = (
        "import sys; sys.modules['mcp'] = None\n"
        "from algaenv.cli.dispatch import main; sys.exit(main(['mcp']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 7
    assert "error[mcp-missing]: cannot serve tools" in done.stderr
    assert "algaenv[mcp]" in done.stderr
    refused = run(place, "mcp", "--json")
    assert refused.returncode == 64
