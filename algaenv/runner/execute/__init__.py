"""Calls of handlers: the endpoints, the stages of a call, idempotency."""
