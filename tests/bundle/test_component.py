"""What components import, read from their bytes: those that tool chains make, and made ones."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from algaenv.bundle.component import COMPONENT, INTERFACES, PACKAGE, check_component, imports
from algaenv.bundle.diagnostics import FileReport
from algaenv.runner.wasm import wit
from tests import guests


def number(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return out + bytes((value,))


def text(value: str) -> bytes:
    return number(len(value.encode())) + value.encode()


def component(*entries: bytes) -> bytes:
    """One with a section that nobody knows, and imports."""
    unknown = b"\0" + number(300) + bytes(300)
    content = number(len(entries)) + b"".join(entries)
    return COMPONENT + unknown + b"\x0a" + number(len(content)) + content


def instance(name: str) -> bytes:
    return b"\0" + text(name) + b"\x05\0"


def diagnosed(path: Path, content: bytes) -> list[tuple[str, str]]:
    file = path / "main.wasm"
    file.write_bytes(content)
    report = FileReport()
    check_component(file, "dist/main.wasm", report)
    return [(it.code, it.summary) for it in report.diagnostics()]


def test_the_interfaces_are_those_of_the_runner() -> None:
    assert set(INTERFACES) == set(wit.world_imports())
    assert PACKAGE == wit.PACKAGE


@pytest.mark.parametrize("name", ["script", "minimal"])
def test_what_tool_chains_build_is_known(tmp_path: Path, name: str) -> None:
    content = guests.built(name).read_bytes()
    found = list(imports(io.BytesIO(content)))
    assert (f"{PACKAGE}storage" in found) is (name == "script")
    assert diagnosed(tmp_path, content) == []


def test_every_kind_of_import_is_read() -> None:
    kinds = {
        "module": b"\0\x11\0",
        "function": b"\x01\x05",
        "value": b"\x02\0\x07",
        "number": b"\x02\x01\x73",
        "nested": b"\x04\x81\x01",
        "instance": b"\x05\0",
    }
    entries = [b"\0" + text(name) + kind for name, kind in kinds.items()]
    types = [b"\0" + text("type") + kind for kind in (b"\x03\0\x02", b"\x03\x01")]
    versioned = b"\x02" + text("versioned") + text(".1.2") + b"\x05\0"
    found = list(imports(io.BytesIO(component(*types, *entries, versioned))))
    assert found == [*kinds, "versioned"]


def test_what_the_runner_does_not_have_is_named(tmp_path: Path) -> None:
    names = (
        "wasi:cli/stderr@0.2.3",
        "alga:extension/user",
        "alga:extension/logging@1.0.0",
        "a:b/c",
    )
    ((code, summary),) = diagnosed(tmp_path, component(*map(instance, names)))
    assert code == "source-import-unknown"
    assert summary.endswith("it imports alga:extension/logging@1.0.0, a:b/c")
    ((_, many),) = diagnosed(tmp_path, component(*(instance(f"a:b/c{n}") for n in range(9))))
    assert many.endswith("a:b/c4 and 4 more")
    ((_, hostile),) = diagnosed(tmp_path, component(instance("a:b/\x1b[31m")))
    assert hostile.endswith("a:b/\\x1b[31m")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"\0asm\x01\0\0\0", "it is a core module, not a component"),
        (b"<html>", "it is no WebAssembly component"),
    ],
)
def test_what_is_no_component_is_said(tmp_path: Path, content: bytes, why: str) -> None:
    ((code, summary),) = diagnosed(tmp_path, content)
    assert (code, summary) == ("source-wasm-kind", f"cannot run dist/main.wasm: {why}")


def test_a_damaged_one_is_left_to_the_runner(tmp_path: Path) -> None:
    whole = component(instance("a:b/c"))
    section = len(COMPONENT) + 3 + 300
    for damaged in (
        *(whole[:end] for end in range(section + 1, len(whole))),
        COMPONENT + b"\x0a" + b"\xff" * 9,
        COMPONENT + b"\x0a" + number(1 << 30),
        component(b"\0" + text("x") + b"\x09"),
        component(b"\0" + b"\x02\xff\xff" + b"\x05\0"),
    ):
        assert diagnosed(tmp_path, damaged) == []
