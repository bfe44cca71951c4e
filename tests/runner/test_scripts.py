"""Handlers that run from source, through the whole service."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from statistics import median

import pytest

from algaenv.bundle.archive import pack
from algaenv.bundle.collect import collect
from algaenv.bundle.digest import Digest
from algaenv.bundle.layout import DEV_MARKER, DEV_SCRIPT, DEV_SOURCE_MAP
from algaenv.drivers.dev_shell import HandlerBundler, dev_tree, find_entry
from algaenv.runner.components.shell import RECORD, Script, shell_digest
from algaenv.runner.wasm.failure import FailureKind, GuestFailure
from algaenv.runner.wasm.guest import GuestLoader
from tests.guests import ToolMissing, built, tools
from tests.guests.cache import BuildCache
from tests.guests.host import imports
from tests.guests.native import native_code, put_native_code
from tests.guests.recipes import JAVASCRIPT, NOT_SOURCES, SAMPLES, node_modules
from tests.guests.shell import SHELL, packaged
from tests.guests.shell import made as made_here
from tests.runner.wasm.stage import MEMORY, invocation, request, table

from .archives import EXTENSION, TENANT, Bundle, bundle
from .conftest import Start
from .peers import Files
from .test_guest_mistakes import GRANTED, REASONS
from .test_toolchains import CONTEXT, Handlers
from .tinies import until

MARKER = json.dumps({"version": 1, "shell": shell_digest().hex}).encode()


def script(text: str | bytes, **more: bytes) -> Bundle:
    content = text if isinstance(text, bytes) else text.encode()
    return bundle({DEV_MARKER: MARKER, DEV_SCRIPT: content, **more})


@pytest.fixture(scope="module")
def shell_file() -> Path:
    return packaged()


@pytest.fixture
def handlers(reuse: Start, files: Files, shell_file: Path) -> Handlers:
    service = reuse()
    put_native_code(service.cache_root, shell_file)
    return Handlers(service, files, GRANTED)


def bundled(entry: Path, into: Path) -> Bundle:
    """What esbuild makes of a module."""
    try:
        tools.node()
    except ToolMissing as missing:
        pytest.skip(str(missing))
    esbuild = node_modules(BuildCache.of_this_machine(), JAVASCRIPT, lambda _: None)
    shape = ("--bundle", "--format=cjs", "--platform=neutral", "--external:alga:*", "--sourcemap")
    made = into / "dist/main.js"
    subprocess.run(
        [
            str(esbuild / ".bin/esbuild"),
            str(entry),
            *shape,
            f"--outfile={made}",
            "--log-level=error",
        ],
        check=True,
    )
    source_map = made.with_name("main.js.map").read_bytes()
    return script(made.read_bytes(), **{DEV_SOURCE_MAP: source_map})


def test_it_answers(handlers: Handlers) -> None:
    made = script(
        "exports.handler = ({ http }) => ({ status: 201, headers: [], body: "
        'new TextEncoder().encode(http.url + " " + require("alga:extension/context")'
        ".getContext().tenantId) });"
    )
    outcome = handlers.call_bundle(made, "/x")
    assert outcome["status"] == 201, outcome
    assert base64.b64decode(outcome["body_b64"]) == b"/x tenant-a"
    assert handlers.headers["x-algaenv-runs-from"] == "source"


def test_mistakes_are_told_apart_as_in_a_component(handlers: Handlers, tmp_path: Path) -> None:
    entry = JAVASCRIPT / "mistakes.js"
    made = bundled(entry, tmp_path)
    lines = entry.read_text().splitlines()
    for mistake, (reason, hint) in REASONS.items():
        failure = handlers.call_bundle(made, f"/{mistake}")["failure"]
        assert failure["reason"].startswith(reason), failure
        assert hint in handlers.headers["x-algaenv-hint"], failure
        if mistake in {"throw", "type-error"}:
            frame = next(line for line in failure["stderr"] if "@" in line)
            assert re.search(rf"{mistake}@\S*/mistakes\.js:\d+:\d+$", frame), frame
            line = lines[int(frame.split(":")[-2]) - 1]
            assert "throw new Error" in line or "nothing" in line, line
    assert handlers.call_bundle(made, "/shape")["status"] == 0
    assert handlers.call_bundle(made, "/fine")["status"] == 200


def test_a_script_calls_the_host_as_a_component_does(handlers: Handlers, tmp_path: Path) -> None:
    made = bundled(JAVASCRIPT / "everything.js", tmp_path)
    outcome = handlers.call_bundle(made, body=CONTEXT)
    (result,) = json.loads(base64.b64decode(outcome["body_b64"]))["results"]
    assert result["ok"]["tenant_id"] == TENANT
    typical = json.loads(base64.b64decode(handlers.call_bundle(made, "/typical")["body_b64"]))
    assert (typical["tenant"], typical["secret"], typical["storage"]) == (
        TENANT,
        "missing",
        "denied",
    )


def test_each_call_begins_anew(handlers: Handlers) -> None:
    made = script(
        "let count = 0; exports.handler = async () => {"
        " globalThis.kept = (globalThis.kept ?? 0) + 1;"
        " return { status: 200 + ++count + globalThis.kept, headers: [], body: undefined }; };"
    )
    assert [handlers.call_bundle(made)["status"] for _ in range(3)] == [202] * 3


def test_two_scripts_share_one_component(handlers: Handlers) -> None:
    texts = (
        f"exports.handler = () => ({{ status: {status}, headers: [], body: undefined }});"
        for status in (203, 204)
    )
    made = [script(text) for text in texts]
    statuses = [handlers.call_bundle(each)["status"] for each in (*made, *made)]
    assert statuses == [203, 204, 203, 204]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("exports.other = 1;", "the bundle exports no function called handler"),
        ("exports.handler = (", "expected expression"),
        ('require("fs");', 'cannot import "fs"'),
        ("undeclared = 1; exports.handler = () => {};", "undeclared"),
    ],
)
def test_a_script_that_is_no_handler(handlers: Handlers, text: str, reason: str) -> None:
    failure = handlers.call_bundle(script(text))["failure"]
    assert failure["kind"] == "trap"
    assert reason in failure["reason"]


def test_a_module_of_the_world_cannot_be_imported_later(handlers: Handlers) -> None:
    made = script('exports.handler = async () => { await import("alga:extension/context"); };')
    assert handlers.call_bundle(made)["failure"]["kind"] == "trap"


def test_time_stands_still_as_in_a_component_without_clocks(handlers: Handlers) -> None:
    made = script(
        "exports.handler = () => ({ status: 200, headers: [],"
        " body: new TextEncoder().encode(`${Date.now()} ${Math.random()}`) });"
    )
    assert len({handlers.call_bundle(made)["body_b64"] for _ in range(3)}) == 1


def test_the_console_is_in_the_log(handlers: Handlers) -> None:
    made = script(
        'exports.handler = () => { console.log("to the console");'
        " return { status: 200, headers: [], body: undefined }; };"
    )
    assert handlers.call_bundle(made)["status"] == 200
    line = handlers.service.line("guest", stream="stdout")
    assert line["message"] == "to the console"


def test_limits_hold(handlers: Handlers) -> None:
    outcome = handlers.call_bundle(script("for (;;);"), timeout_ms=200)
    assert outcome["failure"]["kind"] == "timeout"


@pytest.mark.parametrize(
    "marker", [b"", b"[]", b"{}", b'{"version": 2, "shell": ""}', b'{"version": 1, "shell": "x"}']
)
def test_a_marker_of_another_version(handlers: Handlers, marker: bytes) -> None:
    made = bundle({DEV_MARKER: marker, DEV_SCRIPT: b"exports.handler = () => {}"})
    outcome = handlers.call_bundle(made)
    assert outcome["status"] == 502
    assert DEV_MARKER in outcome["error"]


def test_a_text_without_a_marker_is_no_handler(handlers: Handlers) -> None:
    outcome = handlers.call_bundle(bundle({DEV_SCRIPT: b"exports.handler = () => {}"}))
    assert outcome["error"].startswith("bundle_fetch_failed: No such file")


def test_a_component_goes_before_a_text(handlers: Handlers) -> None:
    component = built("minimal").read_bytes()
    text = b"exports.handler = () => {}"
    made = bundle({"dist/main.wasm": component, DEV_MARKER: MARKER, DEV_SCRIPT: text})
    outcome = handlers.call_bundle(made)
    assert base64.b64decode(outcome["body_b64"]) == b"minimal"
    assert "x-algaenv-runs-from" not in handlers.headers


def test_the_shell_is_warmed_before_there_is_a_handler(handlers: Handlers) -> None:
    answer = handlers.service.post("/warmup", {"runs_from": "source"})
    assert answer.status == 200
    assert answer.json == {
        "status": "ready",
        "handler": True,
        "bundle": "cached",
        "took_ms": answer.json["took_ms"],
    }
    assert handlers.service.post("/warmup", {"runs_from": "elsewhere"}).status == 422
    assert handlers.service.post("/warmup", {}).status == 422


def test_no_other_component_gets_the_text_of_a_script(tmp_path: Path, shell_file: Path) -> None:
    copy = tmp_path / f"{'0' * 64}.cwasm"
    copy.write_bytes(native_code(shell_file).read_bytes())
    guests = GuestLoader(table(), 1)
    try:
        with pytest.raises(GuestFailure) as caught:
            guests.load(copy)
    finally:
        guests.close()
    assert caught.value.kind is FailureKind.LINK
    assert "algaenv:dev/shell" in caught.value.reason


def test_it_is_warmed_up(handlers: Handlers, reuse: Start) -> None:
    made = script("exports.handler = () => ({ status: 200, headers: [], body: undefined });")
    assert handlers.call_bundle(made)["status"] == 200
    fields = {"tenant": TENANT, "extension": EXTENSION, "content_hash": made.digest.prefixed}
    answer = reuse().post("/warmup", fields)
    assert (answer.status, answer.json["handler"]) == (200, True)


def test_the_shell_belongs_to_its_sources(shell_file: Path) -> None:
    record = json.loads(RECORD.read_text())
    assert record["sources"] == SHELL.ingredients(), "run `python -m tests.guests.shell`"
    assert record["component"] == Digest.of_file(shell_file).hex == shell_digest().hex


@pytest.mark.slow
def test_the_shell_that_is_built_here_is_alike(
    shell_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuilt = made_here()
    assert imports(rebuilt) == imports(shell_file)
    text = "exports.handler = () => ({ status: 207, headers: [], body: undefined });"
    statuses = []
    for file in (shell_file, rebuilt):
        digest = Digest.of_file(file)
        monkeypatch.setattr("algaenv.runner.wasm.guest.shell_digest", lambda it=digest: it)
        compiled = native_code(file)
        guests = GuestLoader(table(), 1)
        try:
            guest = guests.load(compiled)
            asked = invocation()
            asked.script = Script(text)
            statuses.append(guest.call(asked, request(), memory_bytes=MEMORY)["status"])
        finally:
            guests.close()
    assert statuses == [207, 207]


def test_an_edit_is_live(handlers: Handlers, tmp_path: Path) -> None:
    """The sample `notes`, from the save to the answer; the stages are printed, not bounded."""
    try:
        tools.node()
    except ToolMissing as missing:
        pytest.skip(str(missing))
    source = tmp_path / "notes"
    shutil.copytree(SAMPLES / "notes", source, ignore=shutil.ignore_patterns(*NOT_SOURCES))
    entry = find_entry(source)
    assert entry == source / "src/handler.ts"
    text = entry.read_text()
    assert "there is no" in text
    turns: list[dict[str, float]] = []
    with HandlerBundler(BuildCache.of_this_machine().root / "esbuild") as bundler:
        for turn in range(12):
            stages = Stopwatch()
            entry.write_text(text.replace("there is no", f"turn {turn}: no"))
            bundled = bundler.bundle(entry)
            stages.lap("bundle")
            into = dev_tree(source, bundled, tmp_path / "tree")
            stages.lap("tree")
            archive = tmp_path / "bundle.tar.zst"
            pack(collect(into), archive)
            stages.lap("pack")
            made = Bundle(archive.read_bytes())
            outcome = handlers.call_bundle(made, "/nothing")
            stages.lap("fetch and call")
            assert f"turn {turn}: no GET /nothing" in base64.b64decode(outcome["body_b64"]).decode()
            handlers.call_bundle(made, "/nothing")
            stages.lap("call again")
            turns.append(stages.laps)
    shown = {name: f"{median(it[name] for it in turns[1:]):.1f}" for name in turns[0]}
    print("medians of an edit, ms:", shown)  # noqa: T201


class Stopwatch:
    """Milliseconds by stage."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = (now - self._since) * 1000
        self._since = now


def test_places_are_those_of_the_author(handlers: Handlers, tmp_path: Path) -> None:
    source = tmp_path / "extension"
    (source / "src").mkdir(parents=True)
    (source / "package.json").write_text("{}")
    (source / "src/deep.ts").write_text(
        "type Name = string;\n\nexport function fail(name: Name): never {\n"
        "  throw new TypeError(`no ${name}`);\n}\n"
    )
    (source / "src/handler.ts").write_text(
        'import { logError } from "alga:extension/logging";\nimport { fail } from "./deep";\n\n'
        "export function handler() {\n  try {\n    return fail('luck');\n  } catch (error) {\n"
        "    logError(String((error as Error).stack));\n    throw error;\n  }\n}\n"
    )
    try:
        tools.node()
    except ToolMissing as missing:
        pytest.skip(str(missing))
    with HandlerBundler(BuildCache.of_this_machine().root / "esbuild") as bundler:
        bundled = bundler.bundle(source / "src/handler.ts")
    outcome = handlers.call_bundle(script(bundled.text, **{DEV_SOURCE_MAP: bundled.source_map}))
    frames = [line.strip() for line in outcome["failure"]["stderr"]]
    assert "fail@src/deep.ts:4:9" in frames, frames
    assert any(frame.startswith("handler@src/handler.ts:6:") for frame in frames), frames

    def logged() -> list[str]:
        # The log is written by a thread of its own.
        lines = handlers.service.lines
        return [line["message"] for line in lines if line.get("stream") == "log"]

    until(lambda: any("fail@src/deep.ts:4:9" in line for line in logged()))
