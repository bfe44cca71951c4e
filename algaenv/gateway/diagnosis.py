"""What an answer of the runner means for the author of an extension: one pure function."""

from __future__ import annotations

from algaenv.gateway.problem import Problem
from algaenv.gateway.relay import Answered, Failure, Refused, Relayed, TimedOut, Unreachable

_HINTS = {
    "missing_routing_headers": "report it: the gateway always sends them",
    "unknown_capabilities": "remove the capability from the manifest, the config or granted_caps",
    "engine_init_failed": "look at the log of the runner",
    "bundle_fetch_failed": "run algaenv up; the bundle or its dist/main.wasm is not in the store",
    "secret_decrypt_failed": "save the secrets again, or look at the vault of the runner",
}
_KINDS = {
    "malformed": "build dist/main.wasm as a component, not as a core module",
    "compile": "build the component with a current toolchain",
    "limit": "raise the limit that the reason names; `ready_timeout` in the spec raises time",
    "link": "import only what Alga's runner offers; the reason names what it does not",
    "signature": "export the handler of the world alga:extension/runner",
    "trap": "read the last lines of its stderr; the reason names the instruction that gave up",
    "timeout": "let it do less in one call, or raise EXT_GATEWAY_TIMEOUT_MS",
    "memory": "let it hold less in memory",
    "exit": "return an answer instead of calling exit",
    "refused": "declare the capability for what it used, or do not use it",
    "request": "send a body that is base64",
}
_ANY_HINT = "read x-algaenv-reason and the log of the runner"


def diagnose(relayed: Relayed, timeout_ms: int) -> Problem | None:
    """The problem behind it; None when a handler answered."""
    match relayed:
        case Answered(error=None):
            return None
        case Answered(error=str() as error, failure=Failure() as failure):
            return Problem(
                "gateway-trap",
                f"cannot have an answer from the handler: {_sentence(error)}",
                failure.hint or _KINDS.get(failure.kind, _ANY_HINT),
            )
        case Answered(error=error):
            word = (error or "").partition(":")[0].strip()
            return Problem(
                "gateway-runner-failed",
                f"cannot run the handler: {error}",
                _HINTS.get(word, _ANY_HINT),
            )
        case Refused():
            return _refused(relayed)
        case Unreachable(why=why):
            return Problem(
                "gateway-runner-down",
                f"cannot reach the runner: {why}",
                "see algaenv status and the log of the runner; algaenv up starts it",
            )
        case TimedOut():
            return Problem(
                "gateway-timeout",
                f"cannot wait longer than {timeout_ms} ms for the handler",
                _KINDS["timeout"],
            )


def _refused(refused: Refused) -> Problem:
    if refused.status == 413:
        hint = "send less: Alga's runner takes 2 MiB of JSON, about 1.5 MB of body"
    elif refused.status == 503:
        hint = "try again; all places to run in this runner are taken, or it is stopping"
    else:
        hint = "look at the log of the runner, and whether RUNNER_BASE_URL is a runner at all"
    said = refused.error or refused.text
    return Problem(
        "gateway-runner-refused",
        f"cannot have an answer: the runner said {refused.status} {said}".rstrip(),
        hint,
    )


def _sentence(error: str) -> str:
    return error.removeprefix("execute_failed:").strip()
