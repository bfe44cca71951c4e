"""Resolves, observes, plans, executes and waits.

Imports no SDK; external systems are reached through `algaenv.reconcile.protocols`.
"""
