"""Components to compile: tiny ones, and ones that take a while."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from algaenv.bundle.digest import Digest

CORE_MODULE = b"\0asm\x01\0\0\0"


def binary(text: str) -> bytes:
    import wasmtime

    return bytes(wasmtime.wat2wasm(text))


def small(answer: int = 7) -> bytes:
    """A component whose `handler` returns the number."""
    return binary(
        f"""(component
          (core module $m (func (export "f") (result i32) i32.const {answer}))
          (core instance $i (instantiate $m))
          (func (export "handler") (result u32) (canon lift (core func $i "f"))))"""
    )


@functools.cache
def large(*, functions: int = 4, steps: int = 5000) -> bytes:
    """A component that takes the compiler seconds: twice the steps take four times as long."""
    values = 64
    body = "\n".join(
        f"local.get {n % values} i64.const {n * 7919 + 1} i64.mul local.get {(7 * n + 1) % values}"
        f" i64.xor local.set {3 * n % values} local.get {n % values} i64.eqz br_if 0"
        for n in range(steps)
    )
    each = "\n".join(
        f"(func (local {'i64 ' * values}) i64.const {n} local.set 2 loop {body} end)"
        for n in range(functions)
    )
    return binary(f"(component (core module {each}))")


def ill_typed() -> bytes:
    """A component that parses, with a function that is not valid."""
    made = bytearray(small(7))
    made[made.index(b"\x41\x07")] = 0x42
    return bytes(made)


def kept(folder: Path, content: bytes) -> tuple[Digest, Path]:
    """A bundle's digest, which is none of the component's, and the file of the component."""
    bundle = Digest.of(b"bundle of " + hashlib.sha256(content).digest())
    wasm = folder / bundle.hex / "bundle" / "dist" / "main.wasm"
    wasm.parent.mkdir(parents=True, exist_ok=True)
    wasm.write_bytes(content)
    return bundle, wasm
