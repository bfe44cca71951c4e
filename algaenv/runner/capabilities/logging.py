"""`logging`: words for the log of the service and the debug stream."""

from __future__ import annotations

from algaenv.runner.capabilities import grants
from algaenv.runner.invocation import Invocation, Level


def log_info(invocation: Invocation, message: str) -> None:
    """Pass on, or drop when not granted."""
    _say(invocation, "info", message)


def log_warn(invocation: Invocation, message: str) -> None:
    """Pass on, or drop when not granted."""
    _say(invocation, "warn", message)


def log_error(invocation: Invocation, message: str) -> None:
    """Pass on, or drop when not granted."""
    _say(invocation, "error", message)


def _say(invocation: Invocation, level: Level, message: str) -> None:
    if grants.LOG in invocation.granted:
        invocation.say("log", level, message)
