"""What authors do wrong, each told apart from the others: in JavaScript, as the field builds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from algaenv.runner.wasm.failure import Advice, FailureKind, GuestFailure, HostCall, advise

from .conftest import Start
from .peers import Files
from .test_toolchains import Handlers

GRANTED = ("cap:secrets.get", "cap:http.fetch")
TRAP = "wasm trap: wasm `unreachable` instruction executed"

REASONS: Mapping[str, tuple[str, str]] = {
    "throw": ("it threw: the author's own words", "stderr"),
    "type-error": ('it threw: can\'t access property "nothing" of null', "stderr"),
    "undefined": ("the handler returned nothing", "return {"),
    "memory": ("it ran out of memory", "256 MiB"),
    "recursion": ("it threw: too much recursion", "calls itself"),
    "secret": ("its host said secrets.get: missing", "extensions.NAME.secrets"),
    "host-fetch": ("its host said http.fetch: transport", "something answers"),
    "timeout": ("it set a timer", "setTimeout"),
    "fetch": ("it called JavaScript's own fetch", "alga:extension/http"),
}
"""What is said of each, and a part of the hint."""


@pytest.fixture
def handlers(reuse: Start, files: Files) -> Handlers:
    return Handlers(reuse(), files, GRANTED)


def failed(handlers: Handlers, guest: str, mistake: str, body: object = None) -> dict[str, Any]:
    """What is said of a failure, in the answer and in its headers."""
    failure: dict[str, Any] = handlers.call(guest, f"/{mistake}", body)["failure"]
    headers = handlers.headers
    details = {
        "hint": headers.get("x-algaenv-hint"),
        "host_call": headers.get("x-algaenv-host-call"),
    }
    return failure | details


def test_ten_mistakes_are_told_apart(handlers: Handlers) -> None:
    text: dict[str, Any] = {}
    for mistake, (reason, hint) in REASONS.items():
        failure = failed(handlers, "mistakes-js", mistake)
        text[mistake] = failure
        assert failure["kind"] == ("memory" if mistake == "memory" else "trap"), failure
        assert failure["reason"].startswith(reason), failure
        assert hint in failure["hint"], failure
    # A shape that converts to a status is an answer, which the gateway refuses.
    assert handlers.call("mistakes-js", "/shape")["status"] == 0
    assert handlers.call("mistakes-js", "/fine")["status"] == 200
    assert len({each["reason"] for each in text.values()}) == len(REASONS)
    assert any("throw" in line for line in text["throw"]["stderr"])
    assert text["secret"]["host_call"] == (
        "secrets.get: missing (the install has no secret 'api_key')"
    )
    assert text["throw"]["host_call"] is None


def test_a_component_without_stderr_names_the_flag(handlers: Handlers) -> None:
    for mistake in ("throw", "type-error", "undefined", "recursion"):
        failure = failed(handlers, "mistakes-mute-js", mistake)
        assert (failure["reason"], failure["stderr"]) == (TRAP, []), failure
        assert "--disable all" in failure["hint"], failure
    for mistake in ("secret", "host-fetch", "timeout", "fetch"):
        failure = failed(handlers, "mistakes-mute-js", mistake)
        assert REASONS[mistake][1] in failure["hint"], failure
    # It has no words, but the pages that it took are known.
    failure = failed(handlers, "mistakes-mute-js", "memory")
    assert (failure["kind"], failure["reason"]) == ("memory", REASONS["memory"][0]), failure


def test_a_rust_guest_runs_out_of_memory(handlers: Handlers) -> None:
    failure = failed(handlers, "script", "run", {"then": "grow"})
    assert (failure["kind"], failure["reason"]) == ("memory", REASONS["memory"][0]), failure


BACKTRACE = (
    "error while executing at wasm backtrace:\n    0: 0x8adb - <unknown>!{}\n    1: 0x1 - x!y"
)


@pytest.mark.parametrize(
    ("frame", "reason", "lines", "call", "wanted"),
    [
        ("f", "wasm trap: call stack exhausted", (), None, "calls itself"),
        ("f", "wasm trap: integer divide by zero", (), None, ""),
        ("get-random-bytes", TRAP, (), None, "--disable random"),
        ("f", TRAP, ("a line",), HostCall("storage.get", "denied"), "storage.get: denied"),
        ("f", TRAP, ("a line",), HostCall("storage.get"), ""),
    ],
)
def test_advice(
    frame: str, reason: str, lines: tuple[str, ...], call: HostCall | None, wanted: str
) -> None:
    failure = GuestFailure(FailureKind.TRAP, BACKTRACE.format(frame), reason=reason)
    assert wanted in advise(failure, lines, call).hint
    if not wanted:
        assert advise(failure, lines, call) == Advice(reason)


def test_other_failures_are_as_they_are() -> None:
    failure = GuestFailure(FailureKind.TIMEOUT, "m", reason="wasm trap: interrupt")
    assert advise(failure, ("Stack:",), HostCall("http.fetch", "transport")) == Advice(
        "wasm trap: interrupt", kind=FailureKind.TIMEOUT
    )


@pytest.mark.parametrize(
    ("kind", "frame", "lines", "full", "wanted"),
    [
        (
            FailureKind.TRAP,
            "f",
            ("memory allocation of 1048576 bytes failed",),
            False,
            FailureKind.MEMORY,
        ),
        (FailureKind.TRAP, "f", ("Traceback", "MemoryError"), False, FailureKind.MEMORY),
        (FailureKind.EXIT, "f", ("fatal error: out of memory",), False, FailureKind.MEMORY),
        (FailureKind.TRAP, "alloc::alloc::handle_alloc_error::h12", (), False, FailureKind.MEMORY),
        (FailureKind.TRAP, "f", (), True, FailureKind.MEMORY),
        (FailureKind.TRAP, "f", (), False, FailureKind.TRAP),
        # Its own words say what it was.
        (FailureKind.TRAP, "f", ("panicked at src/lib.rs:1: no such row",), True, FailureKind.TRAP),
        (FailureKind.EXIT, "f", ("no such row",), True, FailureKind.EXIT),
        (FailureKind.TIMEOUT, "f", ("out of memory",), True, FailureKind.TIMEOUT),
    ],
)
def test_who_ran_out_of_memory(
    kind: FailureKind, frame: str, lines: tuple[str, ...], full: bool, wanted: FailureKind
) -> None:
    failure = GuestFailure(kind, BACKTRACE.format(frame), reason=TRAP)
    failure.full = full
    assert advise(failure, lines, None).kind is wanted
