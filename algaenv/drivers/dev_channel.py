"""Tells the gateway what `algaenv dev` does, so that its pages show it and reload.

A report is worth little after a moment, and `dev` must not wait for a gateway that is being
replaced: every exchange is bounded, and a failure is a text and not an exception. The gateway keeps
turns in memory. A heartbeat therefore repeats those that were not taken, or that a restarted
gateway does not know.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from algaenv.bundle.value import dataclass, field
from algaenv.model.secret import Secret
from algaenv.system.http import PlainRequest, exchange_within, whole_body

if TYPE_CHECKING:
    from algaenv.bundle.digest import Digest
    from algaenv.model.lock import Lock
    from algaenv.model.problem import Problem

HEARTBEAT_SECONDS: Final = 20.0
"""Between two calls of `alive`: the gateway forgets after 60 s without a message."""
MAX_BODY_BYTES: Final = 64 * 1024
"""Of a message, as the gateway takes it; longer ones are cut."""

_PATH: Final = "/algaenv/dev"
_SECONDS: Final = 2.0
_MAX_CHANGED: Final = 500
_MAX_PROBLEMS: Final = 20
_MAX_LINE: Final = 1_000
_DETAIL_LINES: Final = (200, 50, 10, 0)
"""Lines of detail of one problem: the first number with which the message is short enough."""

State = Literal["building", "failed", "applied", "idle"]
Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Turn:
    """The state of an extension (registry id).

    `digest` is of the bundle that answers now. `changed` are paths in the extension's source,
    spelled with slashes; None means unknown, and the page reloads. `stages` are in milliseconds.
    """

    extension: str
    state: State
    runs_from: Literal["component", "source"] = "component"
    digest: Digest | None = None
    changed: tuple[str, ...] | None = None
    problems: tuple[Problem, ...] = ()
    seconds: float | None = None
    stages: Mapping[str, float] = field(default_factory=dict)


class DevChannel:
    """Reports to one gateway. Its methods may be called from several threads.

    Each returns None once the gateway has taken the message, else the reason why it has not.
    """

    def __init__(self, url: str, token: Secret, *, seconds: float = _SECONDS) -> None:
        """`url` is the gateway's, `seconds` bounds one exchange."""
        parts = urlsplit(url)
        self._connection = HTTPConnection(parts.hostname or "", parts.port)
        self._token = token
        self._seconds = seconds
        self._lock = threading.Lock()
        self._turns: dict[str, Json] = {}
        """Registry id → the last message of a turn."""
        self._unsent: set[str] = set()
        """Those whose last message was not taken."""

    def turn(self, turn: Turn) -> str | None:
        """Report a turn."""
        message = _message(turn)
        with self._lock:
            self._turns[turn.extension] = message
            return self._report(turn.extension)

    def alive(self) -> str | None:
        """Send a heartbeat, and the turns that the gateway does not know."""
        with self._lock:
            problem, known = self._send({"type": "dev-alive"})
            if problem is None:
                for id_ in self._unsent | (self._turns.keys() - known):
                    problem = self._report(id_) or problem
            return problem

    def ended(self) -> str | None:
        """Report that `dev` ends, and close the connection."""
        with self._lock:
            self._turns.clear()
            self._unsent.clear()
            try:
                return self._send({"type": "dev-ended"})[0]
            finally:
                self._connection.close()

    def _report(self, extension: str) -> str | None:
        problem, _ = self._send(self._turns[extension])
        if problem is None:
            self._unsent.discard(extension)
        else:
            self._unsent.add(extension)
        return problem

    def _send(self, message: Json) -> tuple[str | None, frozenset[str]]:
        """The reason of a failure, and the extensions that the gateway knows."""
        headers = {
            # The gateway compares the bytes of a header with UTF-8.
            "Authorization": "Bearer " + self._token.reveal().encode().decode("latin-1"),
            "Content-Type": "application/json",
        }
        request = PlainRequest("POST", _PATH, _encode(message), headers)
        was_open = self._connection.sock is not None
        try:
            try:
                status, body = self._exchange(request)
            except ConnectionError:
                # The gateway was restarted, or closed a connection that was idle.
                if not was_open:
                    raise
                status, body = self._exchange(request)
        except ValueError:
            return "the token of the gateway is no value of a header", frozenset()
        except (OSError, HTTPException) as error:
            return f"the gateway does not answer: {error or type(error).__name__}", frozenset()
        if status != 200:
            return f"the gateway answers {status} {_text(body)}".rstrip(), frozenset()
        return None, _known(body)

    def _exchange(self, request: PlainRequest) -> tuple[int, bytes]:
        response, body = exchange_within(
            self._connection, request, whole_body, seconds=self._seconds
        )
        return response.status, body


def gateway_token(lock: Lock) -> Secret:
    """The token of the gateway's internal APIs: what the runner has, or the author gave it."""
    written = lock.intent.runner.environment
    storage = written.get("RUNNER_STORAGE_API_TOKEN", lock.credentials.service_token)
    for candidate in (storage, written.get("RUNNER_SERVICE_TOKEN", "")):
        text = candidate.reveal() if isinstance(candidate, Secret) else candidate
        if text.strip():
            return Secret(text)
    return Secret("")


def _message(turn: Turn) -> Json:
    """The message of a turn, cut until the gateway takes it."""
    changed = turn.changed
    message: Json = {
        "type": "dev-turn",
        "extension": turn.extension,
        "state": turn.state,
        "runs_from": turn.runs_from,
        "digest": turn.digest.hex if turn.digest else None,
        "changed": list(changed) if changed is not None and len(changed) <= _MAX_CHANGED else None,
        "problems": [],
        "seconds": turn.seconds,
        "stages": dict(turn.stages) or None,
    }
    for lines in _DETAIL_LINES:
        message["problems"] = _problems(turn.problems, lines)
        if len(_encode(message)) <= MAX_BODY_BYTES:
            return message
    message["changed"], message["problems"] = None, _problems(turn.problems[:1], 0)
    return message


def _problems(problems: Iterable[Problem], lines: int) -> list[Json]:
    return [
        {
            "code": it.code,
            "summary": it.summary[:_MAX_LINE],
            "hint": it.hint[:_MAX_LINE],
            "where": str(it.where)[:_MAX_LINE] if it.where else None,
            # Tools print the error first and then its consequences.
            "detail": [line[:_MAX_LINE] for line in it.detail[:lines]],
        }
        for it in list(problems)[:_MAX_PROBLEMS]
    ]


def _encode(message: Json) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode(errors="replace")


def _known(body: bytes) -> frozenset[str]:
    try:
        return frozenset(json.loads(body)["extensions"])
    except (ValueError, TypeError, KeyError):
        return frozenset()


def _text(body: bytes) -> str:
    """The reason in an answer."""
    try:
        return str(json.loads(body)["reason"])[:_MAX_LINE]
    except (ValueError, TypeError, KeyError):
        return ""
