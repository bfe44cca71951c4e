"""A guest may do anything: each way to fail has its kind, and the next call is none the wiser."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from algaenv.runner.execute.invocation import DeadlineExceeded
from algaenv.runner.wasm import linker
from algaenv.runner.wasm.engine_config import CompileTier
from algaenv.runner.wasm.failure import FailureKind, GuestFailure, advise
from algaenv.runner.wasm.guest import GuestLoader, UnusableFile
from tests.guests import ToolMissing, built

from .components import TYPES, calling, handler, importing
from .stage import MEGABYTE, MEMORY, ComponentCompiler, RecordedOutput, invocation, request

Make = Callable[..., GuestLoader]
LOOP = "(loop $l (br $l)) unreachable"
LOG = '(import "host" "called" (func $called (param i32 i32)))'


def failing(
    compiler: ComponentCompiler,
    guests: GuestLoader,
    source: str | bytes | Path,
    *,
    memory: int = MEMORY,
    seconds: float = 20,
    body: Any = None,
) -> GuestFailure:
    guest = compiler.load(guests, source)
    given = request(None if body is None else json.dumps(body).encode())
    with pytest.raises(GuestFailure) as caught:
        guest.call(invocation(seconds=seconds), given, memory_bytes=memory)
    good = compiler.load(guests, handler())
    assert good.call(invocation(), request(), memory_bytes=MEMORY)["status"] == 200
    return caught.value


GROW = """(loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 16)))))
  unreachable"""

TRAPS = {
    "unreachable": ("unreachable", "wasm trap: wasm `unreachable` instruction executed"),
    "division": ("(i32.div_u (i32.const 1) (i32.const 0))", "integer divide by zero"),
    "bounds": ("(i32.load (i32.const -8))", "out of bounds memory access"),
    "recursion": ("(call $deep (i32.const 0))", "call stack exhausted"),
    "answer out of bounds": ("(i32.const -16)", "pointer out of bounds"),
    "answer not aligned": ("(i32.const 17)", "pointer not aligned"),
    "huge list": (
        "(i32.store (i32.const 24) (i32.const -1)) (i32.const 16)", "out of bounds"),
    "option of 7": ("(i32.store8 (i32.const 28) (i32.const 7)) (i32.const 16)", "discriminant"),
    "text that is none": (
        "(i32.store (i32.const 20) (i32.const 64)) (i32.store (i32.const 24) (i32.const 1))"
        "(i32.store (i32.const 64) (i32.const 128)) (i32.store (i32.const 68) (i32.const 2))"
        "(i32.store16 (i32.const 128) (i32.const 0xffff)) (i32.const 16)", "utf-8"),
    "memory until the end": (GROW, "unreachable"),
}  # fmt: skip
DEEP = (
    "(func $deep (param i32) (result i32)"
    " (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))"
)


@pytest.mark.parametrize("compiler", CompileTier, indirect=True)
@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("name", TRAPS)
def test_traps(make: Make, compiler: ComponentCompiler, name: str, pooled: bool) -> None:
    code, reason = TRAPS[name]
    failure = failing(compiler, make(pooled=pooled), handler(code, more=DEEP), memory=MEGABYTE)
    assert failure.kind is FailureKind.TRAP, failure.causes
    assert reason in " ".join(failure.causes)
    assert failure.causes[0] == failure.message


@pytest.mark.parametrize("compiler", CompileTier, indirect=True)
def test_a_loop_ends_in_time(make: Make, compiler: ComponentCompiler) -> None:
    guests = make()
    compiler.load(guests, handler(LOOP))
    started = time.monotonic()
    failure = failing(compiler, guests, handler(LOOP), seconds=0.1)
    assert 0.1 <= time.monotonic() - started < 0.15 + 0.1
    assert failure.kind is FailureKind.TIMEOUT
    assert failure.reason == "wasm trap: interrupt"
    assert failure.message.startswith("error while executing at wasm backtrace:")


@pytest.mark.parametrize("compiler", CompileTier, indirect=True)
def test_a_loop_while_it_is_instantiated(make: Make, compiler: ComponentCompiler) -> None:
    source = handler(more=f"(func $go {LOOP}) (start $go)")
    assert failing(compiler, make(), source, seconds=0.05).kind is FailureKind.TIMEOUT


def test_a_trap_while_it_is_instantiated(make: Make, compiler: ComponentCompiler) -> None:
    source = handler(more="(func $go unreachable) (start $go)")
    assert failing(compiler, make(), source).kind is FailureKind.TRAP


@pytest.mark.parametrize("compiler", CompileTier, indirect=True)
@pytest.mark.parametrize("pooled", [True, False])
def test_memory_at_the_beginning(make: Make, compiler: ComponentCompiler, pooled: bool) -> None:
    guests = make(pooled=pooled)
    two_pages = handler(pages=2)
    failure = failing(compiler, guests, two_pages, memory=2 * 65536 - 1)
    assert failure.kind is FailureKind.MEMORY
    assert failure.message == "memory minimum size of 2 pages exceeds memory limits"
    assert failing(compiler, guests, two_pages, memory=0).kind is FailureKind.MEMORY
    guest = compiler.load(guests, two_pages)
    assert guest.call(invocation(), request(), memory_bytes=2**80)["status"] == 200


@pytest.mark.parametrize("compiler", CompileTier, indirect=True)
def test_growth_to_the_limit_and_no_further(make: Make, compiler: ComponentCompiler) -> None:
    code = """(i32.store16 (i32.const 16) (memory.grow (i32.const 14)))
      (if (i32.ne (i32.const -1) (memory.grow (i32.const 1))) (then unreachable)) (i32.const 16)"""
    guest = compiler.load(make(), handler(code))
    answer = guest.call(invocation(), request(), memory_bytes=MEGABYTE)
    assert answer == {"status": 2, "headers": [], "body": None}


def test_a_component_too_large_for_the_pool(make: Make, compiler: ComponentCompiler) -> None:
    guests = make()
    if not guests.pooled:
        pytest.skip("no address space for a pool")
    for more in ("(memory 1) " * 6, "(table 20001 funcref)"):
        guest = compiler.load(guests, handler(more=more))
        assert guest.call(invocation(), request(), memory_bytes=MEMORY)["status"] == 200


@pytest.mark.parametrize("compiler", CompileTier, indirect=True)
def test_tables_do_not_grow_for_ever(make: Make, compiler: ComponentCompiler) -> None:
    code = """(loop $l (br_if $l (i32.ne (i32.const -1)
      (table.grow $t (ref.null func) (i32.const 10000))))) (i32.const 16)"""
    for pooled in (True, False):
        guest = compiler.load(make(pooled=pooled), handler(code, more="(table $t 1 funcref)"))
        assert guest.call(invocation(), request(), memory_bytes=MEMORY)["status"] == 200


THEN = [
    ("trap", FailureKind.TRAP, "unreachable"),
    ("panic", FailureKind.TRAP, "unreachable"),
    ("recurse", FailureKind.TRAP, ""),
    ("grow", FailureKind.TRAP, "unreachable"),
    ("exit", FailureKind.EXIT, "it exited with status 0"),
    ({"exit": 3}, FailureKind.EXIT, "it exited with status"),
    ("loop", FailureKind.TIMEOUT, "wasm trap: interrupt"),
]


@pytest.mark.parametrize(("then", "kind", "reason"), THEN)
def test_guests_of_a_tool_chain(  # noqa: PLR0917
    make: Make,
    compiler: ComponentCompiler,
    script_bytes: bytes,
    then: Any,
    kind: FailureKind,
    reason: str,
) -> None:
    seconds = 0.1 if then == "loop" else 20
    failure = failing(
        compiler, make(), script_bytes, body={"then": then}, seconds=seconds,
        memory=16 * MEGABYTE,
    )  # fmt: skip
    assert failure.kind is kind, failure.causes
    assert reason in failure.reason


def test_last_words(make: Make, compiler: ComponentCompiler, script_bytes: bytes) -> None:
    output, call = RecordedOutput(), invocation()
    call.listener = output
    guest = compiler.load(make(), script_bytes)
    script = {"stdout": ["a\nb"], "stderr": ["1\n", "2\n", {"b64": "/wo="}], "then": "trap"}
    with pytest.raises(GuestFailure):
        guest.call(call, request(json.dumps(script).encode()), memory_bytes=MEMORY)
    assert [*call.last_stderr][:3] == ["1", "2", "\ufffd"]
    assert ("stdout", "info", "a") in output.heard_
    assert ("stdout", "info", "b") in output.heard_
    assert ("stderr", "error", "2") in output.heard_
    after = invocation()
    guest.call(after, request(b"{}"), memory_bytes=MEMORY)
    assert not after.last_stderr


@pytest.mark.parametrize("text", ["one\n" * 400_000, "x" * 2_000_000])
def test_a_flood_of_words(
    make: Make, compiler: ComponentCompiler, script_bytes: bytes, text: str
) -> None:
    output = RecordedOutput()
    guest = compiler.load(make(), script_bytes)
    writes = [text[first : first + 40_000] for first in range(0, len(text), 40_000)]
    script = json.dumps({"stdout": writes})
    guest.call(invocation(output=output), request(script.encode()), memory_bytes=MEMORY)
    assert len(output.heard_) <= 1002
    assert sum(len(words) for *_, words in output.heard_) < 300_000
    assert output.heard_[-1][2].endswith("bytes of stdout were dropped]")
    quiet = RecordedOutput()
    guest.call(invocation(output=quiet), request(b'{"stdout": ["z"]}'), memory_bytes=MEMORY)
    assert quiet.heard_ == [("stdout", "info", "z")]


def test_nothing_is_granted(script: Any) -> None:
    names = ("env.vars", "env.args", "stdin.read")
    assert script(*[(name,) for name in names]) == [{"ok": []}, {"ok": []}, {"ok": ""}]
    calls = [("net.connect", "127.0.0.1:80"), ("net.resolve", "localhost:80")]
    assert all("err" in result for result in script(*calls))


class HostBug(Exception):
    pass


def test_a_bug_of_a_host_function(
    make: Make, compiler: ComponentCompiler, script_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    def get(*_: object) -> object:
        raise HostBug("s3cret")

    guests = make(secrets__get=get)
    body = {"calls": [{"fn": "secrets.get", "args": ["k"]}]}
    with caplog.at_level(logging.ERROR):
        failure = failing(compiler, guests, script_bytes, body=body)
    assert failure.kind is FailureKind.HOST
    assert failure.reason == "secrets.get of this runner failed"
    assert "s3cret" not in " ".join(failure.causes)
    logged = [record for record in caplog.records if record.exc_info]
    assert len(logged) == 1


def test_a_host_function_that_has_no_time(
    make: Make, compiler: ComponentCompiler, script_bytes: bytes
) -> None:
    def get(*_: object) -> object:
        raise DeadlineExceeded

    body = {"calls": [{"fn": "secrets.get", "args": ["k"]}]}
    failure = failing(compiler, make(secrets__get=get), script_bytes, body=body)
    assert failure.kind is FailureKind.TIMEOUT
    assert failure.reason == "wasm trap: interrupt"


UNFIT = [
    ("http__fetch", "http.fetch", [{"method": "", "url": "", "headers": [], "body": None}],
     {"status": 70000, "headers": [], "body": None}, "status: a u16 is from 0 to 65535"),
    ("http__fetch", "http.fetch", [{"method": "", "url": "", "headers": [], "body": None}],
     {"status": 1, "headers": [{"name": "x"}], "body": None}, "headers.[0].value: must be string"),
    ("secrets__get", "secrets.get", ["k"], 7, "must be string, not int"),
    ("secrets__list_keys", "secrets.list-keys", [], None, "must be list; it is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fn", "args", "value", "words"), UNFIT)
def test_a_host_value_that_does_not_fit(  # noqa: PLR0917
    make: Make, compiler: ComponentCompiler, script_bytes: bytes, name: str, fn: str, args: Any,
    value: Any, words: str,
) -> None:  # fmt: skip
    guests = make(**{name: lambda *_: value})
    failure = failing(compiler, guests, script_bytes, body={"calls": [{"fn": fn, "args": args}]})
    assert failure.kind is FailureKind.HOST
    assert words in failure.reason


def test_surrogates_and_bytes_that_are_no_text(script: Any) -> None:
    assert script(("secrets.get", "k"), secrets__get=lambda _, k: "a\ud800b\U0001f600") == [
        {"ok": "a\ufffdb\U0001f600"}
    ]
    with pytest.raises(GuestFailure) as caught:
        script(("secrets.get", {"b64": "/w=="}), secrets__get=lambda _, k: k)
    assert caught.value.kind is FailureKind.TRAP


def test_a_giant_string(script: Any) -> None:
    def get(_: object, key: str) -> str:
        return str(len(key)) + "y" * MEGABYTE

    (result,) = script(("secrets.get", {"repeat": "x", "times": 8 * MEGABYTE}), secrets__get=get)
    assert result["ok"].rstrip("y") == str(8 * MEGABYTE)
    assert len(result["ok"]) == MEGABYTE + 7


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, MEGABYTE])
def test_bodies(make: Make, compiler: ComponentCompiler, script_bytes: bytes, size: int) -> None:
    guest = compiler.load(make(), script_bytes)
    script = json.dumps({"respond": {"body_size": size}}).encode()
    script += b" " * max(0, size - len(script))
    answer = guest.call(invocation(), request(script), memory_bytes=MEMORY)
    assert answer["body"] == b"x" * size


LINKS = [
    (importing("alga:extension/logging@1.0.0", '(export "log-info" (func))'), "no interface"),
    (importing("alga:extension/magic", '(export "do" (func))'), "no interface"),
    (importing("other:thing/x", '(export "do" (func))'), "nothing called other:thing/x"),
    (importing("wasi:keyvalue/store@0.2.0", '(export "get" (func))'), ""),
    (importing("alga:extension/storage", '(export "purge" (func))'), "no function purge"),
    (importing("alga:extension/logging", '(export "log-info" (func (param "m" u32)))'),
     "message is string, not u32"),
    (importing("alga:extension/secrets", '(export "list-keys" (func (result (list u8))))'),
     "result[] is u8, not string"),
    (importing("alga:extension/secrets", '(export "list-keys" (func (param "x" u8)))'),
     "has 1 parameters, not 0"),
    (importing(
        "alga:extension/user",
        '(export "get-user" (func (result (result $u (error $e)))))',
        types='(type $u\' (record (field "tenant-id" string) (field "shoe-size" u8)))'
        '(export "user-data" (type $u (eq $u\'))) (type $e\' (enum "not-available"))'
        '(export "user-error" (type $e (eq $e\')))'),
     "result.ok.shoe-size is required and nobody gives it"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "words"), LINKS)
def test_imports_that_are_not_there(
    make: Make, compiler: ComponentCompiler, source: str, words: str
) -> None:
    with pytest.raises(GuestFailure) as caught:
        compiler.load(make(), source)
    assert caught.value.kind is FailureKind.LINK
    assert words in caught.value.reason
    name = source.split('(import "')[1].partition('"')[0]
    assert caught.value.message == linker.NOT_FOUND.format(name=name)


def test_another_copy_of_the_world(make: Make, compiler: ComponentCompiler) -> None:
    """One with a field more that is an option, and a parameter with one less."""
    types = """
      (type $u' (record (field "user-id" string) (field "nickname" (option string))))
      (export "user-data" (type $u (eq $u')))
      (type $e' (enum "not-available" "gone")) (export "user-error" (type $e (eq $e')))"""
    kind = "(result (result $u (error $e)))"
    code = """(call $called (i32.const 1024))
      (i32.store16 (i32.const 16) (i32.add
        (i32.mul (i32.const 100) (i32.load8_u (i32.const 1036))) (i32.load (i32.const 1032))))
      (i32.const 16)"""
    source = calling("alga:extension/user", "get-user", kind, types=types, core="(param i32)",
                     code=code)  # fmt: skip
    guest = compiler.load(make(user__get_user=lambda _: {"user_id": "seven77"}), source)
    assert guest.call(invocation(), request(), memory_bytes=MEMORY)["status"] == 7

    seen: list[Any] = []
    types = """
      (type $i' (record (field "endpoint" string) (field "cron" string)))
      (export "create-schedule-input" (type $i (eq $i')))
      (type $r' (record (field "success" bool))) (export "result" (type $r (eq $r')))"""
    source = calling(
        "alga:extension/scheduler", "create-schedule", '(param "input" $i) (result $r)',
        types=types, core="(param i32 i32 i32 i32) (result i32)",
        code="(i32.store16 (i32.const 16) (call $called (i32.const 0) (i32.const 0)"
        " (i32.const 0) (i32.const 0))) (i32.const 16)",
    )  # fmt: skip

    def create(_: object, given: Any) -> Any:
        seen.append(given)
        return {"success": True, "schedule_id": "ignored"}

    guest = compiler.load(make(scheduler__create_schedule=create), source)
    assert guest.call(invocation(), request(), memory_bytes=MEMORY)["status"] == 1
    assert seen == [{"endpoint": "", "cron": "", "timezone": None, "enabled": None, "name": None,
                     "payload": None}]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("(call $called (i32.const -4) (i32.const 100)) (i32.const 16)", "out of bounds"),
        ("(i32.store8 (i32.const 0) (i32.const 255)) (call $called (i32.const 0) (i32.const 1))"
         "(i32.const 16)", "utf-8"),
    ],
)  # fmt: skip
def test_arguments_that_are_none(
    make: Make, compiler: ComponentCompiler, code: str, reason: str
) -> None:
    source = calling("alga:extension/logging", "log-info", '(param "message" string)',
                     core="(param i32 i32)", code=code)  # fmt: skip
    failure = failing(compiler, make(logging__log_info=lambda *_: None), source)
    assert failure.kind is FailureKind.TRAP
    assert reason in " ".join(failure.causes)


def test_a_type_only_import_needs_nothing(make: Make, compiler: ComponentCompiler) -> None:
    source = handler(before='(import "alga:extension/types" (instance (export "x" (type (eq 0)))))'
                     .replace("(instance", "(instance (type u8)"))  # fmt: skip
    assert compiler.load(make(), source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("(component)", "failed to find function export"),
        ('(component (instance $i) (export "handler" (instance $i)))',
         "failed to find function export"),
        ("""(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
         (func (export "handler") (canon lift (core func $i "f"))))""",
         "failed to convert function to given type"),
        (handler(types=TYPES.replace('"status" u16', '"status" u32')),
         "failed to convert function to given type"),
    ],
)  # fmt: skip
def test_handlers_that_are_none(
    make: Make, compiler: ComponentCompiler, source: str, message: str
) -> None:
    with pytest.raises(GuestFailure) as caught:
        compiler.load(make(), source)
    assert caught.value.kind is FailureKind.SIGNATURE
    assert caught.value.message == message


def test_files_that_cannot_be_loaded(
    make: Make, compiler: ComponentCompiler, tmp_path: Path
) -> None:
    guests = make()
    whole = compiler.compiled(handler()).read_bytes()
    for number, data in enumerate((b"", b"garbage", whole[: len(whole) // 2], b"\0asm\x0d\0\1\0")):
        file = tmp_path / str(number)
        file.write_bytes(data)
        with pytest.raises(UnusableFile):
            guests.load(file)
    with pytest.raises(OSError, match="No such file"):
        guests.load(tmp_path / "none")


def test_wasi_http_is_refused_when_it_is_used(make: Make, compiler: ComponentCompiler) -> None:
    try:
        source = built("fetch-js")
    except ToolMissing as error:
        pytest.skip(str(error))
    assert linker.HTTP.encode() in source.read_bytes()
    failure = failing(compiler, make(), source, body={})
    assert failure.kind is FailureKind.REFUSED
    assert "EXT_EGRESS_ALLOWLIST" in failure.reason
    assert "alga:extension/http" in failure.reason


def test_a_long_line_is_cut_where_it_is_read(make: Make, compiler: ComponentCompiler) -> None:
    """Fifty megabytes to the log: what is cut anyway is neither copied nor decoded."""
    heard: list[str] = []
    code = """(drop (memory.grow (i32.const 1000)))
      (memory.fill (i32.const 65536) (i32.const 0xc3) (i32.const 1))
      (memory.fill (i32.const 65537) (i32.const 0xa9) (i32.const 1))
      (memory.fill (i32.const 65538) (i32.const 97) (i32.const 50000000))
      (call $called (i32.const 65536) (i32.const 50000002)) (i32.const 16)"""
    source = calling(
        "alga:extension/logging",
        "log-info",
        '(param "message" string)',
        core="(param i32 i32)",
        code=code,
    )
    guest = compiler.load(make(logging__log_info=lambda call, text: heard.append(text)), source)
    guest.call(invocation(), request(), memory_bytes=MEMORY)
    assert [len(text.encode()) for text in heard] == [linker.LOG_BYTES]
    assert heard[0].startswith("\u00e9aaa")


FILL = """(local $size i32)
  (loop $more
    (local.set $size (i32.mul (memory.size) (i32.const 65536)))
    (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then
      (memory.fill (local.get $size) (i32.const 1) (i32.const 65536))
      (br $more))))
  unreachable"""


@pytest.mark.parametrize("pooled", [True, False])
def test_memory_that_was_used_up_in_silence(
    make: Make, compiler: ComponentCompiler, pooled: bool
) -> None:
    failure = failing(compiler, make(pooled=pooled), handler(FILL), memory=16 * MEGABYTE)
    assert failure.full
    assert advise(failure, (), None).kind is FailureKind.MEMORY
    failure = failing(compiler, make(pooled=pooled), handler("unreachable"), memory=MEGABYTE)
    assert not failure.full
