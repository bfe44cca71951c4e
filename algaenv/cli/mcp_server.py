"""Serves the tools of `algaenv mcp` on standard input and output.

Each call of a tool is one run of a command with `--json`, in a process of its own: its output goes
to the client as it is, without the secrets of the environment, within a time and a size.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from anyio.abc import Process
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from pydantic import ValidationError

from algaenv import __version__
from algaenv.bundle.value import dataclass
from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.mcp_tools import Arguments, tools
from algaenv.model.secret_mask import SecretMask

MAX_BYTES = 1 << 18
"""Of one result; longer logs and traces lose their first lines, other documents are refused."""
MAX_READ = 1 << 24
"""Of the output of a command; beyond that it is ended."""
END_SECONDS = 20.0
"""How long a command may take to end once it was told to, before it is killed."""
ANSWERS = frozenset({ExitCode.DONE, ExitCode.DIFFERENCES, ExitCode.CALL, ExitCode.CHECK})
"""Exit codes of commands that have done what they were asked."""
INSTRUCTIONS = (
    "Tools of algaenv: one algaenv.yaml describes a development environment for extensions of Alga "
    "PSA. Begin with `status`; `validate` and `schema` help with the spec, `plan` shows what an "
    "`up` would do, `logs` and `trace` show what handlers did, `explain` knows every problem code. "
    "Each result is the JSON of the command of the same name."
)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What all calls of tools have in common. `seconds` is the limit of one call.

    `options` go to every command that takes them: `--file`, `--runtime`. `mask` is asked after each
    run; it may block.
    """

    writes: bool
    seconds: float
    directory: Path
    spec: Sequence[str]
    runtime: Sequence[str]
    environ: Mapping[str, str]
    mask: Callable[[], SecretMask]


_running: set[Process] = set()
"""Commands under way."""


def serve(options: ServerOptions) -> None:
    """Serve one client until it closes standard input.

    SIGINT and SIGTERM end the commands under way, and then this process: a thread that reads
    standard input cannot be woken, and an exception in the loop would wait for it.
    """

    def stop(_number: int, _frame: object) -> None:
        threading.Thread(target=_end_all, daemon=True).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)

    async def run() -> None:
        server = _server(options)
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    anyio.run(run)


def _end_all() -> None:
    """End all commands as Ctrl-C does, and this process without waiting for its threads."""
    for number in (signal.SIGINT, signal.SIGKILL):
        for process in tuple(_running):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)
        deadline = time.monotonic() + END_SECONDS
        while any(it.returncode is None for it in _running) and time.monotonic() < deadline:
            time.sleep(0.05)
    sys.stderr.write("interrupted\n")
    sys.stderr.flush()
    os._exit(ExitCode.INTERRUPTED)


def _server(options: ServerOptions) -> Server[Any]:
    offered = tools(writes=options.writes)

    async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(it) for it in offered.values()])

    async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        kind = offered.get(params.name)
        if kind is None:
            return _refusal(_not_offered(params.name))
        try:
            arguments = kind.model_validate(params.arguments or {})
        except ValidationError as error:
            return _refusal(f"cannot use these arguments: {_reasons(error)}")
        return await _call(arguments, options, context.session.report_progress)

    return Server(
        "algaenv",
        version=__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _described(kind: type[Arguments]) -> types.Tool:
    return types.Tool(
        name=kind.command,
        description=inspect.cleandoc(kind.__doc__ or "").replace("\n", " "),
        input_schema={
            name: it
            for name, it in kind.model_json_schema().items()
            if name not in {"title", "description"}
        },
        annotations=types.ToolAnnotations(
            read_only_hint=not kind.writes,
            destructive_hint=kind.destroys,
            idempotent_hint=not kind.writes or kind.command in {"up", "down"},
            open_world_hint=False,
        ),
    )


def _not_offered(name: str) -> str:
    if name in tools(writes=True):
        return f"cannot run {name}: this server only reads; start it with `--allow-writes`"
    return f"cannot run {name}: there is no such tool"


def _reasons(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, it['loc']))}: {it['msg']}" for it in found)


def _refusal(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)


def command_line(arguments: Arguments, options: ServerOptions) -> list[str]:
    """The words of a command; no argument of a tool can be taken for an option."""
    words = [sys.executable, "-P", "-m", "algaenv", arguments.command, "--json"]
    words += options.spec if arguments.in_spec else []
    words += options.runtime if arguments.in_runtime else []
    words += arguments.options
    if arguments.operands:
        # What follows `--` of `test` is a program; its names begin with no hyphen.
        words += [*([] if arguments.command == "test" else ["--"]), *arguments.operands]
    return words


async def _call(
    arguments: Arguments, options: ServerOptions, report: Callable[..., Any]
) -> types.CallToolResult:
    mask = SecretMask(())

    async def progress(count: int, line: bytes) -> None:
        await report(float(count), None, mask.text(_progress_text(line)))

    mask = await anyio.to_thread.run_sync(options.mask)
    async with await anyio.open_process(
        command_line(arguments, options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=options.directory,
        env=options.environ,
        start_new_session=True,
    ) as process:
        _running.add(process)
        try:
            with anyio.move_on_after(options.seconds) as limit:
                output = await _output(process, arguments.stdin, progress)
                code = await process.wait()
        finally:
            await _end(process)
            _running.discard(process)
    if limit.cancelled_caught:
        return _refusal(f"cannot finish `{arguments.command}` within {options.seconds:g} seconds")
    # Once more: the run may have made the secrets.
    mask = await anyio.to_thread.run_sync(options.mask)
    return _result(mask.text(output.decode(errors="replace")), code)


async def _output(process: Process, stdin: str, progress: Callable[[int, bytes], Any]) -> bytes:
    """All that it prints; each further line is progress."""
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        await process.stdin.send(stdin.encode())  # It may end without reading.
    await process.stdin.aclose()
    found = bytearray()
    count = begin = 0
    async for chunk in process.stdout:
        found += chunk
        if len(found) > MAX_READ:
            process.send_signal(signal.SIGINT)
            break
        while (end := found.find(b"\n", begin)) >= 0:
            line, begin = bytes(found[begin:end]), end + 1
            if line.startswith(b'{"event": "step_'):
                count += 1
                await progress(count, line)
    return bytes(found)


def _progress_text(line: bytes) -> str:
    try:
        event = json.loads(line)
    except ValueError:
        return ""
    what = event.get("outcome") or event.get("note") or event.get("last") or "started"
    return f"{event.get('verb', '')} {event.get('address', '')}: {what}".lstrip()


async def _end(process: Process) -> None:
    """End a command that still runs, as Ctrl-C does; it gets its time even after a cancellation."""
    with anyio.CancelScope(shield=True):
        for number in (signal.SIGINT, signal.SIGKILL):
            if process.returncode is not None:
                return
            process.send_signal(number)
            with anyio.move_on_after(END_SECONDS):
                await process.wait()


def _result(text: str, code: int) -> types.CallToolResult:
    """The output of a command; of the events of a run the report, which names every step."""
    documents = _documents(text)
    if documents and documents[-1].get("event") == "report":
        documents = documents[-1:]
    lines = [json.dumps(it, ensure_ascii=False) for it in documents]
    left_off = 0
    while len(lines) > 1 and sum(len(it) + 1 for it in lines) > MAX_BYTES:
        lines.pop(0)
        left_off += 1
    shown = "\n".join(lines)
    if len(shown) > MAX_BYTES:
        return _refusal(f"cannot return {len(shown)} characters: ask for less")
    if not lines and code not in ANSWERS:
        return _refusal(f"cannot tell what went wrong: exit code {code}, and no output")
    content: Any = documents[0] if len(documents) == 1 else {"entries": documents[left_off:]}
    if left_off:
        content["left_off"] = left_off
    return types.CallToolResult(
        content=[types.TextContent(text=shown)],
        structured_content=content,
        is_error=code not in ANSWERS,
        _meta={"algaenv/exit_code": code},
    )


def _documents(text: str) -> list[dict[str, Any]]:
    """One document, or one a line."""
    try:
        return [json.loads(text)]
    except ValueError:
        found = []
        for line in text.splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found
