"""1.2: the rows of the table of outcomes, one after the other, and their order."""

from __future__ import annotations

import re
import uuid
from base64 import b64encode

import pytest

from tests.runner.archives import bundle

from . import components as wat
from .asking import Outcome
from .calls import ALL, DEFAULTS, Caller, Json, envelope
from .guests import holding
from .kinds import Kind, differs, settle
from .packing import compressed, packed
from .pages import NO_STORE
from .peers import Peers
from .stub import Reply

EMPTY_FAILURE: Json = {"headers": {}, "body_b64": None}


def fails(outcome: Outcome, status: int, error: str) -> None:
    """A failure of the runner, whose `error` begins so (ends so, without a colon)."""
    fields = outcome.fields
    assert {name: fields[name] for name in EMPTY_FAILURE} == EMPTY_FAILURE, fields
    assert fields["status"] == status, fields
    if error.endswith(": "):
        assert outcome.error.startswith(error), fields
    else:
        assert outcome.error == error, fields


# The envelope


def test_1_2_the_answer(caller: Caller, kind: Kind) -> None:
    answer = caller.runner.post("/v1/execute", caller.fields, caller.routing)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == settle(kind, NO_STORE)
    assert "x-request-id" not in answer.headers
    assert set(answer.json) == {"status", "headers", "body_b64", "error"}
    assert (answer.json["status"], answer.json["error"]) == (200, None)


# Row 1


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="row1-none"),
        pytest.param({"x-alga-tenant": "t"}, id="row1-no-extension"),
        pytest.param({"x-alga-extension": "e"}, id="row1-no-tenant"),
        pytest.param({"x-alga-tenant": "", "x-alga-extension": "e"}, id="row1-empty-tenant"),
        pytest.param({"x-alga-tenant": "t", "x-alga-extension": ""}, id="row1-empty-extension"),
        pytest.param({"x-alga-tenant": "t", "x-alga-extension": "\xe9"}, id="row1-not-ascii"),
        pytest.param(
            {"x-tenant-id": "t", "x-extension-id": "e"}, id="row1-headers-of-another-name"
        ),
    ],
)
def test_row_1_routing_headers(caller: Caller, kind: Kind, headers: dict[str, str]) -> None:
    answer = caller.runner.post("/v1/execute", caller.fields, headers)
    assert answer.status == 200
    assert answer.headers["cache-control"] == settle(kind, NO_STORE)
    assert answer.json == {
        "status": 400,
        "headers": {},
        "body_b64": None,
        "error": "missing_routing_headers",
    }
    assert caller.peers.store.seen(caller.tenant) == []


def test_row_1_headers_are_not_compared_with_the_context(caller: Caller) -> None:
    outcome = caller.send(None, {"context.tenant_id": "other", "context.extension_id": "another"})
    assert outcome.status == 200
    assert outcome.json["context"]["tenant_id"] == "other"


def test_row_1_the_headers_name_the_bundle(caller: Caller) -> None:
    made = caller.of(holding(wat.PLAIN, note=uuid.uuid4().hex))
    outcome = made.send(None, {"context.tenant_id": "other"})
    assert outcome.status == 200, outcome.fields
    (asked,) = caller.peers.store.seen(made.bundle.digest.hex)
    assert f"/tenants/{made.tenant}/extensions/{made.extension}/sha256/" in asked.path


# Row 3


@pytest.mark.profile("storeless")
def test_row_3_no_base_for_bundles(caller: Caller) -> None:
    error = "engine_init_failed: BUNDLE_STORE_BASE not configured"
    fails(caller.send(), 500, error)
    fails(caller.send(None, {"providers": ["cap:nothing"]}), 500, error)
    fails(caller.send(None, None, {"x-alga-tenant": ""}), 400, "missing_routing_headers")


# Row 4


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        pytest.param(
            Reply(404), "verify_archive_sha256 fetch failed: 404 Not Found", id="row4-404"
        ),
        pytest.param(
            Reply(403), "verify_archive_sha256 fetch failed: 403 Forbidden", id="row4-403"
        ),
        pytest.param(
            Reply(500),
            "verify_archive_sha256 fetch failed: 500 Internal Server Error",
            id="row4-500",
        ),
        pytest.param(
            Reply(body=b"something else"),
            "archive hash mismatch: expected {hex}, got {got}",
            id="row4-mismatch",
        ),
    ],
)
def test_row_4_what_the_store_may_say(caller: Caller, *, reply: Reply, detail: str) -> None:
    import hashlib

    made = caller.of(holding(wat.PLAIN, note=uuid.uuid4().hex))
    digest = made.bundle.digest.hex
    caller.peers.store.on(digest, reply, Reply(body=made.bundle.archive))
    got = hashlib.sha256(reply.body).hexdigest()
    fails(made.send(), 502, f"bundle_fetch_failed: {detail.format(hex=digest, got=got)}")
    assert made.send().status == 200


@pytest.mark.parametrize(
    ("archive", "detail"),
    [
        pytest.param(b"\x1f" * 1000, "tar entry", id="row4-no-zstd"),
        pytest.param(compressed(b"no tar" * 200), "tar entry", id="row4-no-tar"),
        pytest.param(
            packed({"manifest.json": b"{}"}).archive,
            "No such file or directory (os error 2)",
            id="row4-no-handler",
        ),
        pytest.param(
            packed({"main.wasm": b"\0asm", "ui/dist/main.wasm": b"\0asm"}).archive,
            "No such file or directory (os error 2)",
            id="row4-handler-elsewhere",
        ),
    ],
)
def test_row_4_archives(caller: Caller, kind: Kind, *, archive: bytes, detail: str) -> None:
    from tests.runner.archives import Bundle

    outcome = caller.of(Bundle(archive)).send()
    fails(outcome, 502, "bundle_fetch_failed: ")
    if kind is Kind.ORIGINAL or not detail.startswith("tar"):
        fails(outcome, 502, f"bundle_fetch_failed: {detail}")


def test_row_4_a_download_that_is_cut(caller: Caller) -> None:
    made = caller.of(holding(wat.PLAIN, note=uuid.uuid4().hex + "x" * 5000))
    caller.peers.store.on(made.bundle.digest.hex, Reply(body=bytes(200_000), cut=True))
    fails(made.send(), 502, "bundle_fetch_failed: ")


@pytest.mark.parametrize(
    ("spelled", "status"),
    [
        pytest.param("sha256:{hex}", 200, id="row4-prefixed"),
        pytest.param("{hex}", 200, id="row4-bare"),
        pytest.param("sha256:{upper}", 200, id="row4-capitals"),
        pytest.param("{upper}", 200, id="row4-bare-capitals"),
        pytest.param("SHA256:{hex}", 502, id="row4-prefix-in-capitals"),
        pytest.param("sha256:dummy", 502, id="row4-no-hex"),
        pytest.param("", 502, id="row4-empty"),
        pytest.param("sha256:", 502, id="row4-prefix-alone"),
        pytest.param("../../../tmp/x", 502, id="row4-a-path"),
        pytest.param("/tmp/conformance-x", 502, id="row4-an-absolute-path"),
    ],
)
def test_row_4_content_hashes(caller: Caller, *, spelled: str, status: int) -> None:
    text = caller.bundle.digest.hex
    outcome = caller.send(
        None, {"context.content_hash": spelled.format(hex=text, upper=text.upper())}
    )
    if status == 200:
        assert outcome.status == 200, outcome.fields
    else:
        fails(outcome, 502, "bundle_fetch_failed: ")


@pytest.mark.parametrize("spelled", ["sha256:dummy", "../../x", "ab" * 31])
def test_row_4_hashes_are_looked_at_before_they_touch_anything(
    caller: Caller, kind: Kind, spelled: str
) -> None:
    caller.send(None, {"context.content_hash": spelled})
    asked = bool(caller.peers.store.seen(caller.tenant) or caller.peers.store.seen("bundle.tar"))
    assert asked == settle(kind, differs("hashes-have-64-digits", ours=False, original=True))


@pytest.mark.parametrize("name", ["..", "a/b", "a\\b"])
@pytest.mark.parametrize("header", ["x-alga-tenant", "x-alga-extension"])
def test_row_4_names_that_would_leave_their_place_in_a_key(
    caller: Caller, kind: Kind, *, header: str, name: str
) -> None:
    made = caller.of(holding(wat.PLAIN, note=uuid.uuid4().hex))
    outcome = made.send(None, None, {header: name})
    expected = differs("names-are-one-segment", ours=502, original=200)
    assert outcome.status == settle(kind, expected), outcome.fields


@pytest.mark.profile("configured")
def test_row_4_no_signature_in_errors(caller: Caller) -> None:
    made = caller.of(holding(wat.PLAIN, note=uuid.uuid4().hex))
    caller.peers.store.forget()
    outcome = made.send()
    fails(outcome, 502, "bundle_fetch_failed: ")
    assert "Signature" not in outcome.error
    assert "minio" not in outcome.error


# Row 5


@pytest.mark.parametrize(
    ("providers", "unknown"),
    [
        pytest.param(["storage.kv"], {"storage.kv"}, id="row5-no-prefix"),
        pytest.param(["cap:nothing"], {"cap:nothing"}, id="row5-unknown"),
        pytest.param(["  CAP:Nothing\t"], {"cap:nothing"}, id="row5-trimmed-and-lowered"),
        pytest.param(["cap:b", "cap:log.emit", "cap:a"], {"cap:a", "cap:b"}, id="row5-two"),
        pytest.param(
            ["cap:log.emit,cap:user.read"], {"cap:log.emit,cap:user.read"}, id="row5-comma"
        ),
    ],
)
def test_row_5_unknown_capabilities(
    caller: Caller, *, providers: list[str], unknown: set[str]
) -> None:
    outcome = caller.send(None, {"providers": providers})
    fails(outcome, 400, "unknown_capabilities: ")
    assert set(outcome.error.removeprefix("unknown_capabilities: ").split(", ")) == unknown


@pytest.mark.parametrize(
    "providers",
    [
        pytest.param([], id="row5-none"),
        pytest.param(["", "  "], id="row5-blanks"),
        pytest.param(list(ALL), id="row5-all"),
        pytest.param([*DEFAULTS, *DEFAULTS], id="row5-twice"),
        pytest.param([" CAP:Storage.KV\n"], id="row5-any-case"),
    ],
)
def test_row_5_known_capabilities(caller: Caller, providers: list[str]) -> None:
    assert caller.send(None, {"providers": providers}).status == 200


def test_row_5_providers_may_be_absent(caller: Caller) -> None:
    assert caller.send(None, {"providers": ...}).status == 200


# Row 6: the forms of envelopes are in test_capability_secrets


def test_row_6_secrets_that_cannot_be_read(caller: Caller) -> None:
    for sealed in ("no base64!", b64encode(b"no json").decode()):
        outcome = caller.send(None, {"secret_envelope": {"ciphertext_b64": sealed}})
        fails(outcome, 500, "secret_decrypt_failed")


# Row 7


NO_MATCH = (
    "component imports instance `{name}`, but a matching implementation was not found in the linker"
)


@pytest.mark.parametrize(
    ("component", "detail", "failure"),
    [
        pytest.param(b"", "", "malformed", id="row7-empty"),
        pytest.param(b"\0asm", "", "malformed", id="row7-cut"),
        pytest.param(b"no component", "", "malformed", id="row7-words"),
        pytest.param(
            wat.PLAIN.encode(),
            "failed to parse WebAssembly module",
            "malformed",
            id="row7-wat-text",
        ),
        pytest.param(
            wat.CORE_MODULE,
            "failed to parse WebAssembly module",
            "malformed",
            id="row7-core-module",
        ),
        pytest.param(
            wat.IMPORTS_A_VERSION,
            NO_MATCH.format(name="alga:extension/logging@1.0.0"),
            "link",
            id="row7-versioned-import",
        ),
        pytest.param(
            wat.IMPORTS_ANOTHER_INTERFACE,
            NO_MATCH.format(name="alga:extension/files"),
            "link",
            id="row7-unknown-interface",
        ),
        pytest.param(
            wat.IMPORTS_ANOTHER_FUNCTION,
            NO_MATCH.format(name="alga:extension/logging"),
            "link",
            id="row7-unknown-function",
        ),
        pytest.param(
            wat.IMPORTS_ANOTHER_TYPE,
            NO_MATCH.format(name="alga:extension/logging"),
            "link",
            id="row7-other-parameter",
        ),
        pytest.param(
            wat.IMPORTS_ANOTHER_RESULT,
            NO_MATCH.format(name="alga:extension/secrets"),
            "link",
            id="row7-other-result",
        ),
        pytest.param(
            wat.NO_HANDLER, "failed to find function export", "signature", id="row7-no-handler"
        ),
        pytest.param(
            wat.HANDLER_OF_ANOTHER_NAME,
            "failed to find function export",
            "signature",
            id="row7-handler-of-another-name",
        ),
        pytest.param(
            wat.HANDLER_IN_AN_INSTANCE,
            "failed to find function export",
            "signature",
            id="row7-handler-in-an-instance",
        ),
        pytest.param(
            wat.HANDLER_WITHOUT_PARAMETER,
            "failed to convert function to given type",
            "signature",
            id="row7-handler-without-parameter",
        ),
        pytest.param(
            wat.HANDLER_OF_ANOTHER_RESULT,
            "failed to convert function to given type",
            "signature",
            id="row7-handler-of-another-result",
        ),
        pytest.param(wat.TRAPS_AT_ITS_START, "", "trap|instantiate", id="row7-trap-at-its-start"),
        pytest.param(wat.TRAPS, "error while executing at wasm backtrace:", "trap", id="row7-trap"),
        pytest.param(
            wat.DIVIDES_BY_ZERO,
            "error while executing at wasm backtrace:",
            "trap",
            id="row7-division",
        ),
        pytest.param(
            wat.READS_OUTSIDE, "error while executing at wasm backtrace:", "trap", id="row7-memory"
        ),
        pytest.param(
            wat.RECURSES, "error while executing at wasm backtrace:", "trap", id="row7-recursion"
        ),
        pytest.param(
            wat.RECURSES_WITH_WORK,
            "error while executing at wasm backtrace:",
            "trap",
            id="row7-recursion-with-work",
        ),
        pytest.param(wat.ANSWERS_FROM_OUTSIDE, "", "trap", id="row7-answer-outside-its-memory"),
        pytest.param(wat.ANSWERS_UNALIGNED, "", "trap", id="row7-answer-unaligned"),
        pytest.param(wat.BODY_OUTSIDE, "", "trap", id="row7-body-outside-its-memory"),
        pytest.param(wat.BODY_OF_4_GIB, "", "trap", id="row7-body-of-4-gib"),
        pytest.param(wat.BODY_NEITHER_SOME_NOR_NONE, "", "trap", id="row7-body-neither-nor"),
        pytest.param(wat.HEADER_THAT_IS_NO_TEXT, "", "trap", id="row7-header-that-is-no-text"),
        pytest.param(wat.HEADERS_WITHOUT_END, "", "trap", id="row7-headers-without-end"),
        pytest.param(wat.LOGS_NO_TEXT, "", "trap", id="row7-log-that-is-no-text"),
        pytest.param(wat.LOGS_FROM_OUTSIDE, "", "trap", id="row7-log-outside-its-memory"),
        pytest.param(wat.LOGS_4_GIB, "", "trap", id="row7-log-of-4-gib"),
        pytest.param(wat.item_kind(9), "", "trap", id="row7-enum-that-is-none"),
    ],
)
def test_row_7_handlers_that_cannot_answer(
    caller: Caller, kind: Kind, *, component: bytes | str, detail: str, failure: str
) -> None:
    outcome = caller.of(holding(component)).send()
    fails(outcome, 500, "execute_failed: ")
    assert outcome.error.startswith(f"execute_failed: {detail}")
    details = outcome.fields.get("failure", {}).get("kind")
    kinds: list[str | None] = settle(
        kind, differs("failures-tell-why", ours=failure.split("|"), original=[None])
    )
    assert details in kinds
    # And nothing is wrong with the next call.
    assert caller.of(holding(wat.PLAIN)).send().status == 200


@pytest.mark.parametrize(
    ("then", "failure"),
    [
        pytest.param("trap", "trap", id="row7-guest-traps"),
        pytest.param("panic", "trap", id="row7-guest-panics"),
        pytest.param("recurse", "trap", id="row7-guest-recurses"),
        pytest.param("exit", "exit", id="row7-guest-exits"),
        pytest.param({"exit": 3}, "exit", id="row7-guest-exits-with-failure"),
    ],
)
def test_row_7_the_ends_of_a_guest(
    caller: Caller, kind: Kind, *, then: object, failure: str
) -> None:
    outcome = caller.send({"then": then})
    fails(outcome, 500, "execute_failed: ")
    details = outcome.fields.get("failure", {}).get("kind")
    assert details == settle(kind, differs("failures-tell-why", ours=failure, original=None))
    assert caller.send().status == 200


def test_row_7_the_reason_of_a_trap(caller: Caller, kind: Kind) -> None:
    outcome = caller.of(holding(wat.TRAPS)).send()
    assert re.match(
        r"execute_failed: error while executing at wasm backtrace:\n    0: +0x[0-9a-f]+ - ",
        outcome.error,
    )
    details = "wasm trap: wasm `unreachable` instruction executed" in outcome.error
    assert details == settle(kind, differs("failures-tell-why", ours=True, original=False))
    if kind is Kind.OURS:
        failure = outcome.fields["failure"]
        assert set(failure) == {"kind", "reason", "causes", "stderr"}
        assert "unreachable" in failure["reason"]
        assert failure["causes"]


def test_row_7_the_last_words_of_a_guest(caller: Caller, kind: Kind) -> None:
    if kind is Kind.ORIGINAL:
        pytest.skip("not applicable: failures tell nothing there")
    lines = [f"line {number}\n" for number in range(30)]
    outcome = caller.send({"stderr": lines, "then": "trap"})
    assert outcome.fields["failure"]["stderr"] == [line.strip() for line in lines[-20:]]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("a", id="row7-one-character"),
        pytest.param("YQ", id="row7-no-padding"),
        pytest.param("YQ===", id="row7-too-much-padding"),
        pytest.param("YW=J", id="row7-padding-inside"),
        pytest.param("_-8=", id="row7-url-alphabet"),
        pytest.param("Y Q==", id="row7-blank-inside"),
        pytest.param("ä", id="row7-not-ascii"),
    ],
)
def test_row_7_bodies_that_are_no_base64(caller: Caller, body: str) -> None:
    outcome = caller.send(None, {"http.body_b64": body})
    fails(outcome, 500, "execute_failed: invalid body base64: ")


def test_row_7_text_of_failures_in_the_debug_stream(caller: Caller) -> None:
    outcome = caller.of(holding(wat.TRAPS)).send()
    fails(outcome, 500, "execute_failed: ")
    (event,) = caller.peers.redis.events(caller.key())
    assert (event["stream"], event["level"]) == ("log", "error")
    assert event["message"].startswith("execute failed: error while executing at wasm backtrace:")
    assert event["message"].endswith("wasm trap: wasm `unreachable` instruction executed")


# Row 8


@pytest.mark.parametrize("status", [0, 100, 200, 204, 302, 404, 500, 503, 599, 999, 65_535])
def test_row_8_any_status_of_the_guest(caller: Caller, status: int) -> None:
    outcome = caller.send({"respond": {"status": status}})
    assert outcome.fields == {
        "status": status,
        "headers": {},
        "body_b64": None,
        "error": None,
    }


@pytest.mark.parametrize(
    "component",
    [
        pytest.param(wat.PLAIN, id="5.8-no-import"),
        pytest.param(wat.IMPORTS_TYPES_ONLY, id="5.8-types-only"),
        pytest.param(wat.IMPORTS_A_SUBSET, id="5.8-a-subset"),
        pytest.param(wat.item_kind(1), id="5.8-a-known-enum"),
    ],
)
def test_5_8_handlers_that_answer(caller: Caller, component: str) -> None:
    outcome = caller.of(holding(component)).send()
    assert outcome.fields == {"status": 200, "headers": {}, "body_b64": None, "error": None}


# The order of the rows


def test_the_order_of_the_rows(caller: Caller, peers: Peers) -> None:
    broken = caller.of(bundle({"dist/main.wasm": b"\0asm", "note": uuid.uuid4().bytes}))
    bad = {
        "providers": ["cap:nothing"],
        "secret_envelope": {"ciphertext_b64": "!"},
        "http.body_b64": "!",
    }
    peers.store.forget()
    fails(broken.send(None, bad, {"x-alga-tenant": ""}), 400, "missing_routing_headers")
    fails(broken.send(None, bad), 502, "bundle_fetch_failed: ")
    peers.store.on(broken.bundle.digest.hex, Reply(body=broken.bundle.archive))
    fails(broken.send(None, bad), 400, "unknown_capabilities: ")
    del bad["providers"]
    fails(broken.send(None, bad), 500, "secret_decrypt_failed")
    del bad["secret_envelope"]
    fails(broken.send(None, bad), 500, "execute_failed: ")


def test_handlers_are_looked_for_after_capabilities(caller: Caller) -> None:
    """A bundle without a handler is a failure of row 4 all the same."""
    empty = caller.of(packed({"manifest.json": b"{}"}))
    fails(empty.send(None, {"providers": ["cap:nothing"]}), 502, "bundle_fetch_failed: ")


def test_a_call_that_is_secret(caller: Caller) -> None:
    secret = "conformance-secret-value"
    sealed = envelope({"k": secret})
    outcome = caller.send({"then": "trap"}, {"secret_envelope": sealed})
    assert secret not in str(outcome.fields)
    assert sealed["ciphertext_b64"] not in str(outcome.fields)
