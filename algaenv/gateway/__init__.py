"""The part of Alga's app server that extensions touch, without the rest of it.

A process of its own that stands before a runner: it imports `algaenv.bundle` and nothing else of
ours. It reads and writes the very tables that a real app server would.
"""
