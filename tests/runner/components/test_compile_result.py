"""What both sides of a compile say to each other."""

from __future__ import annotations

import pytest

from algaenv.runner.components.compile import (
    CompileDone,
    CompileFailed,
    CompileResult,
    Unreadable,
    decode_result,
    encode_result,
    malformed_result,
    refused_result,
)
from algaenv.runner.wasm.failure import FailureKind


@pytest.mark.parametrize(
    "verdict",
    [
        CompileDone("ab" * 32, size=3, seconds=0.5, cpu_seconds=0.75, peak_bytes=4096),
        CompileFailed(FailureKind.MALFORMED, "a", ("a", "b\nb"), settled=True),
        CompileFailed(FailureKind.COMPILE, "ä", ("ä",)),
        Unreadable(2),
    ],
)
def test_it_is_read_as_it_was_written(verdict: CompileResult) -> None:
    line = encode_result(verdict)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert decode_result(line) == verdict


def test_only_components_are_let_through() -> None:
    assert malformed_result(b"\0asm\x0d\0\x01\0 and more") is None
    for head in (b"", b"\0", b"\0asm", b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x02\0", b"(compone"):
        assert isinstance(malformed_result(head), CompileFailed)


def test_the_words_of_the_engine() -> None:
    words = "failed to compile: f\n\nCaused by:\n    0: translation\n    1: at offset 4\n"
    assert refused_result(words) == CompileFailed(
        FailureKind.COMPILE,
        "failed to compile: f",
        ("failed to compile: f", "translation", "at offset 4"),
        settled=True,
    )
    words = "failed to parse WebAssembly module\n\nCaused by:\n    unexpected end\n"
    assert refused_result(words).kind is FailureKind.MALFORMED
    assert refused_result(words).causes[1:] == ("unexpected end",)
